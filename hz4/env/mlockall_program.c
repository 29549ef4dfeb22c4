// mlockall, first thing; then an ordinary life. Prints KiB, or "refused": VmLck after mlockall, the most that was allocated at
// once, and VmLck at the end.
#include <malloc.h>
#include <sys/mman.h>

#include "hz4/env/check.h"

enum { kBlocks = 400 };

static size_t most_bytes;

static void fill_and_free(unsigned top_shift) {
  static char *blocks[kBlocks];
  static size_t sizes[kBlocks];
  uint64_t state = 3;
  size_t bytes = 0;
  for (int i = 0; i < kBlocks; i++) {
    sizes[i] = random_size(&state, top_shift);
    blocks[i] = calloc(1, sizes[i]);
    CHECK(blocks[i] != NULL);
    CHECK(is_zero(blocks[i], sizes[i]));
    memset(blocks[i], 0xff, sizes[i]);
    bytes += sizes[i];
  }
  if (bytes > most_bytes) most_bytes = bytes;
  for (int i = 0; i < kBlocks; i++) free(blocks[i]);
}

int main(void) {
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    CHECK(errno == EPERM || errno == ENOMEM || errno == EAGAIN);
    puts("refused");
    return 0;
  }
  // Where a limit on locked memory holds, the allocations below fail by it, and say nothing about hz4.
  size_t probe_bytes = (size_t)256 << 20;
  void *probe = mmap(NULL, probe_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED) {
    puts("refused");
    return 0;
  }
  CHECK(munmap(probe, probe_bytes) == 0);
  long first = proc_kib("/proc/self/status", "VmLck");
  // Locked pages refuse MADV_DONTNEED: what is freed and taken again holds old content, unless calloc clears it.
  for (int round = 0; round < 4; round++) {
    fill_and_free(10);
    fill_and_free(20);
    malloc_trim(0);
    fill_and_free(18);
  }
  printf("%ld %zu %ld\n", first, most_bytes >> 10, proc_kib("/proc/self/status", "VmLck"));
  return 0;
}
