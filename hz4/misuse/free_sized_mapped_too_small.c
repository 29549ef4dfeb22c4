#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(8 << 20);
  free_sized(announce(block), 100);
  return survived();
}
