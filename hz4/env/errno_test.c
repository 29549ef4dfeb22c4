// A kernel that refuses to take memory back: free keeps errno, calloc is zero, nothing that was freed is lost for good.
#include <sys/wait.h>

#include "hz4/env/sandbox.h"
#include "hz4/hz4.h"

enum { kBlocks = 1000, kRounds = 6, kSegmentBytes = 4 << 20 };

static void fill_and_free(unsigned top_shift) {
  static char *blocks[kBlocks];
  static size_t sizes[kBlocks];
  uint64_t state = 3;
  for (int i = 0; i < kBlocks; i++) {
    sizes[i] = random_size(&state, top_shift);
    errno = 0;
    blocks[i] = hz4_calloc(1, sizes[i]);
    CHECK(blocks[i] != NULL && errno == 0);
    CHECK(is_zero(blocks[i], sizes[i]));
    memset(blocks[i], 0xff, sizes[i]);
  }
  for (int i = 0; i < kBlocks; i++) {
    errno = 1000 + i;
    if (i % 2 == 0) hz4_free(blocks[i]);
    else hz4_free_sized(blocks[i], sizes[i]);
    CHECK(errno == 1000 + i);
  }
}

static void resize(void) {
  char *block = hz4_malloc(3 << 20);
  memset(block, 0x11, 3 << 20);
  for (size_t mib = 4; mib < 40; mib += 3) {
    char *resized = hz4_realloc(block, mib << 20);
    CHECK(resized != NULL);
    block = resized;
    for (size_t i = 0; i < 3 << 20; i += 1000) CHECK(block[i] == 0x11);
  }
  char *smaller = hz4_realloc(block, 2 << 20);
  CHECK(smaller != NULL && smaller[0] == 0x11);
  errno = 5;
  hz4_free(smaller);
  CHECK(errno == 5);
}

// calls fail from here on. The heap is used before, too, so that there is something to give back.
static int run(const int *calls, size_t count, int error) {
  fill_and_free(20);
  if (!sandbox_install(calls, count, false, error)) return 2;
  uint64_t mapped = 0;
  for (int round = 0; round < kRounds; round++) {
    fill_and_free(20);
    fill_and_free(10);
    hz4_malloc_trim(0);
    if (round == 1) mapped = hz4_stats_get("os_mapped_bytes");
  }
  CHECK(hz4_stats_get("os_failed_calls") > 0);  // the refusals did come to pass
  printf("mapped after round 2: %lu KiB, after round %d: %lu KiB\n", (unsigned long)(mapped >> 10), kRounds,
         (unsigned long)(hz4_stats_get("os_mapped_bytes") >> 10));
  // What was freed, and could not be given back, serves again.
  CHECK(hz4_stats_get("os_mapped_bytes") <= mapped + mapped / 4 + kSegmentBytes);
  resize();
  hz4_check();
  return 0;
}

static bool run_in_child(const int *calls, size_t count, int error) {
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    int result = run(calls, count, error);
    fflush(stdout);
    _exit(result);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2);
  return WEXITSTATUS(status) == 0;
}

int main(void) {
  const int madvise_only[] = {SYS_madvise}, munmap_only[] = {SYS_munmap};
  const int both[] = {SYS_madvise, SYS_munmap}, all[] = {SYS_madvise, SYS_munmap, SYS_mremap};
  if (!run_in_child(madvise_only, 1, EPERM)) SKIP("no seccomp filters here");
  CHECK(run_in_child(munmap_only, 1, EPERM));
  CHECK(run_in_child(munmap_only, 1, ENOMEM));
  CHECK(run_in_child(both, 2, EPERM));
  CHECK(run_in_child(all, 3, ENOSYS));
  puts("PASSED");
  return 0;
}
