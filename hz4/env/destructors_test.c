// Short threads that allocate and free in the destructors of pthread keys, in every round that POSIX grants, before
// hz4's own destructor and after it: nothing is lost. hz4 is the malloc of this program.
#include <limits.h>
#include <malloc.h>
#include <pthread.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kWarmUp = 2000, kThreads = 20000, kBytesPerThreadMax = 64, kBlocks = 12 };

static pthread_key_t before_key, after_key;
static uint64_t rounds_run;

struct luggage {
  pthread_key_t key;
  int rounds_left;
  void *blocks[kBlocks];
};

static void pack(struct luggage *luggage) {
  for (size_t i = 0; i < kBlocks; i++) {
    size_t size = (size_t)24 << i;  // 24 bytes to 48 KiB
    luggage->blocks[i] = malloc(size);
    CHECK(luggage->blocks[i] != NULL);
    touch(luggage->blocks[i], size);
  }
}

static void unpack(void *ptr) {
  struct luggage *luggage = ptr;
  __atomic_add_fetch(&rounds_run, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < kBlocks; i++) free(luggage->blocks[i]);
  if (luggage->rounds_left == 0) {
    free(luggage);
    return;
  }
  // Again in the next round, with new blocks in new luggage.
  struct luggage *next = malloc(sizeof(*next));
  *next = (struct luggage){.key = luggage->key, .rounds_left = luggage->rounds_left - 1};
  pack(next);
  CHECK(pthread_setspecific(next->key, next) == 0);
  free(luggage);
}

static void carry(pthread_key_t key) {
  struct luggage *luggage = malloc(sizeof(*luggage));
  // The last round must free, or the program itself would lose memory.
  *luggage = (struct luggage){.key = key, .rounds_left = PTHREAD_DESTRUCTOR_ITERATIONS - 1};
  pack(luggage);
  CHECK(pthread_setspecific(key, luggage) == 0);
}

static void *short_life(void *unused) {
  (void)unused;
  carry(before_key);
  carry(after_key);
  free(malloc(200000));
  return NULL;
}

static void run_threads(int count) {
  enum { kAtOnce = 8 };
  pthread_t threads[kAtOnce];
  for (int i = 0; i < count; i += kAtOnce) {
    for (int j = 0; j < kAtOnce; j++) CHECK(pthread_create(&threads[j], NULL, short_life, NULL) == 0);
    for (int j = 0; j < kAtOnce; j++) CHECK(pthread_join(threads[j], NULL) == 0);
  }
}

// What hz4 has out: neither in a free list nor in a depot; and all that it mapped for itself.
static uint64_t bytes_out(void) {
  malloc_trim(0);
  return hz4_stats_get("segment_used_bytes") - hz4_stats_get("heap_free_bytes") - hz4_stats_get("heap_depot_bytes") +
         hz4_stats_get("large_live_mapped_bytes");
}

// Runs before hz4 exists: its key has a lower number than hz4's, and its destructor runs first in each round.
__attribute__((constructor(101))) static void make_key_before_first_use(void) {
  CHECK(pthread_key_create(&before_key, unpack) == 0);
}

int main(void) {
  free(malloc(1));
  CHECK(pthread_key_create(&after_key, unpack) == 0);
  run_threads(kWarmUp);
  uint64_t out = bytes_out(), meta = hz4_stats_get("meta_used_bytes"), caches = hz4_stats_get("thread_caches");
  long rss = rss_kib();
  rounds_run = 0;
  run_threads(kThreads);
  CHECK(rounds_run == (uint64_t)kThreads * 2 * PTHREAD_DESTRUCTOR_ITERATIONS);
  long out_growth = (long)(bytes_out() - out), meta_growth = (long)(hz4_stats_get("meta_used_bytes") - meta);
  long rss_growth = (rss_kib() - rss) * 1024;
  printf("after %d threads: objects %+ld bytes, metadata %+ld, RSS %+ld; caches %lu -> %lu\n", kThreads, out_growth,
         meta_growth, rss_growth, (unsigned long)caches, (unsigned long)hz4_stats_get("thread_caches"));
  CHECK(out_growth < (long)kThreads * kBytesPerThreadMax);
  CHECK(meta_growth < (long)kThreads * kBytesPerThreadMax);
  CHECK(rss_growth < (long)kThreads * kBytesPerThreadMax);
  CHECK(hz4_stats_get("thread_caches") <= 64);  // those of ended threads are used again
  hz4_check();
  puts("PASSED");
  return 0;
}
