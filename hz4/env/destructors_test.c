// Short threads that allocate and free in the destructors of pthread keys, in every round that POSIX grants, before
// hz4's own destructor and after it: nothing is lost. hz4 is the malloc of this program.
//
// destructors_test [threads]: what a thread leaves behind is the slope of a line through samples along the way, so that
// neither what is allocated once nor the last moment counts.
#include <limits.h>
#include <malloc.h>
#include <pthread.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kWarmUp = 2000, kThreads = 20000, kBytesPerThreadMax = 64, kBlocks = 12, kAtOnce = 8, kSamples = 20 };

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
  pthread_t threads[kAtOnce];
  for (int i = 0; i < count; i += kAtOnce) {
    for (int j = 0; j < kAtOnce; j++) CHECK(pthread_create(&threads[j], NULL, short_life, NULL) == 0);
    for (int j = 0; j < kAtOnce; j++) CHECK(pthread_join(threads[j], NULL) == 0);
  }
}

// What hz4 has out, neither in a free list nor in a depot; what it mapped for itself; and all that is resident.
struct sample {
  double out, meta, rss;
};

static struct sample take_sample(void) {
  uint64_t kept = hz4_stats_get("heap_free_bytes") + hz4_stats_get("heap_depot_bytes");
  return (struct sample){
      .out = (double)(hz4_stats_get("segment_used_bytes") - kept + hz4_stats_get("large_live_mapped_bytes")),
      .meta = (double)hz4_stats_get("meta_used_bytes"),
      .rss = (double)rss_kib() * 1024,
  };
}

// Least squares over samples that are one step apart.
static struct sample slope_of(const struct sample *samples, int count) {
  struct sample slope = {0, 0, 0};
  double middle = (count - 1) / 2.0, squares = 0;
  for (int i = 0; i < count; i++) {
    double x = i - middle;
    squares += x * x;
    slope.out += x * samples[i].out;
    slope.meta += x * samples[i].meta;
    slope.rss += x * samples[i].rss;
  }
  return (struct sample){slope.out / squares, slope.meta / squares, slope.rss / squares};
}

// Runs before hz4 exists: its key has a lower number than hz4's, and its destructor runs first in each round.
__attribute__((constructor(101))) static void make_key_before_first_use(void) {
  CHECK(pthread_key_create(&before_key, unpack) == 0);
}

int main(int argc, char **argv) {
  int step = (argc > 1 ? atoi(argv[1]) : kThreads) / kSamples;
  CHECK(step > 0 && step % kAtOnce == 0);
  free(malloc(1));
  CHECK(pthread_key_create(&after_key, unpack) == 0);
  run_threads(kWarmUp);
  rounds_run = 0;
  struct sample samples[kSamples + 1] = {take_sample()};
  for (int i = 1; i <= kSamples; i++) {
    run_threads(step);
    samples[i] = take_sample();
  }
  CHECK(rounds_run == (uint64_t)step * kSamples * 2 * PTHREAD_DESTRUCTOR_ITERATIONS);
  struct sample slope = slope_of(samples, kSamples + 1);
  printf("%d threads: each leaves %.2f bytes of objects, %.2f of metadata, %.2f resident; %lu caches\n",
         step * kSamples, slope.out / step, slope.meta / step, slope.rss / step,
         (unsigned long)hz4_stats_get("thread_caches"));
  CHECK(slope.out / step <= kBytesPerThreadMax);
  CHECK(slope.meta / step <= kBytesPerThreadMax);
  CHECK(slope.rss / step <= kBytesPerThreadMax);
  CHECK(hz4_stats_get("thread_caches") <= 64);  // those of ended threads are used again
  hz4_check();
  puts("PASSED");
  return 0;
}
