#include "hz4/misuse/misuse.h"

int main(void) {
  extern void cfree(void *ptr);
  static char bytes[64];
  cfree(announce(bytes));
  return survived();
}
