// A static program, whose only allocator is hz4: threads, fork, and what libc.a allocates.
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kThreads = 4, kSteps = 20000, kSlots = 512 };

static void *churn(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  void *slots[kSlots] = {NULL};
  for (int i = 0; i < kSteps; i++) {
    void **slot = &slots[next_random(&state) % kSlots];
    free(*slot);
    size_t size = random_size(&state, 18);
    *slot = malloc(size);
    CHECK(*slot != NULL);
    touch(*slot, size);
  }
  for (int i = 0; i < kSlots; i++) free(slots[i]);
  return NULL;
}

static void fork_once(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    churn((void *)99);
    hz4_check();
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
  CHECK(getauxval(AT_BASE) == 0);  // no dynamic linker: this is a static program
  char *text = strdup("x");
  CHECK(hz4_malloc_usable_size(text) >= 2);
  free(text);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  for (int i = 0; i < 10; i++) fork_once();
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  hz4_check();
  puts("PASSED");
  return 0;
}
