#include "hz4/misuse/misuse.h"

int main(void) {
  void *neighbour = malloc(20000);
  void *block = malloc(20000);
  free(announce(block));
  void *again = realloc(announce(block), 30000);
  free(neighbour);
  return survived();
}
