// Sequences that are interrupted by everything at once: threads that pass blocks to each other are moved from CPU to CPU and
// get signals whose handlers allocate, their bins are taken away remotely, threads begin and end, and the process forks.
// Counts bound it. hz4 is the malloc of this program.
//
// A handler may allocate where it interrupts no call of malloc's, which it knows by `busy`; or where it has interrupted a
// sequence, in which nobody holds a lock of hz4's (the kernel tells by where the thread goes on).
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "hz4/env/blocks.h"

enum {
  kThreads = 8,
  kTimerUs = 500,
  kBlows = 20000,        // of the thread that moves, signals and trims
  kAbortsMin = 200,      // handlers that found a sequence interrupted, where caches belong to CPUs
  kBlowsMax = 2000000,
  kForks = 150,
  kHungSeconds = 100,
  kBytesLeftMax = 64 << 10,
};

struct descriptor {
  uint32_t version, flags;
  uint64_t start, post_commit_offset, abort;
};
extern const struct descriptor __start___rseq_cs[], __stop___rseq_cs[];

static pthread_t threads[kThreads];
static _Atomic(pid_t) ids[kThreads];
static atomic_bool stop;
static atomic_ulong handlers, aborts, steps;
static __thread volatile sig_atomic_t busy;
static __thread uint64_t handler_state;
static bool by_cpu;
static cpu_set_t cpus;

// ---- what the threads do ----

static bool has_interrupted_sequence(const ucontext_t *context) {
  for (const struct descriptor *d = __start___rseq_cs; d < __stop___rseq_cs; d++) {
    if ((uint64_t)context->uc_mcontext.gregs[REG_RIP] == d->abort) return true;
  }
  return false;
}

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)number, (void)info;
  if (handler_state == 0) return;
  bool aborted = by_cpu && has_interrupted_sequence(context);
  if (busy && !aborted) return;
  handlers++;
  aborts += aborted;
  sig_atomic_t saved = busy;
  busy = 1;
  for (int i = 0; i < 4; i++) {
    release(exchange(&handler_state, make(&handler_state)));
    release(exchange(&handler_state, NULL));
  }
  busy = saved;
}

static void *churn(void *seed_ptr) {
  uintptr_t seed = (uintptr_t)seed_ptr;
  uint64_t state = seed;
  handler_state = seed + 100;
  ids[seed - 1] = gettid();
  while (!stop) {
    busy = 1;
    struct block *block = make(&state);
    busy = 0;
    block = exchange(&state, block);
    struct block *other = exchange(&state, NULL);
    busy = 1;
    release(block);
    busy = 0;
    busy = 1;
    release(other);
    busy = 0;
    steps++;
  }
  handler_state = 0;
  return NULL;
}

static void *short_life(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  for (int i = 0; i < 20; i++) release(exchange(&state, make(&state)));
  return NULL;
}

static void move(pid_t id, uint64_t *state) {
  cpu_set_t few;
  CPU_ZERO(&few);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &cpus) && next_random(state) % 2 == 0) CPU_SET(cpu, &few);
  }
  CHECK(sched_setaffinity(id, sizeof(few), CPU_COUNT(&few) != 0 ? &few : &cpus) == 0);
}

static void *storm(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  int blows = 0;
  for (; blows < kBlows || (by_cpu && aborts < kAbortsMin && blows < kBlowsMax); blows++) {
    int which = (int)(next_random(&state) % kThreads);
    CHECK(pthread_kill(threads[which], SIGUSR1) == 0);
    if (blows % 4 == 0) move(ids[which], &state);
    // All on one CPU, as where a cpuset shrinks.
    if (blows % 512 == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
        if (CPU_ISSET(cpu, &cpus)) CPU_SET(cpu, &one);
      }
      for (int i = 0; i < kThreads; i++) CHECK(sched_setaffinity(ids[i], sizeof(one), &one) == 0);
    }
    if (blows % 8 == 0) malloc_trim(0);
    if (blows % 256 == 0) {
      pthread_t thread;
      CHECK(pthread_create(&thread, NULL, short_life, (void *)(uintptr_t)(blows + 1)) == 0);
      CHECK(pthread_join(thread, NULL) == 0);
    }
  }
  return NULL;
}

// ---- forks ----

static void use_what_was_inherited(uint64_t seed) {
  free_slots();
  uint64_t state = seed;
  for (int i = 0; i < 1000; i++) release(exchange(&state, make(&state)));
  free_slots();
  malloc_trim(0);
  hz4_check();
}

static void fork_once(int generations, uint64_t seed) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    sigset_t none;
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&none);
    CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    alarm(kHungSeconds / 2);
    use_what_was_inherited(seed);
    if (generations > 1) fork_once(generations - 1, seed + 1);
    _exit(0);
  }
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  if (WIFSIGNALED(status)) fprintf(stderr, "a child: signal %d; %d is a hang\n", WTERMSIG(status), SIGALRM);
  CHECK(status == 0);
}

int main(void) {
  free(malloc(1));
  by_cpu = hz4_stats_get("thread_by_cpu") == 1;
  printf("caches belong to %s\n", by_cpu ? "CPUs" : "threads");
  CHECK(sched_getaffinity(0, sizeof(cpus), &cpus) == 0);
  uint64_t before = bytes_out_of_caches();
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  for (int i = 0; i < kThreads; i++) {
    while (ids[i] == 0) sched_yield();
  }
  // For the threads alone.
  sigset_t alarm_only;
  sigemptyset(&alarm_only);
  sigaddset(&alarm_only, SIGALRM);
  CHECK(pthread_sigmask(SIG_BLOCK, &alarm_only, NULL) == 0);
  struct itimerval timer = {{0, kTimerUs}, {0, kTimerUs}}, off = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  pthread_t blower;
  CHECK(pthread_create(&blower, NULL, storm, (void *)77) == 0);
  for (int i = 0; i < kForks; i++) fork_once(2, (uint64_t)i + 1);
  CHECK(pthread_join(blower, NULL) == 0);
  stop = true;
  CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  free_slots();
  long left = (long)(bytes_out_of_caches() - before);
  hz4_check();
  printf("%lu steps, %lu handlers that allocate, %lu of them in a sequence; %ld bytes are left\n",
         (unsigned long)steps, (unsigned long)handlers, (unsigned long)aborts, left);
  CHECK(handlers > 0 && (!by_cpu || aborts >= kAbortsMin));
  CHECK(left <= kBytesLeftMax);
  puts("PASSED");
  return 0;
}
