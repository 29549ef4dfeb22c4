#include "hz4/misuse/misuse.h"

int main(void) {
  static char bytes[64];
  free(announce(bytes));
  return survived();
}
