#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = malloc(600000);
  free(announce(block + 65536));
  return survived();
}
