// A small program with no allocator of its own, for tests that preload one: allocates argv[1] KiB in blocks of many
// sizes, and ends with status 0. When memory runs out it says so and ends with status 3, having freed everything.
#include "hz4/env/check.h"

enum { kBlocks = 100000 };

int main(int argc, char **argv) {
  static void *blocks[kBlocks];
  size_t wanted = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1) << 10, have = 0;
  uint64_t state = 1;
  int count = 0;
  bool failed = false;
  while (have < wanted && count < kBlocks && !failed) {
    size_t size = random_size(&state, 20);
    errno = 0;
    void *block = malloc(size);
    if (block == NULL) {
      CHECK(errno == ENOMEM);
      failed = true;
      continue;
    }
    touch(block, size);
    have += size;
    blocks[count++] = block;
  }
  for (int i = 0; i < count; i++) free(blocks[i]);
  if (failed) {
    // After everything went back a small block is to be had again, and an absurd one is not.
    volatile size_t absurd = (size_t)1 << 46;
    void *small = malloc(64);
    CHECK(count == 0 || small != NULL);
    CHECK(malloc(absurd) == NULL && errno == ENOMEM);
    free(small);
    fputs("out of memory\n", stderr);
    return 3;
  }
  puts("done");
  return 0;
}
