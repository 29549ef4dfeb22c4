#include "hz4/misuse/misuse.h"

int main(void) {
  static char bytes[64];
  (void)malloc_usable_size(announce(bytes));
  return survived();
}
