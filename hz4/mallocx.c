// Rank 12. jemalloc's own functions for blocks (jemalloc(3), "Non-standard API").
//
// A program that was built for a shared libjemalloc mixes them with free and malloc_usable_size (redis 8 does as it starts):
// so they are hz4's where these are. mallctl and malloc_stats_print stay jemalloc's, if it is loaded, and tell of a heap that
// nobody uses. The arenas and caches that flags name are ignored: what would end with its arena is never freed.
#include <string.h>

#include "hz4/block.h"
#include "hz4/guard.h"
#include "hz4/hz4.h"
#include "hz4/sys.h"

enum { FLAG_LG_ALIGN = 0x3f, FLAG_ZERO = 0x40 };  // jemalloc's ABI: MALLOCX_LG_ALIGN(lg), MALLOCX_ZERO

static size_t align_of(int flags) {
  size_t align = (size_t)1 << (flags & FLAG_LG_ALIGN);
  return align > 16 ? align : 16;
}

static void *clear_from(void *block, size_t from) {
  size_t usable = hz4_malloc_usable_size(block);
  if (from < usable) memset((char *)block + from, 0, usable - from);
  return block;
}

static void *resize(void *ptr, size_t had, size_t size, size_t align) {
  if (align == 16) return hz4_realloc(ptr, size);
  if (hz4_is_aligned(ptr, align) && hz4_block_stays(had, size)) return ptr;
  void *block = hz4_aligned_alloc(align, size);
  if (block == NULL) return NULL;
  memcpy(block, ptr, had < size ? had : size);
  hz4_free(ptr);
  return block;
}

// No header that is always there declares them.
#define EXPORT(result, name, parameters)                         \
  __attribute__((visibility("default"))) result name parameters; \
  result name parameters

// A size of 0 is undefined there; here it is 1.
EXPORT(void *, mallocx, (size_t size, int flags)) {
  size_t align = align_of(flags);
  bool zero = (flags & FLAG_ZERO) != 0;
  if (size == 0) size = 1;
  if (align != 16) {
    void *block = hz4_aligned_alloc(align, size);
    return block != NULL && zero ? clear_from(block, 0) : block;
  }
  if (!zero) return hz4_malloc(size);
  void *block = hz4_calloc(1, size);
  return block != NULL ? clear_from(block, size) : NULL;
}

EXPORT(void *, rallocx, (void *ptr, size_t size, int flags)) {
  size_t align = align_of(flags);
  bool zero = (flags & FLAG_ZERO) != 0;
  if (size == 0) size = 1;
  if (align == 16 && !zero) return hz4_realloc(ptr, size);
  size_t had = hz4_malloc_usable_size(ptr);
  void *block = resize(ptr, had, size, align);
  return block != NULL && zero ? clear_from(block, had) : block;
}

// Nothing is resized: it has what it has.
EXPORT(size_t, xallocx, (void *ptr, size_t size, size_t extra, int flags)) {
  (void)size, (void)extra, (void)flags;
  return hz4_malloc_usable_size(ptr);
}

EXPORT(size_t, sallocx, (const void *ptr, int flags)) {
  (void)flags;
  return hz4_malloc_usable_size((void *)(uintptr_t)ptr);
}

EXPORT(void, dallocx, (void *ptr, int flags)) {
  (void)flags;
  hz4_free(ptr);
}

EXPORT(void, sdallocx, (void *ptr, size_t size, int flags)) {
  hz4_free_aligned_sized(ptr, align_of(flags), size);
}

// What mallocx would give room for; 0: more than there ever is.
EXPORT(size_t, nallocx, (size_t size, int flags)) {
  size_t align = align_of(flags);
  if (size > PTRDIFF_MAX || align > PTRDIFF_MAX) return 0;
  if (size == 0) size = 1;
  uint32_t size_class = hz4_block_class(size, align);
  size_t page = hz4_guards ? hz4_sys_page_bytes() : HZ4_PAGE_BYTES;
  if (size_class == 0) return hz4_round_up(size, hz4_guards && align < page ? align : page);
  return hz4_option.harden > 1 ? size : hz4_class_usable(size_class);
}
