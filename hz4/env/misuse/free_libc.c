#include "hz4/env/misuse/misuse.h"

int main(void) {
  free(announce((void *)stdout));
  return survived();
}
