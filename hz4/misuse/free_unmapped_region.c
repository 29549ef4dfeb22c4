#include "hz4/misuse/misuse.h"

int main(void) {
  free(malloc(1));
  free(announce((void *)0x123456789000));
  return survived();
}
