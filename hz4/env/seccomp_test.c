// hz4 needs mmap, munmap, madvise, mremap and futex, and lives without all other system calls.
//
// hz4 is used by its own names. The threads are there before the filter, and touch hz4 for the first time behind it.
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "hz4/env/sandbox.h"
#include "hz4/hz4.h"

enum { kThreads = 4, kSteps = 6000, kSlots = 128 };

static pthread_barrier_t barrier;
static _Atomic(void *) shared[kSlots];  // so that threads free each other's blocks

static const int kAllowed[] = {SYS_mmap,  SYS_munmap, SYS_madvise,    SYS_mremap,      SYS_futex,
                               SYS_write, SYS_exit,   SYS_exit_group, SYS_rt_sigreturn};
#define ALLOWED_COUNT (sizeof(kAllowed) / sizeof(kAllowed[0]))

static size_t failures(uint64_t *state, bool may_fail, unsigned top_shift) {
  size_t failed = 0;
  for (int i = 0; i < kSteps; i++) {
    size_t size = random_size(state, top_shift);
    errno = 0;
    char *block = i % 3 == 0 ? hz4_calloc(1, size) : hz4_malloc(size);
    if (block == NULL) {
      CHECK(may_fail && errno == ENOMEM);
      failed++;
      continue;
    }
    if (i % 3 == 0) CHECK(is_zero(block, size < 4096 ? size : 4096));
    touch(block, size);
    errno = 77;
    if (i % 7 == 0) {
      char *resized = hz4_realloc(block, random_size(state, top_shift));
      if (resized == NULL) CHECK(may_fail && errno == ENOMEM);
      else block = resized;
    }
    void *old = atomic_exchange_explicit(&shared[next_random(state) % kSlots], block, memory_order_acq_rel);
    errno = 77;
    hz4_free(old);
    CHECK(errno == 77);
  }
  return failed;
}

static bool limited;

static void *work(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);  // the filter is on
  // All sizes, 1 byte to 16 MiB; with a limit, so many large blocks at once that some cannot be had.
  size_t failed = failures(&state, limited, 24);
  hz4_malloc_trim(0);
  failed += failures(&state, limited, 14);
  if (limited) CHECK(failed > 0);
  return NULL;
}

static void run(int error) {
  pthread_t threads[kThreads];
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 256 << 10) == 0);
  CHECK(pthread_barrier_init(&barrier, NULL, kThreads + 1) == 0);
  for (int i = 0; i < kThreads; i++) {
    CHECK(pthread_create(&threads[i], &attributes, work, (void *)(uintptr_t)(i + 1)) == 0);
  }
  pthread_barrier_wait(&barrier);
  if (limited) {
    struct rlimit limit = {192 << 20, 192 << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  }
  if (!sandbox_install(kAllowed, ALLOWED_COUNT, true, error)) _exit(2);
  CHECK(syscall(SYS_getpid) == -1 && errno == error);  // the filter is on
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < kSlots; i++) hz4_free(shared[i]);
  hz4_malloc_trim(0);
  hz4_check();
  _exit(0);
}

static bool run_in_child(int error) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) run(error);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2);
  return WEXITSTATUS(status) == 0;
}

int main(void) {
  if (!run_in_child(ENOSYS)) SKIP("no seccomp filters here");
  CHECK(run_in_child(EPERM));
  limited = true;
  CHECK(run_in_child(ENOSYS));
  puts("PASSED");
  return 0;
}
