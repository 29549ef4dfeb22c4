#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = aligned_alloc(4 << 20, 2 << 20);
  free_aligned_sized(announce(block), 48, 2 << 20);
  return survived();
}
