#include "hz4/misuse/misuse.h"

int main(void) {
  free(announce((void *)0xffff800000001000));
  return survived();
}
