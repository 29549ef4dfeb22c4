#include "hz4/env/misuse/misuse.h"

int main(void) {
  free(announce((char *)"text"));
  return survived();
}
