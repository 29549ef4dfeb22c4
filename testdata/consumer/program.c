// program COUNT SIZE: as many pairs of malloc and free, if they are hz4's.
#include "hz4/hz4.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  // hz4 counts each block above 256 KiB.
  uint64_t large = hz4_stats_get("large_allocs");
  free(malloc(1 << 20));
  if (hz4_stats_get("large_allocs") == large) {
    fprintf(stderr, "hz4 is not this program's malloc\n");
    return 1;
  }
  size_t size = (size_t)atol(argv[2]);
  for (long i = atol(argv[1]); i > 0; --i) free(malloc(size));
  return 0;
}
