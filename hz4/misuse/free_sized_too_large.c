#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(100);
  free_sized(announce(block), 113);
  return survived();
}
