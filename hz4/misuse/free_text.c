#include "hz4/misuse/misuse.h"

int main(void) {
  free(announce((char *)"text"));
  return survived();
}
