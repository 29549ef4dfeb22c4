// What a process pays for its first block: every page of hz4's own that is touched costs a small program a thousandth of
// its life. hz4 is the malloc of this program.
#include <sys/resource.h>
#include <sys/syscall.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

// Six, and what is read of the program's code meanwhile: the thread's cache (two pages), the root of the page map, a leaf
// and the spans behind it (three), and a class of Mid's.
enum { kFaultsMin = 6, kFaultsMax = 9 };

static long faults(void) {
  struct rusage usage;
  CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_minflt;
}

int main(void) {
  faults();  // its own code
  long before = faults();
  char *block = malloc(100);
  long after = faults();
  CHECK(block != NULL);
  printf("page faults of the first malloc: %ld\n", after - before);
  CHECK(after - before >= kFaultsMin);  // else it was not the first
  CHECK(after - before <= kFaultsMax);
  // Its mappings were in their places at once.
  CHECK(hz4_stats_get("os_munmap_calls") == 0);
  free(block);
  // The kernel has been asked for restarts (MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ), which costs milliseconds as soon as there
  // are threads.
  if (hz4_stats_get("thread_by_cpu") == 1) CHECK(syscall(SYS_membarrier, 1 << 7, 0, 0) == 0 || errno == EINVAL);
  return 0;
}
