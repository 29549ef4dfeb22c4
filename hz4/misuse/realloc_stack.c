#include "hz4/misuse/misuse.h"

int main(void) {
  char local[64] = {0};
  void *again = realloc(announce(local), 100);
  free(again);
  return survived();
}
