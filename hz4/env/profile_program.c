// A program whose memory is known, by the function that allocates it. profile_test.py reads its heap profiles.
//
//   known          keeps and frees what the table says; prints it: function, bytes of a block, blocks, of which are kept
//   thinned        keeps few of what it allocates in one place, and all in another
//   largest        allocates and frees blocks that fill the largest class, a byte more hardened
//   forks N        N children, each with a heap of its own, beside another thread; the last one ends by exit
//   vforks         children of vfork allocate, in its memory
//   signal         sends itself SIGUSR2 while it allocates nothing
//   calls PREFIX   start, stop and dump by the program itself
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

// Chance, for this thread, as a number has it. hz4's own: not there where it is only loaded.
void hz4_sample_seed(uint64_t seed);
#pragma weak hz4_sample_seed
#pragma weak hz4_profile_start
#pragma weak hz4_profile_stop
#pragma weak hz4_profile_dump

#define SITE __attribute__((noinline, noclone)) static

// Each call has a place of its own: the compiler is not to make it a jump.
#define SITE_END(block)                      \
  __asm__ volatile("" : : "r"(block) : "memory"); \
  return block

SITE void *by_malloc(size_t bytes) {
  void *block = malloc(bytes);
  SITE_END(block);
}

SITE void *by_calloc(size_t bytes) {
  void *block = calloc(bytes / 4, 4);
  SITE_END(block);
}

SITE void *by_realloc(size_t bytes) {
  void *block = realloc(NULL, bytes / 4);
  free(realloc(NULL, 1));
  block = realloc(block, bytes);
  SITE_END(block);
}

SITE void *by_aligned(size_t bytes) {
  void *block = aligned_alloc(256, bytes);
  SITE_END(block);
}

SITE void *by_posix(size_t bytes) {
  void *block;
  CHECK(posix_memalign(&block, 4096, bytes) == 0);
  SITE_END(block);
}

SITE void *large(size_t bytes) {
  void *block = malloc(bytes);
  SITE_END(block);
}

static const struct site {
  const char *name;
  void *(*allocate)(size_t bytes);
  size_t bytes;
  int blocks, kept;
} sites[] = {
    {"by_malloc", by_malloc, 48, 400000, 100000}, {"by_calloc", by_calloc, 3000, 40000, 10000},
    {"by_aligned", by_aligned, 1024, 50000, 50000},     {"by_posix", by_posix, 20000, 4000, 0},
    {"large", large, 500000, 800, 200},
};

static void *keep[500000];

static void known(void) {
  int kept = 0;
  for (size_t s = 0; s < sizeof(sites) / sizeof(sites[0]); ++s) {
    const struct site *site = &sites[s];
    printf("%s %zu %d %d\n", site->name, site->bytes, site->blocks, site->kept);
    for (int i = 0; i < site->blocks; ++i) {
      void *block = site->allocate(site->bytes);
      CHECK(block != NULL && malloc_usable_size(block) >= site->bytes);
      // Those that are kept are spread over all.
      bool keeps = (int64_t)(i + 1) * site->kept / site->blocks != (int64_t)i * site->kept / site->blocks;
      if (keeps) keep[kept++] = block;
      else free(block);
    }
  }
  // Moved, and in place; what it was at first is freed.
  for (int i = 0; i < 1000; ++i) free(by_realloc(4000));
}

// One of 16 is kept of the former, so that its spans are mostly free. Sizes whose spans differ.
static void thinned(void) {
  enum { kBlocks = 200000 };
  for (int i = 0; i < kBlocks; ++i) keep[i] = by_malloc(400);
  for (int i = 0; i < kBlocks / 16; ++i) keep[kBlocks + i] = by_calloc(800);
  for (int i = 0; i < kBlocks; ++i) {
    if (i % 16 != 0) free(keep[i]);
  }
}

static void largest(void) {
  for (int i = 0; i < 2000; ++i) free(by_malloc((256 << 10) - 1));
}

static _Atomic(bool) over;

static void *allocate_beside(void *unused) {
  while (!over) free(by_malloc(1000));
  return unused;
}

static void forks(int count) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, allocate_beside, NULL) == 0);
  void *mine = by_calloc(4000);
  for (int i = 0; i < count; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      for (int n = 0; n < 200; ++n) free(by_posix(8000));
      free(mine);
      if (i == count - 1) exit(0);
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  over = true;
  pthread_join(thread, NULL);
  free(mine);
}

static void vforks(void) {
  for (int i = 0; i < 3; ++i) {
    pid_t child = vfork();
    if (child == 0) {
      free(by_malloc(200000));
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    free(by_malloc(200000));
  }
}

static void calls(const char *prefix) {
  char path[4096];
  errno = 0;
  CHECK(hz4_profile_stop() == -1 && errno == EINVAL);
  snprintf(path, sizeof(path), "%s.pb", prefix);
  CHECK(hz4_profile_dump(path, HZ4_PROFILE_PPROF) == -1 && errno == EINVAL);
  CHECK(hz4_profile_start((size_t)-1) == -1 && errno == EINVAL);
  errno = 4321;
  CHECK(hz4_profile_start(1) == 0);
  keep[0] = by_malloc(10000);
  free(by_malloc(10000));
  CHECK(hz4_profile_stop() == 0);
  keep[1] = by_calloc(10000);
  CHECK(hz4_profile_dump(path, HZ4_PROFILE_PPROF) == 0);
  snprintf(path, sizeof(path), "%s.heap", prefix);
  CHECK(hz4_profile_dump(path, HZ4_PROFILE_HEAP_V2) == 0 && errno == 4321);
  CHECK(hz4_profile_dump(path, 2) == -1 && errno == EINVAL);
  CHECK(hz4_profile_dump(NULL, HZ4_PROFILE_PPROF) == -1 && errno == EINVAL);
  CHECK(hz4_profile_dump("/nonexistent/a", HZ4_PROFILE_PPROF) == -1 && errno == ENOENT);
  free(keep[0]);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  if (hz4_sample_seed != NULL) hz4_sample_seed(1);
  if (argc > 1 && strcmp(argv[1], "known") == 0) known();
  else if (argc > 1 && strcmp(argv[1], "thinned") == 0) thinned();
  else if (argc > 1 && strcmp(argv[1], "largest") == 0) largest();
  else if (argc > 1 && strcmp(argv[1], "vforks") == 0) vforks();
  else if (argc > 1 && strcmp(argv[1], "signal") == 0) raise(SIGUSR2);
  else if (argc > 2 && strcmp(argv[1], "forks") == 0) forks(atoi(argv[2]));
  else if (argc > 2 && strcmp(argv[1], "calls") == 0) calls(argv[2]);
  else return 2;
  return 0;
}
