#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(600000);
  free(announce(block));
  free(announce(block));
  return survived();
}
