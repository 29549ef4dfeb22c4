#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(8 << 20);
  free(announce(block));
  (void)malloc_usable_size(announce(block));
  return survived();
}
