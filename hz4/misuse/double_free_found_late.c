#include "hz4/misuse/misuse.h"

int main(void) {
  void *neighbour = malloc(100);
  void *block = malloc(100);
  free(announce(block));
  free(announce(block));
  malloc_trim(0);  // what the cache holds goes home
  free(neighbour);
  return survived();
}
