// The C library's own malloc, whatever stands before it: a sanitizer's, or hz4 itself.
#ifndef HZ4_FUZZ_PEER_H_
#define HZ4_FUZZ_PEER_H_

#include <dlfcn.h>
#include <stddef.h>

#include "fuzz/check.h"

namespace hz4_fuzz {

class Peer {
 public:
  Peer() {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    FUZZ_CHECK(libc != nullptr);
    Find(libc, "malloc", &malloc);
    Find(libc, "calloc", &calloc);
    Find(libc, "realloc", &realloc);
    Find(libc, "free", &free);
    Find(libc, "aligned_alloc", &aligned_alloc);
    Find(libc, "memalign", &memalign);
    Find(libc, "posix_memalign", &posix_memalign);
    Find(libc, "malloc_usable_size", &malloc_usable_size);
    Find(libc, "malloc_trim", &malloc_trim);
  }

  void *(*malloc)(size_t);
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  void (*free)(void *);
  void *(*aligned_alloc)(size_t, size_t);
  void *(*memalign)(size_t, size_t);
  int (*posix_memalign)(void **, size_t, size_t);
  size_t (*malloc_usable_size)(void *);
  int (*malloc_trim)(size_t);

 private:
  template <class Function>
  static void Find(void *library, const char *name, Function *out) {
    *out = reinterpret_cast<Function>(dlsym(library, name));
    FUZZ_CHECK(*out != nullptr);
  }
};

}  // namespace hz4_fuzz

#endif  // HZ4_FUZZ_PEER_H_
