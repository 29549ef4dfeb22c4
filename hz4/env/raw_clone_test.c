// Threads that libc does not know of, made by clone with a TLS block of their own, beside threads of libc's: all pass blocks to
// each other. hz4 is the malloc of this program.
//
// The TLS block is what ld.so makes for libc's threads. Its function for that is private to glibc: where it is not to be had,
// nothing is tested.
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "hz4/env/blocks.h"

enum { kRaw = 4, kThreads = 4, kRounds = 5, kSteps = 100000, kStackBytes = 256 << 10 };
enum { kBytesLeftMax = 64 << 10 };

static void *churn(void *seed_ptr) {
  churn_steps((uint64_t)(uintptr_t)seed_ptr, kSteps);
  return NULL;
}

static int raw_thread(void *seed_ptr) {
  churn(seed_ptr);
  return 0;
}

static void *(*allocate_tls)(void *);
static void (*free_tls)(void *, bool);

// The head of glibc's thread control block on x86-64: itself, twice, and the guards of stacks and of pointers.
struct head {
  void *self;
  void *dtv;
  void *self_too;
  int multiple_threads, gscope;
  uintptr_t sysinfo, stack_guard, pointer_guard;
};

struct raw {
  struct head *tls;
  char *stack;
  _Atomic(pid_t) id;  // the kernel clears it when the thread is gone
};

static void start(struct raw *raw, uintptr_t seed) {
  const struct head *mine = __builtin_thread_pointer();
  raw->tls = allocate_tls(NULL);
  raw->stack = mmap(NULL, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(raw->tls != NULL && raw->stack != MAP_FAILED);
  raw->tls->self = raw->tls->self_too = raw->tls;
  raw->tls->stack_guard = mine->stack_guard;
  raw->tls->pointer_guard = mine->pointer_guard;
  int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
              CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  CHECK(clone(raw_thread, raw->stack + kStackBytes, flags, (void *)seed, &raw->id, raw->tls, &raw->id) > 0);
}

static void join(struct raw *raw) {
  for (pid_t id; (id = raw->id) != 0;) syscall(SYS_futex, &raw->id, FUTEX_WAIT, id, NULL, NULL, 0);
  free_tls(raw->tls, true);
  CHECK(munmap(raw->stack, kStackBytes) == 0);
}

static void round_of_both(void) {
  struct raw raw[kRaw] = {{0}};
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  for (int i = 0; i < kRaw; i++) start(&raw[i], (uintptr_t)i + 100);
  churn((void *)99);
  for (int i = 0; i < kRaw; i++) join(&raw[i]);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  free_slots();
  hz4_check();
}

int main(void) {
  *(void **)&allocate_tls = dlsym(RTLD_DEFAULT, "_dl_allocate_tls");
  *(void **)&free_tls = dlsym(RTLD_DEFAULT, "_dl_deallocate_tls");
  if (allocate_tls == NULL || free_tls == NULL) SKIP("ld.so does not show how it makes a TLS block");
  free(malloc(1));
  bool by_cpu = hz4_stats_get("thread_by_cpu") == 1;
  printf("caches belong to %s\n", by_cpu ? "CPUs" : "threads");
  round_of_both();
  uint64_t before = bytes_out_of_caches();
  for (int i = 0; i < kRounds; i++) round_of_both();
  long left = (long)(bytes_out_of_caches() - before);
  printf("%ld bytes are left\n", left);
  // Of a thread that libc does not know of nobody hears when it ends: what its own cache held is lost.
  if (by_cpu) CHECK(left <= kBytesLeftMax);
  if (by_cpu) CHECK(hz4_stats_get("thread_attached") == 0);
  puts("PASSED");
  return 0;
}
