// Rank 0. What AddressSanitizer is told: memory that no program has is poisoned, so that it reports a use after free, a
// read or write beyond the block's class, and a double free. In every other build nothing of this is left.
//
// A program may use the whole usable size, so a block is unpoisoned as a whole when it is given, and poisoned when it is
// freed. In between hz4 does not look into it. Segments are poisoned from map to unmap, but for the blocks in use.
#ifndef HZ4_POISON_H_
#define HZ4_POISON_H_

#include "hz4/base.h"

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define HZ4_POISON 1
#else
#define HZ4_POISON 0
#define ASAN_POISON_MEMORY_REGION(ptr, bytes) ((void)(ptr), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(ptr, bytes) ((void)(ptr), (void)(bytes))
#endif

HZ4_INLINE void hz4_poison(const void *ptr, size_t bytes) {
  if (HZ4_POISON) ASAN_POISON_MEMORY_REGION(ptr, bytes);
}

HZ4_INLINE void hz4_unpoison(const void *ptr, size_t bytes) {
  if (HZ4_POISON) ASAN_UNPOISON_MEMORY_REGION(ptr, bytes);
}

// Has AddressSanitizer report a block that is freed, or asked about, and is nobody's. pre: ptr is in a span.
HZ4_INLINE void hz4_poison_check(const void *ptr) {
  if (HZ4_POISON) (void)*(const volatile char *)ptr;
}

#endif  // HZ4_POISON_H_
