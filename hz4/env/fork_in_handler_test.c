// The handler of a timer forks while the only thread is somewhere in malloc or free: POSIX lets it, for fork is
// async-signal-safe. hz4 is the malloc of this program.
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kForks = 500, kSlots = 256, kTimerUs = 100, kPatienceS = 200 };

static volatile sig_atomic_t forks;

static void fork_here(int number) {
  (void)number;
  if (forks == kForks) return;
  int saved = errno;
  pid_t child = fork();
  if (child == 0) _exit(7);
  CHECK(child > 0);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  forks++;
  errno = saved;
}

int main(void) {
  alarm(kPatienceS);  // whose signal ends the program: a fork that waits for this very thread waits for ever
  struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGPROF, &action, NULL) == 0);
  struct itimerval timer = {{0, kTimerUs}, {0, kTimerUs}};
  CHECK(setitimer(ITIMER_PROF, &timer, NULL) == 0);
  uint64_t state = 1;
  static unsigned char *slots[kSlots];
  static size_t sizes[kSlots];
  // Batches and page runs: most of the time goes by behind locks.
  while (forks < kForks) {
    size_t i = next_random(&state) % kSlots;
    CHECK(slots[i] == NULL || slots[i][sizes[i] - 1] == (unsigned char)i);
    free(slots[i]);
    sizes[i] = 200000 + random_size(&state, 18);
    slots[i] = malloc(sizes[i]);
    CHECK(slots[i] != NULL);
    slots[i][sizes[i] - 1] = (unsigned char)i;
  }
  hz4_check();
  printf("%d forks\n", (int)forks);
  return 0;
}
