#include "hz4/env/misuse/misuse.h"

int main(void) {
  char *block = malloc(100);
  printf("%zu\n", malloc_usable_size(announce(block + 16)));
  return survived();
}
