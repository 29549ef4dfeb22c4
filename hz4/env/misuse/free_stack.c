#include "hz4/env/misuse/misuse.h"

int main(void) {
  char local[64] = {0};
  free(announce(local + 16));
  return survived();
}
