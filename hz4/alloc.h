// Rank 10. The malloc contract: sizes, alignments and errno, and the way of each call to its layer.
//
// The two fast paths are here, inline, so that hz4_malloc and malloc are each one function without a call inside.
#ifndef HZ4_ALLOC_H_
#define HZ4_ALLOC_H_

#include "hz4/base.h"
#include "hz4/counter.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/sizeclass.h"
#include "hz4/tcache.h"

HZ4_BEGIN_DECLS

// Another malloc's blocks, that may come to ours where hz4 has taken libc's names.
struct hz4_foreign_heap {
  bool (*holds)(const void *ptr);
  // pre: holds(ptr).
  size_t (*usable_size)(void *ptr);
  void (*free)(void *ptr);
};

// NULL: every pointer that is not hz4's is an error. Set before there are threads.
extern const struct hz4_foreign_heap *hz4_alloc_foreign;

// Called, if it is set, at the end of each slow path: what is done from time to time. Nothing is locked or claimed then. Set
// before there are threads.
extern void (*hz4_alloc_chores)(void);

// All rules are those of hz4.h.
HZ4_NOINLINE void *hz4_alloc_malloc_slow(size_t size);
HZ4_NOINLINE void hz4_alloc_free_slow(void *ptr);
HZ4_NOINLINE void hz4_alloc_free_sized_slow(void *ptr, size_t align, size_t size);
void *hz4_alloc_calloc(size_t count, size_t size);
void *hz4_alloc_realloc(void *ptr, size_t size);
// NULL with EINVAL or ENOMEM; align must be a power of two.
void *hz4_alloc_aligned(size_t align, size_t size);
// The same for a function that the program called, and whose frame it is (stack.h).
void *hz4_alloc_aligned_by(size_t align, size_t size, const void *frame);
void *hz4_alloc_memalign(size_t align, size_t size);
int hz4_alloc_posix_memalign(void **out, size_t align, size_t size);
void *hz4_alloc_valloc(size_t size);
void *hz4_alloc_pvalloc(size_t size);
size_t hz4_alloc_usable_size(const void *ptr);
// The functions that stand beside malloc and free, which api.c and shim.c define by one name each. X(result, name, parameters,
// call)
#define HZ4_ALLOC_NAMES(X)                                                                                      \
  X(void *, calloc, (size_t count, size_t size), hz4_alloc_calloc(count, size))                                 \
  X(void *, realloc, (void *ptr, size_t size), hz4_alloc_realloc(ptr, size))                                    \
  X(void, free_sized, (void *ptr, size_t size), hz4_alloc_free_sized(ptr, 16, size))                            \
  X(void, free_aligned_sized, (void *ptr, size_t align, size_t size), hz4_alloc_free_sized(ptr, align, size))   \
  X(void *, aligned_alloc, (size_t align, size_t size), hz4_alloc_aligned(align, size))                         \
  X(void *, memalign, (size_t align, size_t size), hz4_alloc_memalign(align, size))                             \
  X(int, posix_memalign, (void **out, size_t align, size_t size), hz4_alloc_posix_memalign(out, align, size))   \
  X(void *, valloc, (size_t size), hz4_alloc_valloc(size))                                                      \
  X(void *, pvalloc, (size_t size), hz4_alloc_pvalloc(size))                                                    \
  X(size_t, malloc_usable_size, (void *ptr), hz4_alloc_usable_size(ptr))                                        \
  X(int, malloc_trim, (size_t pad), hz4_alloc_trim(pad))

// An object of the class of this size, as malloc would take it, but never a sample; NULL: there is none without more ado. And
// its end. For those who are told of samples. pre: 1 <= size <= HZ4_CLASS_MAX_BYTES.
void *hz4_alloc_unsampled(size_t size);
void hz4_alloc_free_unsampled(void *object);
bool hz4_alloc_trim(size_t pad);
// So many bytes of free pages stay, whatever is in use: HZ4_DIRTY_KIB from now on. And so many of freed large blocks, at
// least. SIZE_MAX: all.
void hz4_alloc_keep(size_t bytes);
// What is free goes back, if the limit (limit.h) says that it is time. pre: the thread has nothing in hand.
HZ4_NOINLINE void hz4_alloc_keep_to_limit(void);
void hz4_alloc_check(void);

HZ4_INLINE void hz4_count_fast(uint32_t size_class, enum hz4_counter id) {
  if (HZ4_STATS_FAST) hz4_count_here(size_class, id, 1);
}

// The object that a sequence took, or NULL.
HZ4_INLINE void *hz4_alloc_taken(uint32_t size_class, void *object) {
  if (HZ4_UNLIKELY(object == NULL)) return NULL;
  hz4_count_fast(size_class, HZ4_COUNT_malloc_calls);
  hz4_unpoison(object, hz4_class_usable(size_class));
  return object;
}

// An object out of this CPU's bin; NULL: it is empty, as that of class 0 is always.
HZ4_INLINE void *hz4_alloc_from_bin(uint32_t size_class) {
  return hz4_alloc_taken(size_class, hz4_sequence_pop(size_class));
}

// NULL: the slow way. While there is sampling an allocation is counted, as long as the next sample is far, and is one of the
// slow way's otherwise.
HZ4_INLINE void *hz4_alloc_malloc_fast(size_t size) {
  bool is_open = HZ4_LIKELY(!hz4_is_above_relaxed(size, &hz4_class_malloc.most));
  if (!is_open && hz4_is_above_relaxed(size, &hz4_class_malloc.most_counted)) return NULL;
  uint32_t size_class = hz4_class_of_malloc(size);
  return is_open ? hz4_alloc_from_bin(size_class) : hz4_alloc_taken(size_class, hz4_sequence_pop_counted(size_class, size));
}

HZ4_INLINE void *hz4_alloc_malloc(size_t size) {
  void *object = hz4_alloc_malloc_fast(size);
  return HZ4_LIKELY(object != NULL) ? object : hz4_alloc_malloc_slow(size);
}

// False: the slow way.
HZ4_INLINE bool hz4_alloc_free_fast(void *ptr) {
  size_t size_class = hz4_pagemap_class(ptr);
  // Nor does one of class 0 (NULL, foreign, large, hardened).
  if (HZ4_UNLIKELY(!hz4_class_may_begin_at(size_class, ptr))) return false;
  if (HZ4_POISON && hz4_class_usable((uint32_t)size_class) != 0) {
    hz4_poison_check(ptr);
    hz4_poison(ptr, hz4_class_usable((uint32_t)size_class));
  }
  HZ4_PREFETCH(ptr, hz4_front.ahead);
  if (HZ4_UNLIKELY(!hz4_sequence_push(size_class, ptr))) return false;
  hz4_count_fast((uint32_t)size_class, HZ4_COUNT_free_calls);
  return true;
}

HZ4_INLINE void hz4_alloc_free(void *ptr) {
  if (HZ4_UNLIKELY(!hz4_alloc_free_fast(ptr))) hz4_alloc_free_slow(ptr);
}

// free_sized is this with the alignment of malloc, 16. Size and alignment are checked on the slow way only, which is
// that of every large block, and when hardened of every block: so the check costs the fast path nothing.
HZ4_INLINE void hz4_alloc_free_sized(void *ptr, size_t align, size_t size) {
  if (HZ4_UNLIKELY(!hz4_alloc_free_fast(ptr))) hz4_alloc_free_sized_slow(ptr, align, size);
}

HZ4_END_DECLS

#endif  // HZ4_ALLOC_H_
