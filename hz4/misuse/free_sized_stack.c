#include "hz4/misuse/misuse.h"

int main(void) {
  char local[64] = {0};
  free_sized(announce(local), 64);
  return survived();
}
