#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(600000);
  free(announce(block));
  void *again = realloc(announce(block), 700000);
  free(again);
  return survived();
}
