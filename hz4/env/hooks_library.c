// Takes the names of libc's that others take too (clocks that lie, memory profilers, communication libraries), and
// allocates in each call, as they do.
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static __thread int inside;

static void allocate(void) {
  static const size_t sizes[] = {24, 100, 3000, 50000, 400000, 2000000};
  if (inside++ == 0) {
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
      char *volatile block = malloc(sizes[i]);
      if (block != NULL) block[0] = 1;
      free(block);
    }
  }
  --inside;
}

static void *next_of(const char *name) {
  return dlsym(RTLD_NEXT, name);
}

#define HOOK(type, name, parameters, arguments)     \
  type name parameters {                            \
    static type(*next) parameters;                  \
    allocate();                                     \
    if (next == NULL) *(void **)&next = next_of(#name); \
    return next arguments;                          \
  }

HOOK(int, clock_gettime, (clockid_t id, struct timespec *now), (id, now))
HOOK(void *, mmap, (void *at, size_t n, int protection, int flags, int fd, off_t from), (at, n, protection, flags, fd, from))
HOOK(int, munmap, (void *at, size_t n), (at, n))
HOOK(int, madvise, (void *at, size_t n, int advice), (at, n, advice))
HOOK(int, sched_yield, (void), ())
HOOK(ssize_t, write, (int fd, const void *text, size_t n), (fd, text, n))
HOOK(unsigned long, getauxval, (unsigned long type), (type))
HOOK(int, pthread_key_create, (pthread_key_t * key, void (*destructor)(void *)), (key, destructor))
HOOK(int, pthread_setspecific, (pthread_key_t key, const void *value), (key, value))
HOOK(int, pthread_setcancelstate, (int state, int *old), (state, old))
HOOK(void *, sbrk, (intptr_t more), (more))

void *mremap(void *at, size_t n, size_t wanted, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  void *to = (flags & MREMAP_FIXED) != 0 ? va_arg(arguments, void *) : NULL;
  va_end(arguments);
  allocate();
  return (void *)syscall(SYS_mremap, at, n, wanted, flags, to);
}
