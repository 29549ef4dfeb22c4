// A static program, whose only allocator is hz4: threads, fork, what libc.a allocates, and its life before main and
// after exit handlers.
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

// ---- before and after main ----

static char *early;

static void pre_init(void) {
  early = strdup("early");
  CHECK(hz4_malloc_usable_size(early) >= 6);
}
__attribute__((section(".preinit_array"), used)) static void (*const pre_inits[])(void) = {pre_init};

__attribute__((constructor(101))) static void first_constructor(void) {
  churn((void *)7);
}

static void exit_handler(void) {
  churn((void *)8);
}

// The last: without it the status of exit is main's, which is 1.
__attribute__((destructor(101))) static void last_destructor(void) {
  CHECK(strcmp(early, "early") == 0);
  free(early);
  churn((void *)9);
  hz4_check();
  puts("PASSED");
  fflush(stdout);
  _exit(0);
}

int main(void) {
  CHECK(atexit(exit_handler) == 0);
  CHECK(getauxval(AT_BASE) == 0);  // no dynamic linker: this is a static program
  char *text = strdup("x");
  CHECK(hz4_malloc_usable_size(text) >= 2);
  free(text);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  for (int i = 0; i < 10; i++) fork_once();
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  hz4_check();
  return 1;
}
