#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = aligned_alloc(64, 200);
  free_aligned_sized(announce(block), 512, 200);
  return survived();
}
