// A handler of SIGABRT that throws, out of hz4's report and through free: as with longjmp, what follows must work.
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

#include "hz4/hz4.h"

namespace {

void OnAbort(int) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGABRT);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  throw std::runtime_error("reported");
}

void UseHeap() {
  for (int round = 0; round < 3; ++round) {
    std::vector<std::vector<char>> all;
    for (size_t size = 1; size < 4 << 20; size = size * 5 / 4 + 1) all.emplace_back(size, 'x');
  }
  hz4_malloc_trim(0);
  hz4_check();
}

// Not as declared, for the compiler knows that free throws nothing.
void (*volatile free_it)(void *) = hz4_free;
int (*volatile trim)(size_t) = hz4_malloc_trim;

int Run(size_t bytes) {
  alarm(60);
  signal(SIGABRT, OnAbort);
  int caught = 0;
  for (int round = 0; round < 20; ++round) {
    void *volatile block = hz4_malloc(bytes);
    void *neighbour = hz4_malloc(bytes);
    try {
      free_it(block);
      free_it(block);
      trim(0);
    } catch (const std::runtime_error &) {
      ++caught;
    }
    UseHeap();
    std::thread(UseHeap).join();
    hz4_free(neighbour);
  }
  return caught == 20 ? 0 : 1;
}

}  // namespace

int main() {
  for (size_t bytes : {16u, 100u, 3000u, 200000u, 600000u, 5000000u}) {
    const pid_t child = fork();
    if (child == 0) _exit(Run(bytes));
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
      printf("FAILED: %zu bytes: status %d\n", bytes, status);
      return 1;
    }
  }
  puts("PASSED");
  return 0;
}
