// Mappings: a long random run makes hardly more of them than glibc's malloc does, and where the kernel grants no more
// of them (vm.max_map_count), hz4 keeps working.
#include <sys/mman.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

// A server that replaces a thousand blocks a second, without the waiting between. From minute to minute its load swings.
enum { kSlots = 8000, kMinutes = 60, kStepsPerMinute = 60000 };

typedef void *malloc_function(size_t size);
typedef void free_function(void *ptr);

// Sizes below 16 KiB, and once in one_in below 2^top_shift.
struct shape {
  unsigned one_in, top_shift;
};

struct counts {
  long last, most;
};

static void one_minute(malloc_function *allocate, free_function *release, struct shape shape, uint64_t *state) {
  static void *slots[kSlots];
  size_t used_slots = kSlots / 8 + next_random(state) % (kSlots - kSlots / 8);
  for (int i = 0; i < kStepsPerMinute; i++) {
    size_t slot = next_random(state) % kSlots;
    size_t size = random_size(state, next_random(state) % shape.one_in == 0 ? shape.top_shift : 14);
    release(slots[slot]);
    slots[slot] = NULL;
    if (slot >= used_slots) continue;
    slots[slot] = allocate(size);
    CHECK(slots[slot] != NULL);
    touch(slots[slot], size);
  }
}

static struct counts random_run(malloc_function *allocate, free_function *release, struct shape shape) {
  struct counts counts = {0, 0};
  uint64_t state = 11;
  for (int minute = 0; minute < kMinutes; minute++) {
    one_minute(allocate, release, shape, &state);
    counts.last = count_mappings();
    if (counts.last > counts.most) counts.most = counts.last;
  }
  return counts;
}

// In a child, so that each allocator starts from the same address space.
static struct counts mappings_of(malloc_function *allocate, free_function *release, struct shape shape) {
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct counts counts = random_run(allocate, release, shape);
    CHECK(write(pipes[1], &counts, sizeof(counts)) == sizeof(counts));
    _exit(0);
  }
  struct counts counts = {0, 0};
  int status;
  CHECK(read(pipes[0], &counts, sizeof(counts)) == sizeof(counts));
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return counts;
}

static void compare(struct shape shape) {
  struct counts glibc = mappings_of(malloc, free, shape);
  struct counts hz4 = mappings_of(hz4_malloc, hz4_free, shape);
  printf("an hour with one block in %u up to 2^%u: at the end glibc %ld mappings, hz4 %ld; at most %ld, %ld\n",
         shape.one_in, shape.top_shift, glibc.last, hz4.last, glibc.most, hz4.most);
  fflush(stdout);
  CHECK(hz4.last <= glibc.last + glibc.last / 10);
  CHECK(hz4.most <= glibc.most + glibc.most / 10);
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
  compare((struct shape){64, 18});
  compare((struct shape){64, 23});  // about 19 blocks above 1 MiB, which glibc's heap holds too, and hz4 maps one by one
  compare((struct shape){4, 23});   // about 300 of them at once
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
