// A program that has libc's malloc loads libhz4.so while it runs, uses its own names, and unloads it again.
// argv[1] is libhz4.so; argv[2], if it is "deepbind", gives dlopen RTLD_DEEPBIND.
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

#include "hz4/env/check.h"

enum { kThreads = 4, kSteps = 20000, kSlots = 256 };

static void *(*hz4_malloc_)(size_t);
static void *(*hz4_realloc_)(void *, size_t);
static void (*hz4_free_)(void *);
static size_t (*hz4_usable_)(void *);
static void (*hz4_check_)(void);

static void *churn(void *seed_ptr) {
  uint64_t state = (uint64_t)(uintptr_t)seed_ptr;
  void *slots[kSlots] = {NULL}, *libc_slots[kSlots] = {NULL};
  for (int i = 0; i < kSteps; i++) {
    size_t index = next_random(&state) % kSlots, size = random_size(&state, 21);
    if (i % 4 == 0) {
      slots[index] = hz4_realloc_(slots[index], size);
    } else {
      hz4_free_(slots[index]);
      slots[index] = hz4_malloc_(size);
    }
    CHECK(slots[index] != NULL && hz4_usable_(slots[index]) >= size);
    touch(slots[index], size);
    // libc's heap stands beside it.
    free(libc_slots[index]);
    libc_slots[index] = malloc(size % 1000 + 1);
    touch(libc_slots[index], size % 1000 + 1);
  }
  for (int i = 0; i < kSlots; i++) {
    hz4_free_(slots[i]);
    free(libc_slots[i]);
  }
  return NULL;
}

static void run_threads(void) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static pthread_barrier_t barrier;

// Began before hz4 was loaded, ends after it was "unloaded": its TLS and its destructor must be there.
static void *outlive(void *unused) {
  (void)unused;
  pthread_barrier_wait(&barrier);  // loaded
  pthread_barrier_wait(&barrier);
  void *block = hz4_malloc_(100);
  touch(block, 100);
  pthread_barrier_wait(&barrier);  // used
  pthread_barrier_wait(&barrier);  // closed
  hz4_free_(block);
  return NULL;
}

int main(int argc, char **argv) {
  CHECK(argc >= 2);
  int flags = RTLD_NOW | RTLD_LOCAL;
  if (argc > 2 && strcmp(argv[2], "deepbind") == 0) flags |= RTLD_DEEPBIND;
  pthread_t early;
  CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
  CHECK(pthread_create(&early, NULL, outlive, NULL) == 0);
  pthread_barrier_wait(&barrier);
  void *library = dlopen(argv[1], flags);
  if (library == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(library != NULL);
  *(void **)&hz4_malloc_ = dlsym(library, "hz4_malloc");
  *(void **)&hz4_realloc_ = dlsym(library, "hz4_realloc");
  *(void **)&hz4_free_ = dlsym(library, "hz4_free");
  *(void **)&hz4_usable_ = dlsym(library, "hz4_malloc_usable_size");
  *(void **)&hz4_check_ = dlsym(library, "hz4_check");
  CHECK(hz4_malloc_ != NULL && hz4_realloc_ != NULL && hz4_free_ != NULL && hz4_usable_ != NULL && hz4_check_ != NULL);
  // The program's own malloc is still libc's: hz4 moves no bytes for it.
  void *mine = malloc(100);
  CHECK(mine != NULL && malloc_usable_size(mine) == 104);
  free(mine);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  churn((void *)77);
  run_threads();
  hz4_check_();
  void *kept = hz4_malloc_(3000);
  CHECK(dlclose(library) == 0);
  pthread_barrier_wait(&barrier);
  CHECK(pthread_join(early, NULL) == 0);
  // NODELETE: the code stays, and so do blocks and the destructors of threads.
  touch(kept, 3000);
  hz4_free_(kept);
  run_threads();
  hz4_check_();
  CHECK(dlopen(argv[1], flags) == library);
  puts("PASSED");
  return 0;
}
