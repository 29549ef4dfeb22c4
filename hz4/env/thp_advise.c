// A library to be preloaded: asks for huge pages for every anonymous mapping, so that a system set to "madvise" does
// for this process what "always" would.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *mmap(void *hint, size_t bytes, int protection, int flags, int fd, off_t offset) {
  void *base = (void *)syscall(SYS_mmap, hint, bytes, protection, flags, fd, offset);
  if (base != MAP_FAILED && (flags & MAP_ANONYMOUS) != 0) madvise(base, bytes, MADV_HUGEPAGE);
  return base;
}
