// The dynamic linker allocates and frees by the program's malloc: thread-local memory as the first thing in a thread's
// life and as the last, and all that dlopen needs, in many threads at a time. hz4 is the malloc of this program.
// argv[1] is dl_library.
#include <dlfcn.h>
#include <pthread.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kThreads = 8, kRounds = 100 };

static const char *path;
static char *(*touch_thread_local)(int);

// Nothing of hz4 was called in this thread before, and its library is needed until it has ended.
static void *live_on_thread_local(void *value_ptr) {
  int value = (int)(uintptr_t)value_ptr;
  char *memory = touch_thread_local(value);
  CHECK(memory[0] == value && memory[99999] == value);
  return NULL;
}

static void *open_and_close(void *unused) {
  void *again = dlopen(path, RTLD_NOW);
  CHECK(again != NULL && dlsym(again, "touch_thread_local") != NULL && dlsym(again, "no such name") == NULL);
  CHECK(hz4_malloc_usable_size(dlerror()) > 0);  // the message is a block of hz4's, or this aborts
  CHECK(dlopen("/no such library", RTLD_NOW) == NULL && dlclose(again) == 0);
  return unused;
}

int main(int argc, char **argv) {
  CHECK(argc > 1);
  path = argv[1];
  for (int round = 0; round < kRounds; round++) {
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    *(void **)&touch_thread_local = dlsym(library, "touch_thread_local");
    CHECK(touch_thread_local != NULL);
    pthread_t threads[kThreads];
    for (int i = 0; i < kThreads; i++) {
      void *(*body)(void *) = i % 2 == 0 ? live_on_thread_local : open_and_close;
      CHECK(pthread_create(&threads[i], NULL, body, (void *)(uintptr_t)(i + 1)) == 0);
    }
    for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(dlclose(library) == 0);
  }
  hz4_check();
  puts("PASSED");
  return 0;
}
