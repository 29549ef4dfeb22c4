// What the tools of tools_test.py look at: threads that allocate, and a child. Prints the same every time.
#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>

#include "hz4/env/check.h"

enum { kThreads = 3, kSteps = 3000, kSlots = 64 };

// gdb stops here, and calls malloc and free from here.
__attribute__((noinline)) void stop_here(unsigned long sum) {
  printf("sum %lu\n", sum);
}

static void *churn(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr, sum = 0;
  char *slots[kSlots] = {NULL};
  for (int i = 0; i < kSteps; i++) {
    size_t size = random_size(&state, 20);
    char **slot = &slots[next_random(&state) % kSlots];
    if (i % 3 == 0) *slot = realloc(*slot, size);
    else free(*slot), *slot = i % 3 == 1 ? malloc(size) : calloc(1, size);
    CHECK(*slot != NULL);
    CHECK(malloc_usable_size(*slot) >= size);
    touch(*slot, size);
    sum += size;
  }
  for (int i = 0; i < kSlots; i++) free(slots[i]);
  return (void *)sum;
}

int main(void) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  unsigned long sum = 0;
  for (int i = 0; i < kThreads; i++) {
    void *result;
    CHECK(pthread_join(threads[i], &result) == 0);
    sum += (unsigned long)result;
  }
  stop_here(sum);
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) _exit(churn((void *)9) != NULL ? 17 : 1);
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  printf("child %d\n", WEXITSTATUS(status));
  return 0;
}
