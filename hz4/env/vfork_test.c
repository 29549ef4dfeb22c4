// Children of vfork run in their parent's memory and on its thread's stack, while the parent's other threads go on. Here they
// allocate and free, and the parent goes on with what they leave. posix_spawn, system and popen as well.
//
// Built in two ways: LINKED, where hz4 is its malloc, and as a plain program, into which libhz4.so is preloaded.
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "hz4/env/blocks.h"

enum { kThreads = 4, kForkers = 2, kChildren = 1500, kSpawned = 40, kSteps = 400, kHungSeconds = 120 };

static atomic_bool stop;
static atomic_ulong steps;
extern char **environ;

__attribute__((noinline)) static void churn_some(uint64_t *state, int count) {
  for (int i = 0; i < count; i++) {
    release(exchange(state, make(state)));
    release(exchange(state, NULL));
    steps++;
  }
}

static void *churn(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  while (!stop) churn_some(&state, 1000);
  return NULL;
}

__attribute__((noinline)) static void vfork_once(uint64_t *state) {
  pid_t child = vfork();
  if (child == 0) {
    churn_some(state, kSteps);
    _exit(17);
  }
  CHECK(child > 0);
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 17);
  churn_some(state, 10);  // and is itself again
}

// Ends by exec, as children of vfork mostly do; or by failing to.
__attribute__((noinline)) static void vfork_and_exec(uint64_t *state, const char *path) {
  pid_t child = vfork();
  if (child == 0) {
    churn_some(state, 10);
    execl(path, path, (char *)NULL);
    churn_some(state, 10);
    _exit(17);
  }
  CHECK(child > 0);
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 17));
}

static void *vfork_often(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  for (int i = 0; i < kChildren; i++) {
    if (i % 64 == 0) vfork_and_exec(&state, i % 128 == 0 ? "/bin/true" : "/nowhere");
    else vfork_once(&state);
  }
  return NULL;
}

static void spawn_some(void) {
  for (int i = 0; i < kSpawned; i++) {
    pid_t child;
    char *const arguments[] = {"true", NULL};
    CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
    int status;
    while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
    CHECK(status == 0);
    CHECK(posix_spawn(&child, "/nowhere", NULL, NULL, arguments, environ) == ENOENT);
    CHECK(system("exit 3") == 3 << 8);
    FILE *stream = popen("echo text", "r");
    char line[16];
    CHECK(stream != NULL && fgets(line, sizeof(line), stream) != NULL && strcmp(line, "text\n") == 0);
    CHECK(pclose(stream) == 0);
  }
}

static void hangs(int number) {
  (void)number;
  check_failed(__FILE__, __LINE__, "it goes on");
}

int main(void) {
  unsetenv("LD_PRELOAD");  // for the children
  CHECK(signal(SIGALRM, hangs) != SIG_ERR);
  alarm(kHungSeconds);
  uint64_t state = 5;
  // Alone, and before any other thread has been.
  for (int i = 0; i < 100; i++) vfork_once(&state);
  pthread_t threads[kThreads], forkers[kForkers];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  for (int i = 0; i < kForkers; i++) {
    CHECK(pthread_create(&forkers[i], NULL, vfork_often, (void *)(uintptr_t)(i + 100)) == 0);
  }
  spawn_some();
  for (int i = 0; i < kForkers; i++) CHECK(pthread_join(forkers[i], NULL) == 0);
  stop = true;
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  free_slots();
  malloc_trim(0);
  hz4_check();
  printf("%lu steps\n", (unsigned long)steps);
  puts("PASSED");
  return 0;
}
