#include "hz4/misuse/misuse.h"

int main(void) {
  char *neighbour = malloc(100);
  char *block = malloc(100);
  free(announce(block));
  memset(announce(block), 0x5a, 100);
  free(neighbour);
  return survived();
}
