// Rank 1. Size <-> size class. Pure arithmetic, no state.
//
// Class c in 1..HZ4_CLASS_COUNT. Let x = size - 1 and k = max(7, index of x's highest bit): the class is
// 1 + (k-7)*8 + (x >> (k-3)). So the first 16 classes are 16 bytes apart, and then each doubling has 8.
// Theorem: for 1 <= n <= HZ4_CLASS_MAX_BYTES the class is the first whose size is at least n, and that size is less
// than n * 9/8 + 16. sizeclass_test checks it for every n.
#ifndef HZ4_SIZECLASS_H_
#define HZ4_SIZECLASS_H_

#include "hz4/base.h"

// pre: 1 <= size <= HZ4_CLASS_MAX_BYTES.
HZ4_INLINE uint32_t hz4_class_of_size(size_t size) {
  size_t x = size - 1;
  uint32_t eight_x = (uint32_t)x * 8;
  HZ4_REGISTER(eight_x);
  uint32_t k = 31u ^ (uint32_t)__builtin_clz((uint32_t)x | 128u);
  // As x >> (k - 3), with no subtraction to wait for.
  return (eight_x >> k) + k * 8 - 55;
}

#ifdef __cplusplus
extern "C" {
#endif

// What Mid and the tcache need to know of a class. Filled in at compile time.
struct hz4_class_info {
  uint32_t object_bytes;
  uint32_t span_pages;     // 64 KiB pages in a span of this class
  uint32_t span_objects;   // objects in such a span
  uint32_t bin_slots_max;  // a bin's slots at most, sentinel included; a power of two
  uint64_t reciprocal;     // ceil(2^48 / object_bytes): offset * reciprocal >> 48 is the object's index
};

extern const struct hz4_class_info hz4_class_table[HZ4_CLASS_SLOTS];

#ifdef __cplusplus
}
#endif

HZ4_INLINE size_t hz4_class_bytes(uint32_t size_class) {
  return hz4_class_table[size_class].object_bytes;
}

// Index of the object that holds the byte at `offset` in a span. Exact for offset < 1 MiB: offset * object_bytes < 2^48.
HZ4_INLINE uint32_t hz4_class_object_index(uint32_t size_class, size_t offset) {
  return (uint32_t)(offset * hz4_class_table[size_class].reciprocal >> 48);
}

#endif  // HZ4_SIZECLASS_H_
