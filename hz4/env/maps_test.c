// Mappings: a long random run makes hardly more of them than glibc's malloc does, and where the kernel grants no more
// of them (vm.max_map_count), hz4 keeps working.
#include <sys/mman.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kSlots = 8000, kSteps = 200000 };

typedef void *malloc_function(size_t size);
typedef void free_function(void *ptr);

static void random_run(malloc_function *allocate, free_function *release, unsigned top_shift) {
  static void *slots[kSlots];
  uint64_t state = 11;
  for (int i = 0; i < kSteps; i++) {
    void **slot = &slots[next_random(&state) % kSlots];
    release(*slot);
    size_t size = random_size(&state, next_random(&state) % 64 == 0 ? top_shift : 14);
    *slot = allocate(size);
    CHECK(*slot != NULL);
    touch(*slot, size);
  }
}

// In a child, so that each allocator starts from the same address space.
static long mappings_of(malloc_function *allocate, free_function *release, unsigned top_shift) {
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    random_run(allocate, release, top_shift);
    long count = count_mappings();
    CHECK(write(pipes[1], &count, sizeof(count)) == sizeof(count));
    _exit(0);
  }
  long count = 0;
  int status;
  CHECK(read(pipes[0], &count, sizeof(count)) == sizeof(count));
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return count;
}

static void compare(unsigned top_shift) {
  long glibc = mappings_of(malloc, free, top_shift), hz4 = mappings_of(hz4_malloc, hz4_free, top_shift);
  printf("mappings after a run with blocks up to 2^%u: glibc %ld, hz4 %ld\n", top_shift, glibc, hz4);
  CHECK(hz4 <= glibc + glibc / 10);
}

// ---- no more mappings ----

// Single pages whose protections alternate cannot merge.
static size_t use_up_mappings(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), count = (size_t)1 << 20;
  char *area = mmap(NULL, count * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(area != MAP_FAILED);
  for (size_t i = 0; i < count; i += 2) {
    if (mprotect(area + i * page, page, PROT_READ) != 0) {
      CHECK(errno == ENOMEM);
      return i;
    }
  }
  return 0;
}

static void live_without_mappings(void) {
  enum { kBlocks = 20000 };
  static char *blocks[kBlocks];
  static size_t sizes[kBlocks];
  uint64_t state = 5;
  // Something to work with, and to free, from before.
  for (int i = 0; i < kBlocks / 2; i++) memset(blocks[i] = hz4_malloc(sizes[i] = random_size(&state, 18)), 7, 1);
  if (use_up_mappings() == 0) _exit(2);
  size_t failed = 0, done = 0;
  for (int i = 0; i < 100000; i++) {
    size_t slot = next_random(&state) % kBlocks;
    if (blocks[slot] != NULL) {
      CHECK(blocks[slot][0] == 7);
      errno = 4321;
      hz4_free(blocks[slot]);
      CHECK(errno == 4321);
      blocks[slot] = NULL;
      continue;
    }
    size_t size = random_size(&state, 23);
    errno = 0;
    char *block = i % 2 == 0 ? hz4_malloc(size) : hz4_calloc(1, size);
    if (block == NULL) {
      CHECK(errno == ENOMEM);
      failed++;
      continue;
    }
    if (i % 2 != 0) CHECK(is_zero(block, size < 65536 ? size : 65536));
    touch(block, size);
    block[0] = 7;
    if (i % 5 == 0) {
      char *resized = hz4_realloc(block, size * 2);
      if (resized == NULL) CHECK(errno == ENOMEM);
      else block = resized;
      CHECK(block[0] == 7);
    }
    done++;
    blocks[slot] = block;
  }
  for (int i = 0; i < kBlocks; i++) hz4_free(blocks[i]);
  hz4_malloc_trim(0);
  // What was freed serves again, at least for small blocks.
  void *small = hz4_malloc(1000);
  CHECK(small != NULL);
  hz4_free(small);
  hz4_check();
  printf("without new mappings: %zu allocations served, %zu refused, %lu calls failed\n", done, failed,
         (unsigned long)hz4_stats_get("os_failed_calls"));
  CHECK(done > 0);
}

int main(void) {
  compare(18);
  compare(23);  // blocks above 1 MiB, which glibc's heap comes to hold too, and hz4 maps one by one
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    live_without_mappings();
    fflush(stdout);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) SKIP("vm.max_map_count is above a million: the second half did not run");
  CHECK(WEXITSTATUS(status) == 0);
  puts("PASSED");
  return 0;
}
