// A heap that grows, shrinks and lies in holes; prints its RSS at the end, when a tenth of its blocks live, and the most
// that it had in huge pages, both in KiB.
// argv[1]: "off" turns transparent huge pages off for this process, "on" leaves the system's setting.
#include <sys/prctl.h>

#include "hz4/env/check.h"

enum { kBlocks = 40000, kRounds = 4 };

int main(int argc, char **argv) {
  CHECK(argc == 2);
  if (strcmp(argv[1], "off") == 0) CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
  static char *blocks[kBlocks];
  uint64_t state = 21;
  long huge_max = 0;
  for (int round = 0; round < kRounds; round++) {
    for (int i = 0; i < kBlocks; i++) {
      if (blocks[i] != NULL) continue;
      size_t size = random_size(&state, 14);
      blocks[i] = malloc(size);
      CHECK(blocks[i] != NULL);
      memset(blocks[i], 1, size);
    }
    long huge = proc_kib("/proc/self/smaps_rollup", "AnonHugePages");
    if (huge > huge_max) huge_max = huge;
    for (int i = 0; i < kBlocks; i++) {
      if (next_random(&state) % 10 == 0) continue;
      free(blocks[i]);
      blocks[i] = NULL;
    }
  }
  printf("%ld %ld\n", rss_kib(), huge_max);
  return 0;
}
