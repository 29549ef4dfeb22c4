#include "hz4/env/misuse/misuse.h"

int main(void) {
  free(announce((void *)42));
  return survived();
}
