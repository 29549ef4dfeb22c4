#include "hz4/misuse/misuse.h"

int main(void) {
  free(announce((void *)stdout));
  return survived();
}
