#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(600000);
  free_sized(announce(block), 660000);
  return survived();
}
