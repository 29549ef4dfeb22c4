// dlopen of libhz4.so in a program that has little static TLS left, 48 to 63 bytes: other libraries have taken the rest, as many
// of 16 bytes as fit but three, so that one of 64 is refused. argv: libhz4.so, and libraries that take 16 and 64 bytes.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hz4/env/check.h"

enum { kFree = 3, kHogsMax = 255, kThreads = 4 };

// Each time as a new library: a copy, in memory. NULL: refused, and for that reason.
static void *load_copy(const char *path) {
  int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("hog", 0);
  struct stat status;
  CHECK(from >= 0 && to >= 0 && fstat(from, &status) == 0);
  CHECK(sendfile(to, from, NULL, (size_t)status.st_size) == status.st_size);
  close(from);
  char name[64];
  snprintf(name, sizeof(name), "/proc/self/fd/%d", to);
  void *library = dlopen(name, RTLD_NOW);
  CHECK(library != NULL || strstr(dlerror(), "static TLS") != NULL);
  return library;
}

// How many fit, found out in a child: what they take, this process still has.
static int count_hogs(const char *path) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    int loaded = 0;
    while (loaded < kHogsMax && load_copy(path) != NULL) loaded++;
    _exit(loaded);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void *(*hz4_malloc_)(size_t);
static void (*hz4_free_)(void *);

static void *use(void *unused) {
  for (size_t size = 1; size < 4 << 20; size *= 3) {
    void *block = hz4_malloc_(size);
    touch(block, size);
    hz4_free_(block);
  }
  return unused;
}

int main(int argc, char **argv) {
  CHECK(argc > 3);
  int fit = count_hogs(argv[2]);
  CHECK(fit > kFree && fit < kHogsMax);
  for (int i = 0; i < fit - kFree; i++) CHECK(load_copy(argv[2]) != NULL);
  CHECK(load_copy(argv[3]) == NULL);
  void *library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(library != NULL);
  *(void **)&hz4_malloc_ = dlsym(library, "hz4_malloc");
  *(void **)&hz4_free_ = dlsym(library, "hz4_free");
  CHECK(hz4_malloc_ != NULL && hz4_free_ != NULL);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) CHECK(pthread_create(&threads[i], NULL, use, NULL) == 0);
  for (int i = 0; i < kThreads; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  use(NULL);
  printf("%d libraries of 16 bytes fit; after %d, one of 64 is refused, and hz4 loads\n", fit, fit - kFree);
  puts("PASSED");
  return 0;
}
