// Rank 12. libc's names (glibc manual, "Replacing malloc"), for programs that preload hz4 or link it as their malloc.
//
// operator new and delete are in operators.c. reallocarray, strdup and strndup are libc's own, and call ours.
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hz4/alloc.h"
#include "hz4/hz4.h"
#include "hz4/stats.h"

#define EXPORT __attribute__((visibility("default")))

HZ4_HOT EXPORT void *malloc(size_t size) {
  return hz4_alloc_malloc(size);
}

HZ4_HOT EXPORT void free(void *ptr) {
  hz4_alloc_free(ptr);
}

// Declared too, for libc's headers do not have all of them yet.
#define DEFINE(result, name, parameters, call) \
  EXPORT result name parameters;               \
  result name parameters {                     \
    return call;                               \
  }
HZ4_ALLOC_NAMES(DEFINE)

// ---- what glibc alone offers besides ----
#ifdef __GLIBC__

EXPORT void malloc_stats(void) {
  hz4_stats_print(STDERR_FILENO);
}

// 1 for what glibc knows, for programs that go no further without; 0 for what it does not, though glibc takes that
// too. One is a bound that hz4 has: how much free memory stays (negative: all, as in glibc). The others are advice
// about arenas, mappings and fast bins, of which hz4 has none, or about debugging.
EXPORT int mallopt(int parameter, int value) {
  switch (parameter) {
    case M_TRIM_THRESHOLD:
      hz4_alloc_keep(value < 0 ? SIZE_MAX : (size_t)value);
      return 1;
    case M_ARENA_MAX:
    case M_ARENA_TEST:
    case M_CHECK_ACTION:
    case M_GRAIN:
    case M_KEEP:
    case M_MMAP_MAX:
    case M_MMAP_THRESHOLD:
    case M_MXFAST:
    case M_NLBLKS:
    case M_PERTURB:
    case M_TOP_PAD: return 1;
    default: return 0;
  }
}

// The fields that have a meaning here, in bytes: arena and hblkhd are what is mapped for small and for large blocks,
// uordblks and fordblks what of it is in use and free, keepcost what malloc_trim could give back. No cache is looked at, so
// that it takes the same time however many threads there are.
EXPORT struct mallinfo2 mallinfo2(void) {
  struct hz4_stats s;
  hz4_stats_gather_layers(&s);
  uint64_t used = s.segment.used_bytes, idle = s.mid.free_bytes + s.mid.depot_bytes;
  uint64_t free_pages = s.segment.dirty_bytes + s.segment.clean_bytes;
  if (idle > used) idle = used;
  return (struct mallinfo2){
      .arena = used + free_pages,
      .ordblks = s.mid.spans,
      .hblks = hz4_stats_minus(s.large.allocs, s.large.frees),
      .hblkhd = s.large.live_mapped_bytes + s.large.cached_bytes,
      .uordblks = used - idle,
      .fordblks = free_pages + idle,
      .keepcost = s.segment.dirty_bytes + s.large.cached_bytes,
  };
}

EXPORT struct mallinfo mallinfo(void) {
  struct mallinfo2 wide = mallinfo2();
  return (struct mallinfo){.arena = (int)wide.arena,       .ordblks = (int)wide.ordblks, .hblks = (int)wide.hblks,
                           .hblkhd = (int)wide.hblkhd,     .uordblks = (int)wide.uordblks,
                           .fordblks = (int)wide.fordblks, .keepcost = (int)wide.keepcost};
}

// glibc's element names, so that what reads its XML finds the totals. options must be 0: else it returns EINVAL, as glibc's.
EXPORT int malloc_info(int options, FILE *stream) {
  if (options != 0) return EINVAL;
  struct mallinfo2 info = mallinfo2();
  struct hz4_os_stats os;
  int state;
  hz4_os_stats(&os);
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);  // or else fprintf might be where the thread ends
  int written = fprintf(stream,
                        "<malloc version=\"1\">\n"
                        "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
                        "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
                        "<system type=\"current\" size=\"%zu\"/>\n"
                        "<system type=\"max\" size=\"%zu\"/>\n"
                        "</malloc>\n",
                        info.ordblks, info.fordblks, info.hblks, info.hblkhd, info.arena + info.hblkhd, (size_t)os.peak_bytes);
  pthread_setcancelstate(state, &state);
  return written < 0 ? -1 : 0;
}

// ---- names that old binaries and libraries call ----

// X(result, name, parameters, call)
#define OLD_NAME_TABLE(X) \
  X(void, cfree, (void *ptr), hz4_free(ptr))                                                                      \
  X(void *, __libc_malloc, (size_t size), hz4_malloc(size))                                                       \
  X(void, __libc_free, (void *ptr), hz4_free(ptr))                                                                \
  X(void, __libc_cfree, (void *ptr), hz4_free(ptr))                                                               \
  X(void *, __libc_calloc, (size_t count, size_t size), hz4_calloc(count, size))                                  \
  X(void *, __libc_realloc, (void *ptr, size_t size), hz4_realloc(ptr, size))                                     \
  X(void *, __libc_memalign, (size_t alignment, size_t size), hz4_memalign(alignment, size))                      \
  X(void *, __libc_valloc, (size_t size), hz4_valloc(size))                                                       \
  X(void *, __libc_pvalloc, (size_t size), hz4_pvalloc(size))                                                     \
  X(int, __posix_memalign, (void **out, size_t alignment, size_t size), hz4_posix_memalign(out, alignment, size))

OLD_NAME_TABLE(DEFINE)

#endif  // __GLIBC__

// ---- libc's own blocks that come to ours ----
//
// Libraries that are loaded with RTLD_DEEPBIND, and programs that preload by halves, allocate with libc's malloc, and free
// with whoever's free they find. libc's main heap is what lies between the program break at load and the break now: hz4
// never moves it, and who else does allocates with libc. What lies there is given to libc, which has checks of its own.
// Libc's other heaps and mappings cannot be told from memory of the program's: a block from there is foreign.

// A static program has none, nor a heap of libc's.
#pragma weak dlsym

// Before each block of libc's; it reads it.
#define HEADER_BYTES 16

HZ4_IN_DATA static char *heap_start;  // set once, at load; NULL: unknown

static bool holds(const void *ptr) {
  if (heap_start == NULL || dlsym == NULL || !hz4_is_aligned(ptr, 16)) return false;
  const char *end = sbrk(0);  // no system call: libc knows
  return (const char *)ptr >= heap_start + HEADER_BYTES && (const char *)ptr < end;
}

static size_t usable_size(void *ptr) {
  size_t (*next)(void *);
  *(void **)&next = dlsym(RTLD_NEXT, "malloc_usable_size");
  return next != NULL ? next(ptr) : 0;
}

static void release(void *ptr) {
  void (*next)(void *);
  *(void **)&next = dlsym(RTLD_NEXT, "free");
  if (next == NULL) hz4_panic_pointer("free of a block of libc's, whose free is not to be found", ptr);
  next(ptr);
}

static const struct hz4_foreign_heap libc_heap = {holds, usable_size, release};

__attribute__((constructor(101))) static void note_heap_at_load(void) {
  char *now = sbrk(0);
  if (now == (char *)-1) return;
  heap_start = now;
  hz4_alloc_foreign = &libc_heap;
}
