#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = malloc(100);
  (void)malloc_usable_size(announce(block + 16));
  return survived();
}
