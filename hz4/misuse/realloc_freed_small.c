#include "hz4/misuse/misuse.h"

int main(void) {
  void *neighbour = malloc(100);
  void *block = malloc(100);
  free(announce(block));
  void *again = realloc(announce(block), 110);
  free(neighbour);
  return survived();
}
