#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(8 << 20);
  free(announce(block));
  void *again = realloc(announce(block), 9 << 20);
  free(again);
  return survived();
}
