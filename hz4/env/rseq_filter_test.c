// Filters that refuse what caches of CPUs need of the system (rseq, membarrier, sched_getaffinity), each and all together, from
// the start or from after the first malloc on: threads that are there go on, those that come have a cache of either kind, and
// the whole heap comes home. hz4 is the malloc of this program.
#include <pthread.h>
#include <sys/wait.h>

#include "hz4/env/blocks.h"
#include "hz4/env/sandbox.h"

enum { kThreads = 4, kSteps = 20000, kBytesLeftMax = 64 << 10 };
enum { kRseq = 1, kMembarrier = 2, kAffinity = 4, kAll = 7 };
enum { kFromTheStart, kLater };

static pthread_barrier_t barrier;

static void *work(void *seed_ptr) {
  churn_steps((uint64_t)(uintptr_t)seed_ptr, kSteps);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  churn_steps((uint64_t)(uintptr_t)seed_ptr + 1, kSteps);
  return NULL;
}

static void *come_later(void *seed_ptr) {
  churn_steps((uint64_t)(uintptr_t)seed_ptr, kSteps);
  return NULL;
}

static bool install(int refused, int error) {
  int calls[3];
  size_t count = 0;
  if ((refused & kRseq) != 0) calls[count++] = SYS_rseq;
  if ((refused & kMembarrier) != 0) calls[count++] = SYS_membarrier;
  if ((refused & kAffinity) != 0) calls[count++] = SYS_sched_getaffinity;
  return sandbox_install(calls, count, false, error);
}

// The process of one combination. Ends with 2 where the kernel has no filters for us.
static void be_refused(int refused, int error, int when, bool could) {
  free(malloc(1));
  // Where rseq is refused later, libc was not to register at all: see below.
  bool may = (refused & kRseq) == 0 && (when == kLater || (refused & kAffinity) == 0);
  bool by_cpu = hz4_stats_get("thread_by_cpu") == 1;
  CHECK(by_cpu == (could && may));
  uint64_t before = bytes_out_of_caches();  // libstdc++'s too
  pthread_t threads[kThreads], later[kThreads];
  CHECK(pthread_barrier_init(&barrier, NULL, kThreads + 1) == 0);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i + 1)) == 0);
  pthread_barrier_wait(&barrier);
  if (when == kLater && !install(refused, error)) _exit(2);
  if ((refused & kMembarrier) != 0) CHECK(syscall(SYS_membarrier, 0, 0, 0) == -1 && errno == error);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < kThreads; i++) {
    CHECK(pthread_create(&later[i], NULL, come_later, (void *)(uintptr_t)(i + 10)) == 0);
  }
  churn_steps(99, kSteps);
  churn_in_child(7, kSteps);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(later[i], NULL) == 0);
  free_slots();
  hz4_check();
  // Without membarrier nobody takes remotely what other CPUs' caches hold.
  uint64_t out = bytes_out_of_caches() - before;
  if ((refused & kMembarrier) == 0 && out > kBytesLeftMax) fprintf(stderr, "%lu bytes are out\n", (unsigned long)out);
  CHECK((refused & kMembarrier) != 0 || out <= kBytesLeftMax);
  _exit(0);
}

static int run(int refused, int error, int when, bool could) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char text[16];
    snprintf(text, sizeof(text), "%d,%d,%d,%d", refused, error, when, could);
    setenv("RUN", text, 1);
    // libc ends a process in which it could register for the first thread, and cannot for another: so it is not to try.
    if (when == kLater && (refused & kRseq) != 0) setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
    if (when == kFromTheStart && !install(refused, error)) _exit(2);
    execl("/proc/self/exe", "rseq_filter_test", (char *)NULL);
    CHECK(!"exec");
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 2)) {
    fprintf(stderr, "refused %d, errno %d, %s: status %d\n", refused, error, when == kLater ? "later" : "from the start",
            status);
    exit(1);
  }
  return WEXITSTATUS(status);
}

int main(void) {
  int refused, error, when, could;
  if (getenv("RUN") != NULL) {
    CHECK(sscanf(getenv("RUN"), "%d,%d,%d,%d", &refused, &error, &when, &could) == 4);
    be_refused(refused, error, when, could);
  }
  free(malloc(1));
  free(malloc(1));
  could = hz4_stats_get("thread_by_cpu") == 1;
  printf("caches belong to %s\n", could ? "CPUs" : "threads");
  for (when = kFromTheStart; when <= kLater; when++) {
    for (refused = 1; refused <= kAll; refused++) {
      if (run(refused, ENOSYS, when, could) == 2) SKIP("no seccomp filters here");
      CHECK(run(refused, EPERM, when, could) == 0);
    }
  }
  puts("PASSED");
  return 0;
}
