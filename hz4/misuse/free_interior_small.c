#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = malloc(100);
  free(announce(block + 16));
  return survived();
}
