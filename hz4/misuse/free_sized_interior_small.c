#include "hz4/misuse/misuse.h"

int main(void) {
  char *block = malloc(100);
  free_sized(announce(block + 16), 100);
  return survived();
}
