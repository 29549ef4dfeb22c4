#include "hz4/misuse/misuse.h"

int main(void) {
  void *block = malloc(100);
  free_sized(announce(block), 57);  // as after realloc(block, 57), which leaves it where it is
  return survived();
}
