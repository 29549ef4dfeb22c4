// Says what limits it has; and then, as it is told:
//   fill BYTES  allocates blocks of so many bytes, and writes to all of each, until there are no more or there are 300 MiB.
//   refresh     waits for the end of its input, reads the limits anew, and says them again.
#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kMost = 300 << 20 };

struct block {
  struct block *next;
};

static void say_limits(void) {
  size_t soft, hard;
  hz4_limit_get(&soft, &hard);
  printf("soft=%zu hard=%zu container=%llu\n", soft, hard,
         (unsigned long long)hz4_stats_get("limit_container_bytes"));
  fflush(stdout);
}

static void fill(size_t bytes) {
  size_t count = 0;
  struct block *all = NULL, *block = NULL;
  errno = 0;
  while (count * bytes < kMost && (block = malloc(bytes)) != NULL) {
    memset(block, 1, bytes);
    block->next = all;
    all = block;
    ++count;
  }
  int error = block == NULL ? errno : 0;
  uint64_t used = hz4_stats_get("limit_used_bytes");
  while (all != NULL) {
    block = all->next;
    free(all);
    all = block;
  }
  // Large by now: what the container has was read.
  printf("filled=%zu errno=%d used=%llu container=%llu\n", count * bytes, error, (unsigned long long)used,
         (unsigned long long)hz4_stats_get("limit_container_bytes"));
}

int main(int argc, char **argv) {
  CHECK(argc >= 2);
  say_limits();
  if (strcmp(argv[1], "fill") == 0) {
    CHECK(argc == 3);
    fill((size_t)atol(argv[2]));
  } else if (strcmp(argv[1], "refresh") == 0) {
    while (getchar() != EOF) continue;
    hz4_limit_refresh();
    say_limits();
  }
  return 0;
}
