// Frees 100 blocks of 30 MiB, and then wants 5/8 of the addresses that it may have for itself.
#include <sys/mman.h>
#include <sys/resource.h>

#include "hz4/env/check.h"

int main(void) {
  enum { kBlocks = 100, kBytes = 30 << 20 };
  static char *blocks[kBlocks];
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY);
  for (int i = 0; i < kBlocks; i++) {
    CHECK((blocks[i] = malloc(kBytes)) != NULL);
    touch(blocks[i], kBytes);
  }
  for (int i = 0; i < kBlocks; i++) free(blocks[i]);
  printf("%ld KiB mapped\n", proc_kib("/proc/self/status", "VmSize"));
  fflush(stdout);
  CHECK(mmap(NULL, limit.rlim_cur / 8 * 5, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
  puts("PASSED");
  return 0;
}
