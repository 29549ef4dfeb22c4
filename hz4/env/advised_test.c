// Blocks that the program advised the kernel of (as numpy does by MADV_HUGEPAGE, and RDMA libraries by MADV_DONTFORK) and
// that realloc then grows: to the kernel they are several mappings. Nothing is lost, of content or of addresses.
#include <sys/mman.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kRounds = 50, kBlock = 9 << 20, kGrown = 18 << 20 };

static long mapped_kib(void) {
  return proc_kib("/proc/self/status", "VmSize");
}

static void advise_and_grow(int advice, bool blocked) {
  char *block = hz4_malloc(kBlock), *beside = blocked ? hz4_malloc(kBlock) : NULL;
  CHECK(block != NULL);
  memset(block, 7, kBlock);
  size_t part = (size_t)kBlock / 3 / 4096 * 4096;
  if (madvise(block + (4096 - (uintptr_t)block % 4096) % 4096 + part, part, advice) != 0) SKIP("no such advice here");
  char *grown = hz4_realloc(block, kGrown);
  CHECK(grown != NULL);
  for (size_t at = 0; at < kBlock; at += 1024) CHECK(grown[at] == 7);
  touch(grown, kGrown);
  hz4_free(grown);
  hz4_free(beside);
}

int main(void) {
  static const int kAdvice[] = {MADV_DONTFORK, MADV_DONTDUMP};
  for (int i = 0; i < 2; i++) {
    for (int blocked = 0; blocked < 2; blocked++) {
      for (int round = 0; round < 5; round++) advise_and_grow(kAdvice[i], blocked != 0);
      hz4_malloc_trim(0);
      long before = mapped_kib();
      for (int round = 0; round < kRounds; round++) advise_and_grow(kAdvice[i], blocked != 0);
      hz4_malloc_trim(0);
      long after = mapped_kib();
      printf("advice %d, blocked %d: %ld KiB mapped before, %ld after %d rounds\n", kAdvice[i], blocked, before, after,
             kRounds);
      fflush(stdout);
      CHECK(after <= before + (kBlock >> 10));
    }
  }
  hz4_check();
  puts("PASSED");
  return 0;
}
