// Restartable sequences that libc does not register, for GLIBC_TUNABLES says so: nobody does, or the program, with an area of
// its own, in some threads or in all. hz4 leaves that to it, and gives each thread a cache of its own. hz4 is the malloc of
// this program.
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hz4/env/blocks.h"

enum { kThreads = 6, kSteps = 100000, kSignature = 0x53053053, kAreaBytes = 32, kBytesLeftMax = 64 << 10 };

static __thread uint64_t own_area[kAreaBytes / sizeof(uint64_t)] __attribute__((aligned(kAreaBytes)));

static bool registers(void) {
  return syscall(SYS_rseq, own_area, kAreaBytes, 0, kSignature) == 0;
}

static pthread_barrier_t all_at_work, looked;
static atomic_int signals_seen;

static void *work(void *seed_ptr) {
  churn_steps((uint64_t)(uintptr_t)seed_ptr, kSteps);
  pthread_barrier_wait(&all_at_work);
  pthread_barrier_wait(&looked);
  return NULL;
}

static void *register_and_work(void *seed_ptr) {
  CHECK(registers() || errno == ENOSYS);
  void *result = work(seed_ptr);
  // Nobody else has taken it.
  CHECK(syscall(SYS_rseq, own_area, kAreaBytes, 1 /* unregister */, kSignature) == 0 || errno == ENOSYS);
  return result;
}

static void count_signal(int number) {
  (void)number;
  signals_seen++;
}

// `registering` of the threads register their own.
static void run(int registering) {
  pthread_t threads[kThreads];
  CHECK(pthread_barrier_init(&all_at_work, NULL, kThreads + 1) == 0);
  CHECK(pthread_barrier_init(&looked, NULL, kThreads + 1) == 0);
  uint64_t before = bytes_out_of_caches(), attached = hz4_stats_get("thread_attached");
  for (int i = 0; i < kThreads; i++) {
    void *(*body)(void *) = i < registering ? register_and_work : work;
    CHECK(pthread_create(&threads[i], NULL, body, (void *)(uintptr_t)(i + 1)) == 0);
  }
  for (int i = 0; i < 2000; i++) CHECK(pthread_kill(threads[i % kThreads], SIGUSR1) == 0);
  churn_steps(99, kSteps);
  pthread_barrier_wait(&all_at_work);
  CHECK(hz4_stats_get("thread_attached") == attached + kThreads);
  churn_in_child(7, kSteps);
  pthread_barrier_wait(&looked);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  free_slots();
  hz4_check();
  long left = (long)(bytes_out_of_caches() - before);
  printf("%d of %d threads have registered: %ld bytes are left\n", registering, kThreads, left);
  CHECK(left <= kBytesLeftMax);
}

extern const unsigned int __rseq_size __attribute__((weak));

int main(int argc, char **argv) {
  (void)argc;
  if (getenv("GLIBC_TUNABLES") == NULL) {
    setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
    execv("/proc/self/exe", argv);
  }
  if (&__rseq_size != NULL && __rseq_size != 0) SKIP("libc registers all the same");
  CHECK(signal(SIGUSR1, count_signal) != SIG_ERR);
  free(malloc(1));
  CHECK(hz4_stats_get("thread_by_cpu") == 0 && hz4_stats_get("thread_attached") == 1);
  run(0);
  run(kThreads);
  run(kThreads / 2);
  CHECK(registers() || errno == ENOSYS);  // hz4 is not in the way
  puts("PASSED");
  return 0;
}
