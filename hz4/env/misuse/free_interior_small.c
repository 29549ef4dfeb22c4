#include "hz4/env/misuse/misuse.h"

int main(void) {
  char *block = malloc(100);
  free(announce(block + 16));
  return survived();
}
