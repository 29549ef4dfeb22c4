#include "hz4/misuse/misuse.h"

int main(void) {
  char local[64] = {0};
  free(announce(local + 16));
  return survived();
}
