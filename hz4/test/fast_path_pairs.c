// fast_path_pairs COUNT SIZE: as many pairs of malloc and free, for counting what they cost.
#include <stdlib.h>

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  size_t size = (size_t)atol(argv[2]);
  for (long i = atol(argv[1]); i > 0; --i) free(malloc(size));
  return 0;
}
