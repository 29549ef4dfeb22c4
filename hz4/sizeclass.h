// Rank 1. Size <-> size class.
//
// Class c in 1..HZ4_CLASS_COUNT. Let x = size - 1 and k = max(7, index of x's highest bit): the class is
// 1 + (k-7)*8 + (x >> (k-3)). So the first 16 classes are 16 bytes apart, and then each doubling has 8.
// Theorem: for 1 <= n <= HZ4_CLASS_MAX_BYTES the class is the first whose size is at least n, and that size is less
// than n * 9/8 + 16. sizeclass_test checks it for every n.
//
// Tiny objects are those smaller than a cache line: classes 1 .. HZ4_TINY_CLASSES. Two threads that adopt neighbours write
// to one line for as long as each allocates again what it freed. So once there are several caches, tiny spans belong to
// the cache that opened them, its home, and each (class, home) is a class of its own: what is freed into another cache lies
// in a bin that it does not allocate from, and goes home. malloc takes tiny objects from tiny bins, one for each class,
// which are refilled with what is from the cache's own spans.
//
// The pages of sampled objects (sample.h) have class 0 in the page map, so that free takes the slow path; their spans are of
// classes of their own. And blocks of no bytes are of the zero class, whose spans are addresses that nobody may touch: there
// they lie 16 bytes apart, so that each is one of its own. The ranges of classes, then:
//   1 .. HZ4_CLASS_COUNT                    by size; the tiny ones as long as there is one cache
//   HZ4_ZERO_CLASS                          blocks of no bytes
//   HZ4_TINY_BIN .., HZ4_TINY_CLASSES       tiny bins: no object and no span is of such a class
//   HZ4_TINY_HOME .. HZ4_CLASS_SLOTS - 1    tiny objects, by home and size
//   HZ4_SAMPLE_CLASS .. HZ4_MID_CLASSES - 1 sampled objects, of powers of two: no bin is of such a class
#ifndef HZ4_SIZECLASS_H_
#define HZ4_SIZECLASS_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

#define HZ4_ZERO_CLASS (HZ4_CLASS_COUNT + 1)
#define HZ4_TINY_BIN (HZ4_ZERO_CLASS + 1)
#define HZ4_TINY_HOME (HZ4_TINY_BIN + HZ4_TINY_CLASSES)
#define HZ4_SAMPLE_CLASS HZ4_CLASS_SLOTS
#define HZ4_SAMPLE_BYTES_MIN ((size_t)128)

// pre: 1 <= size <= HZ4_CLASS_MAX_BYTES.
HZ4_INLINE uint32_t hz4_class_of_size(size_t size) {
  size_t x = size - 1;
  uint32_t eight_x = (uint32_t)x * 8;
  HZ4_REGISTER(eight_x);
  uint32_t k = 31u ^ (uint32_t)__builtin_clz((uint32_t)x | 128u);
  // As x >> (k - 3), with no subtraction to wait for.
  return (eight_x >> k) + k * 8 - 55;
}

HZ4_BEGIN_DECLS

// What Mid and the tcache need to know of a class. Filled in at compile time.
struct hz4_class_info {
  uint32_t object_bytes;
  uint32_t span_pages;     // 64 KiB pages in a span of this class
  uint32_t span_objects;   // objects in such a span
  uint32_t bin_slots_max;  // a bin's slots at most, sentinel included; a power of two
  uint64_t reciprocal;     // ceil(2^48 / object_bytes): offset * reciprocal >> 48 is the object's index
};

extern const struct hz4_class_info hz4_class_table[HZ4_MID_CLASSES];

// In one line, as far as small sizes go. A union, for the sake of an addition less on aarch64.
#define HZ4_CLASS_TABLE_FIRST 8
extern struct hz4_class_of_malloc {
  union {
    // The fast path is for sizes up to this: HZ4_CLASS_MAX_BYTES; or 0, while there is sampling, and hardened.
    _Atomic(size_t) most;
    // From the ninth byte on: the class of the bin that malloc takes from, for size 0 (hardened that has none),
    // and sizes 16 n - 15 to 16 n. (As fast as the arithmetic.)
    _Atomic(uint8_t) table[HZ4_CLASS_TABLE_FIRST + HZ4_CLASS_MAX_BYTES / 16 + 1];
  };
  _Atomic(size_t) most_counted;  // while there is sampling the fast path that counts is for sizes up to this; else 0
} __attribute__((aligned(HZ4_CACHE_LINE))) hz4_class_malloc;

// For free, which has 16 bits of the address: an object may begin there just where their product with this is less than
// this, modulo 2^32 (Lemire, Kaser and Kurz, "Faster remainder by direct computation", 2019). That is exact in spans of
// one page; in longer ones what is found is a multiple of the step between the classes of its doubling.
extern const uint32_t hz4_class_inverse[HZ4_CLASS_SLOTS];

// From now on tiny objects are told apart by their home. Any thread, any number of times.
void hz4_class_part_tiny(void);
extern _Atomic(bool) hz4_class_tiny_is_parted;

// From now on every malloc takes the slow path.
void hz4_class_hide(void);

HZ4_END_DECLS

// pre: size <= HZ4_CLASS_MAX_BYTES.
HZ4_INLINE uint32_t hz4_class_of_malloc(size_t size) {
  return hz4_load_relaxed(&hz4_class_malloc.table[(size + 15 + HZ4_CLASS_TABLE_FIRST * 16) / 16]);
}

// The class of a sampled object of so many bytes, or aligned to so many. pre: bytes <= HZ4_CLASS_MAX_BYTES.
HZ4_INLINE uint32_t hz4_class_of_sample(size_t bytes) {
  if (bytes <= HZ4_SAMPLE_BYTES_MIN) return HZ4_SAMPLE_CLASS;
  return HZ4_SAMPLE_CLASS + (uint32_t)(__builtin_clzl(HZ4_SAMPLE_BYTES_MIN - 1) - __builtin_clzl(bytes - 1));
}

// The same, hidden or not.
HZ4_INLINE uint32_t hz4_class_of_bin(size_t size) {
  if (HZ4_UNLIKELY(size == 0)) return HZ4_ZERO_CLASS;
  uint32_t c = hz4_class_of_size(size);
  return c <= HZ4_TINY_CLASSES && hz4_load_relaxed(&hz4_class_tiny_is_parted) ? HZ4_TINY_BIN + c - 1 : c;
}

HZ4_INLINE bool hz4_class_is_tiny_bin(uint32_t size_class) {
  return size_class >= HZ4_TINY_BIN && size_class < HZ4_TINY_HOME;
}

// What the bin of this class is refilled with, in the cache of this number.
HZ4_INLINE uint32_t hz4_class_at_home(uint32_t size_class, uint32_t home) {
  if (HZ4_LIKELY(!hz4_class_is_tiny_bin(size_class))) return size_class;
  return HZ4_TINY_HOME + home % HZ4_HOMES * HZ4_TINY_CLASSES + (size_class - HZ4_TINY_BIN);
}

// From one object to the next.
HZ4_INLINE size_t hz4_class_bytes(uint32_t size_class) {
  return hz4_class_table[size_class].object_bytes;
}

// The class by size alone: 1 .. HZ4_CLASS_COUNT, or the zero class.
HZ4_INLINE uint32_t hz4_class_by_size(uint32_t size_class) {
  return size_class < HZ4_TINY_BIN ? size_class : hz4_class_of_size(hz4_class_bytes(size_class));
}

// What the program may use of an object.
HZ4_INLINE size_t hz4_class_usable(uint32_t size_class) {
  return size_class != HZ4_ZERO_CLASS ? hz4_class_bytes(size_class) : 0;
}

// False: no object of the class begins there; or it is class 0.
HZ4_INLINE bool hz4_class_may_begin_at(size_t size_class, const void *ptr) {
  uint32_t inverse = hz4_class_inverse[size_class];
  return (uint16_t)(uintptr_t)ptr * inverse < inverse;
}

// Index of the object that holds the byte at `offset` in a span. Exact for offset < 1 MiB: offset * object_bytes < 2^48.
HZ4_INLINE uint32_t hz4_class_object_index(uint32_t size_class, size_t offset) {
  return (uint32_t)(offset * hz4_class_table[size_class].reciprocal >> 48);
}

#endif  // HZ4_SIZECLASS_H_
