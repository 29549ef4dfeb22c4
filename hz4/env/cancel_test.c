// A thread that is to be cancelled goes through every call of hz4's, and a report, as if it were not: none is a
// cancellation point (POSIX, "Thread Cancellation": malloc and free are none).
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kFound = 7, kSeconds = 60 };

static volatile bool came_through;

static void *hide(void *ptr) {
  void *volatile hidden = ptr;
  return hidden;
}

static void allocate(void) {
  for (size_t size = 1; size < 8 << 20; size = size * 3 / 2 + 1) {
    void *block = malloc(size), *zeros = calloc(1, size), *aligned = memalign(64, size);
    block = realloc(block, size * 2);
    CHECK(block != NULL && zeros != NULL && aligned != NULL);
    free(block);
    free(zeros);
    free(aligned);
  }
  malloc_trim(0);
}

static FILE *sink;

static void print(void) {
  malloc_stats();
  hz4_stats_print(STDERR_FILENO);
  hz4_options_print(STDERR_FILENO);
  CHECK(malloc_info(0, sink) == 0);
  mallinfo2();
  hz4_check();
}

static void report(void) {
  static char buffer[64];
  free(hide(buffer));
}

static void report_late(void) {
  void *block = hide(malloc(100));
  free(block);
  free(hide(block));
  malloc_trim(0);
}

static void (*calls)(void);

static void *to_be_cancelled(void *unused) {
  pthread_cancel(pthread_self());  // acted upon at the next cancellation point
  calls();
  came_through = true;
  pthread_testcancel();
  CHECK(false);
  return unused;
}

static void on_abort(int number) {
  (void)number;
  _exit(kFound);
}

static void check(const char *name, void (*to_call)(void), int expected) {
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    pthread_t thread;
    void *result;
    alarm(kSeconds);
    signal(SIGABRT, on_abort);
    CHECK(dup2(open("/dev/null", O_WRONLY), STDERR_FILENO) == STDERR_FILENO);
    sink = fdopen(STDERR_FILENO, "w");
    CHECK(sink != NULL && setvbuf(sink, NULL, _IONBF, 0) == 0);
    calls = to_call;
    CHECK(pthread_create(&thread, NULL, to_be_cancelled, NULL) == 0 && pthread_join(thread, &result) == 0);
    _exit(came_through && result == PTHREAD_CANCELED ? 0 : 1);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  printf("%s: status %d\n", name, status);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == expected);
}

int main(void) {
  check("malloc, free and the like", allocate, 0);
  check("statistics", print, 0);
  check("a report", report, kFound);
  check("a late report", report_late, kFound);
  puts("PASSED");
  return 0;
}
