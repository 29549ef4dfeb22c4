#include "hz4/env/misuse/misuse.h"

int main(void) {
  static char bytes[64];
  printf("%zu\n", malloc_usable_size(announce(bytes)));
  return survived();
}
