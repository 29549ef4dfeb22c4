// Uses every part of hz4 below hooks that allocate (hooks_library.c): one that is called with a lock held would wait for
// ever, until the alarm.
#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>

#include "hz4/env/check.h"

enum { kThreads = 3, kBlocks = 200, kSeconds = 120 };

// Fills and empties, so that memory goes back and is wanted again at once.
static void *swing(void *seed) {
  static __thread void *blocks[kBlocks];
  uint64_t state = (uintptr_t)seed;
  for (int round = 0; round < 30; round++) {
    for (int i = 0; i < kBlocks; i++) {
      size_t size = random_size(&state, round % 3 == 0 ? 22 : 16);
      blocks[i] = malloc(size);
      CHECK(blocks[i] != NULL);
      touch(blocks[i], size);
    }
    for (int i = 0; i < kBlocks; i++) {
      if (i % 4 == 0) blocks[i] = realloc(blocks[i], (size_t)3 << 20);
      if (i % 8 == 0) blocks[i] = realloc(blocks[i], (size_t)5 << 20);
      free(blocks[i]);
    }
    if (round % 10 == 9) malloc_trim(0);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[kThreads];
  alarm(kSeconds);
  swing((void *)1);
  for (uintptr_t i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, swing, (void *)(i + 2)) == 0);
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(kSeconds);
      free(malloc(100));
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  malloc_stats();
  puts("PASSED");
  return 0;
}
