#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc((size_t)512 << 20);
  free(announce(block));
  free(announce(block));
  return survived();
}
