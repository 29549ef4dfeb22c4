#include "hz4/misuse/misuse.h"

int main(void) {
  void *neighbour = malloc(100);
  void *block = malloc(100);
  free_sized(announce(block), 100);
  free_sized(announce(block), 100);
  free(neighbour);
  return survived();
}
