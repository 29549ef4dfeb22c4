#include "hz4/env/misuse/misuse.h"

int main(void) {
  char *block = malloc(600000);
  free(announce(block + 65536));
  return survived();
}
