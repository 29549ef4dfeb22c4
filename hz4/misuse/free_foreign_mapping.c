#include <unistd.h>

#include "hz4/misuse/misuse.h"

int main(void) {
  void *page = sbrk(4096);
  free(announce(page));
  return survived();
}
