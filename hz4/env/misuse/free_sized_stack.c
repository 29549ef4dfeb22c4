#include "hz4/env/misuse/misuse.h"

int main(void) {
  extern void free_sized(void *ptr, size_t size);
  char local[64] = {0};
  free_sized(announce(local), 64);
  return survived();
}
