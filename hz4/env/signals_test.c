// Timer signals while threads allocate and free each other's blocks. The handlers do not allocate. hz4 is the malloc
// of this program.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kThreads = 4, kSteps = 200000, kSlots = 1024, kTimerUs = 200, kSignalsMin = 20 };

struct block {
  size_t size;
};

static _Atomic(struct block *) slots[kSlots];
static volatile sig_atomic_t signals_seen;
static _Atomic(uint64_t) allocated, freed;

static void count_signal(int number) {
  (void)number;
  signals_seen++;
  volatile char used[512];  // a frame of some size: hz4 must not keep anything below the stack pointer
  for (size_t i = 0; i < sizeof(used); i++) used[i] = (char)i;
}

static void release(struct block *block) {
  if (block == NULL) return;
  CHECK(((unsigned char *)block)[block->size - 1] == (unsigned char)block->size);
  free(block);
  atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

static struct block *make(uint64_t *state) {
  size_t size = sizeof(struct block) + random_size(state, 17);
  struct block *block = malloc(size);
  CHECK(block != NULL);
  block->size = size;
  ((unsigned char *)block)[size - 1] = (unsigned char)size;
  atomic_fetch_add_explicit(&allocated, 1, memory_order_relaxed);
  return block;
}

static void *churn(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  // Until all steps are done and enough signals have come: a count, not a time.
  for (int i = 0; i < kSteps || signals_seen < kSignalsMin; i++) {
    struct block *block = make(&state);
    release(atomic_exchange_explicit(&slots[next_random(&state) % kSlots], block, memory_order_acq_rel));
  }
  return NULL;
}

int main(void) {
  struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0 && sigaction(SIGPROF, &action, NULL) == 0);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  struct itimerval timer = {{0, kTimerUs}, {0, kTimerUs}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0 && setitimer(ITIMER_PROF, &timer, NULL) == 0);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  // And some that are aimed at each thread.
  for (int i = 0; i < 20000; i++) CHECK(pthread_kill(threads[i % kThreads], i % 50 == 0 ? SIGUSR1 : 0) == 0);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  struct itimerval off = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0 && setitimer(ITIMER_PROF, &off, NULL) == 0);
  for (int i = 0; i < kSlots; i++) release(slots[i]);
  printf("%d signals, %lu blocks\n", (int)signals_seen, (unsigned long)allocated);
  CHECK(allocated == freed);
  hz4_check();
  puts("PASSED");
  return 0;
}
