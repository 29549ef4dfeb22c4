#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = aligned_alloc(256, 100);
  free_sized(announce(block), 100);
  return survived();
}
