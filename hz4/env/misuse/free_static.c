#include "hz4/env/misuse/misuse.h"

int main(void) {
  static char bytes[64];
  free(announce(bytes));
  return survived();
}
