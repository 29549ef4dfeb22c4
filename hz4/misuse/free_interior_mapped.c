#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = malloc(8 << 20);
  free(announce(block + 16));
  return survived();
}
