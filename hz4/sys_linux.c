// The real kernel.
#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

#include "hz4/sys.h"

#if __has_include(<sys/single_threaded.h>)  // glibc 2.32
#include <sys/single_threaded.h>
#else
enum { __libc_single_threaded = 0 };
#endif

// Linux 6.7 and later begin a mapping of whole huge pages at a huge page, and so leave holes between our mappings, unless
// there is a hint. One that is taken already is as good as none otherwise. (valgrind wants it at a page's beginning.)
static void *taken_hint(void) {
  static char taken;
  return (void *)((uintptr_t)&taken & -hz4_sys_page_bytes());
}

void *hz4_sys_mmap(void *hint, size_t bytes) {
  if (hint == NULL) hint = taken_hint();
  void *base = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return base == MAP_FAILED ? NULL : base;
}

bool hz4_sys_munmap(void *base, size_t bytes) {
  return munmap(base, bytes) == 0;
}

bool hz4_sys_purge(void *base, size_t bytes) {
  return madvise(base, bytes, MADV_DONTNEED) == 0;
}

void hz4_sys_wish_huge(void *base, size_t bytes) {
  madvise(base, bytes, MADV_HUGEPAGE);
}

bool hz4_sys_mremap(void *base, size_t old_bytes, size_t new_bytes, void *to) {
  int flags = to == NULL ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
  return mremap(base, old_bytes, new_bytes, flags, to) != MAP_FAILED;
}

size_t hz4_sys_page_bytes(void) {
  size_t bytes = getauxval(AT_PAGESZ);
  return bytes != 0 ? bytes : 4096;
}

// The coarse clock: it is read without a system call, and without reading a counter.
uint64_t hz4_sys_now_ns(void) {
  struct timespec now;
  int saved = errno;
  if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0) {
    errno = saved;  // as hz4_os keeps it: free must, whatever fails
    return 0;
  }
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool hz4_sys_single_threaded(void) {
  return __libc_single_threaded != 0;
}
