#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = malloc(100);
  char *neighbour = malloc(100);
  memset(announce(block), 0x5a, 128);
  free(neighbour);
  free(block);
  return survived();
}
