// What caches hold when a process forks is not lost to the child: after malloc_trim it has all of it. And a chain of
// generations, each forked while the threads of the one before are at work, does not grow. hz4 is the malloc of this program.
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "hz4/env/loaded.h"

enum {
  kHolders = 2,
  kHeldBytesMin = 2 << 20,  // in caches, or else there is nothing to lose
  kChurners = 6,
  kChurnBlocks = 16,
  kChurnBytesMax = 512,
  // What the other threads had in their hands, blocks of theirs and a refill or a flush each that was under way.
  kLostBytesMax = kChurners * (kChurnBlocks + 254) * kChurnBytesMax,
  kForks = 30,
  kGenerations = 20,
  kThreads = 8,
  kRssKibMax = 60 << 10,
  kHungSeconds = 120,
};

static atomic_bool stop;
static atomic_ulong churned;
static pthread_barrier_t wanted, filled;
static bool by_cpu;

static void pin_to(int which) {
  cpu_set_t all, one;
  CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
  which %= CPU_COUNT(&all);
  for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &all) || seen++ != which) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
  }
}

// Each time that it is wanted leaves its caches full, of sizes that nobody else uses, and lives on.
static void *hold(void *which) {
  static const size_t kSizes[] = {1100, 2200, 4400, 8800, 17600, 35200};
  static const int kObjects = 400;
  pin_to((int)(uintptr_t)which);
  for (;;) {
    pthread_barrier_wait(&wanted);
    if (stop) return NULL;
    for (int round = 0; round < 4; round++) {
      for (size_t i = 0; i < sizeof(kSizes) / sizeof(kSizes[0]); i++) {
        void *objects[400];
        for (int j = 0; j < kObjects; j++) CHECK((objects[j] = malloc(kSizes[i])) != NULL);
        for (int j = 0; j < kObjects; j++) free(objects[j]);
      }
    }
    pthread_barrier_wait(&filled);
  }
}

static void fill_caches(void) {
  pthread_barrier_wait(&wanted);
  pthread_barrier_wait(&filled);
}

static void *churn(void *most_ptr) {
  size_t most = (size_t)(uintptr_t)most_ptr;
  uint64_t state = most;
  void *mine[kChurnBlocks] = {NULL};
  while (!stop) {
    void **slot = &mine[next_random(&state) % kChurnBlocks];
    free(*slot);
    size_t size = 1 + next_random(&state) % most;
    CHECK((*slot = malloc(size)) != NULL);
    touch(*slot, size);
    churned++;
  }
  for (int i = 0; i < kChurnBlocks; i++) free(mine[i]);
  return NULL;
}

static void expect_success(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) fprintf(stderr, "a child: signal %d; %d is a hang\n", WTERMSIG(status), SIGALRM);
  CHECK(status == 0);
}

static long deepest;

// True when there was something to lose: a decline may empty all caches at any moment. (A thread's go home at a fork.)
static bool child_has_it_all(void) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  unsigned long seen = churned;
  while (churned < seen + 100) sched_yield();
  pid_t child = fork();
  CHECK(child >= 0);
  uint64_t out[2];  // before trim and after
  if (child == 0) {
    alarm(kHungSeconds);
    out[0] = bytes_out();
    malloc_trim(0);
    out[1] = bytes_out();
    hz4_check();
    CHECK(write(ends[1], out, sizeof(out)) == sizeof(out));
    _exit(0);
  }
  close(ends[1]);
  CHECK(read(ends[0], out, sizeof(out)) == sizeof(out));
  close(ends[0]);
  expect_success(child);
  if ((long)out[1] > deepest) deepest = (long)out[1];
  return !by_cpu || out[0] >= kHeldBytesMin;
}

static void test_child_has_it_all(void) {
  pthread_t holders[kHolders], churners[kChurners];
  CHECK(pthread_barrier_init(&wanted, NULL, kHolders + 1) == 0);
  CHECK(pthread_barrier_init(&filled, NULL, kHolders + 1) == 0);
  for (int i = 0; i < kHolders; i++) CHECK(pthread_create(&holders[i], NULL, hold, (void *)(uintptr_t)i) == 0);
  fill_caches();
  uint64_t held = bytes_out();
  printf("%lu KiB in caches\n", (unsigned long)(held >> 10));
  CHECK(held >= kHeldBytesMin);
  for (int i = 0; i < kChurners; i++) {
    CHECK(pthread_create(&churners[i], NULL, churn, (void *)(uintptr_t)kChurnBytesMax) == 0);
  }
  for (int forks = 0, tries = 0; forks < kForks; tries++) {
    CHECK(tries < 10 * kForks);
    fill_caches();
    forks += child_has_it_all();
  }
  stop = true;
  pthread_barrier_wait(&wanted);
  for (int i = 0; i < kHolders; i++) CHECK(pthread_join(holders[i], NULL) == 0);
  for (int i = 0; i < kChurners; i++) CHECK(pthread_join(churners[i], NULL) == 0);
  stop = false;
  printf("a child had at most %ld KiB in nobody's hands, of the %d KiB that threads may have\n", deepest >> 10,
         kLostBytesMax >> 10);
  CHECK(deepest <= kLostBytesMax);
}

// Each generation forks the next while its own threads are in mid-air.
static void generation(int number) {
  alarm(kHungSeconds);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) {
    CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)((size_t)64 << i)) == 0);
  }
  unsigned long seen = churned;
  while (churned < seen + 20000) sched_yield();
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (number < kGenerations) {
      generation(number + 1);
    } else {
      hz4_check();
      malloc_trim(0);
      long rss = rss_kib();
      printf("generation %d: %ld KiB resident, %lu KiB out\n", number, rss, (unsigned long)(bytes_out() >> 10));
      fflush(stdout);
      CHECK(rss <= kRssKibMax);
    }
    _exit(0);
  }
  expect_success(child);
  stop = true;
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(rss_kib() <= kRssKibMax);
  hz4_check();
  stop = false;
}

int main(void) {
  free(malloc(1));
  by_cpu = hz4_stats_get("thread_by_cpu") == 1;
  printf("caches belong to %s\n", by_cpu ? "CPUs" : "threads");
  test_child_has_it_all();
  fflush(stdout);
  generation(1);
  puts("PASSED");
  return 0;
}
