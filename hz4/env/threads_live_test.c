// Ten thousand threads that live at the same time, and have used hz4: its part of their RSS is at most 1 KiB each, and 16
// KiB where each has a cache of its own. What a bare thread costs is measured first, and taken off.
//
// Both for threads that have used few sizes and for those that have used many: a first refill takes one object, so that
// threads that need one do not each spread over a page of their own.
#include <pthread.h>
#include <sys/resource.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kThreads = 10000, kStackBytes = 32 << 10, kKibPerThreadMax = 1, kKibPerOwnCacheMax = 16 };

static pthread_t threads[kThreads];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER, go_home = PTHREAD_COND_INITIALIZER;
static int present;
static bool over;

static void wait_for_the_end(void) {
  pthread_mutex_lock(&mutex);
  present++;
  pthread_cond_signal(&arrived);
  while (!over) pthread_cond_wait(&go_home, &mutex);
  pthread_mutex_unlock(&mutex);
}

static void *bare(void *unused) {
  wait_for_the_end();
  return unused;
}

// Uses every power of two up to `most`, keeps nothing but 100 bytes, and sleeps.
static void use_hz4(size_t most) {
  void *kept = hz4_malloc(100);
  touch(kept, 100);
  for (size_t size = 16; size <= most; size *= 2) {
    void *block = hz4_malloc(size);
    touch(block, size);
    hz4_free(block);
  }
  wait_for_the_end();
  hz4_free(kept);
}

static void *with_few_sizes(void *unused) {
  use_hz4(64);
  return unused;
}

static void *with_many_sizes(void *unused) {
  use_hz4(4096);
  return unused;
}

// RSS with all of them alive, in KiB; the threads are gone when it returns. -1: they cannot be had.
static long rss_with(void *(*body)(void *)) {
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, kStackBytes) == 0);
  present = 0;
  over = false;
  int made = 0;
  while (made < kThreads && pthread_create(&threads[made], &attributes, body, NULL) == 0) made++;
  pthread_mutex_lock(&mutex);
  while (present < made) pthread_cond_wait(&arrived, &mutex);
  long rss = rss_kib();
  over = true;
  pthread_cond_broadcast(&go_home);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < made; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  return made == kThreads ? rss : -1;
}

int main(void) {
  long bare_rss = rss_with(bare);
  if (bare_rss < 0) SKIP("10,000 threads cannot be had on this machine");
  long few = rss_with(with_few_sizes), many = rss_with(with_many_sizes);
  CHECK(few >= 0 && many >= 0);
  double each_few = (double)(few - bare_rss) / kThreads, each_many = (double)(many - bare_rss) / kThreads;
  bool by_cpu = hz4_stats_get("thread_by_cpu") == 1;
  printf("a bare thread: %.2f KiB; hz4, with caches of %s, adds %.2f KiB for 4 sizes, %.2f KiB for 10\n",
         (double)bare_rss / kThreads, by_cpu ? "CPUs" : "threads", each_few, each_many);
  double most = by_cpu ? kKibPerThreadMax : kKibPerOwnCacheMax;
  CHECK(each_few > 0 && each_few <= most);
  CHECK(each_many <= most);
  CHECK(hz4_stats_get("thread_attached") <= 1);
  CHECK(hz4_stats_get("thread_caches") <= kThreads + 1);
  hz4_check();
  puts("PASSED");
  return 0;
}
