#include "hz4/misuse/misuse.h"

int main(void) {
  free(malloc(1));
  char local[64] = {0};
  free(announce(local + 16));
  return survived();
}
