#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = malloc(100);
  void *again = realloc(announce(block + 16), 200);
  free(again);
  return survived();
}
