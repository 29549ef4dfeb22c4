// Rank 12. operator new and delete (C++17 [new.delete]) by the names that they have in object files (Itanium C++ ABI,
// where size_t is unsigned long): so a program that names nothing else is linked with hz4, the size that a delete knows
// is checked as that of free_sized is, and a size that wraps when it is rounded up throws.
//
// The standard defines most of them by calls of simpler ones, which a program may replace alone: so they do what
// those would do only while those are ours. (Weak, or else a program with an operator of its own could not take this
// file out of an archive for another.) The four new that do not throw are the C++ library's own in an archive, which
// call these and catch; for libhz4.so they are in operators_shared.c.
//
// Compiled with -fexceptions: what is thrown passes through.
#include "hz4/operators.h"

#include "hz4/alloc.h"
#include "hz4/stack.h"

#define CALLER __builtin_return_address(0)

// ---- new ----

// A handler frees something, installs another handler, throws, or ends the program ([new.handler]).
HZ4_NOINLINE static void *new_slow(size_t align, size_t size, const void *caller) {
  for (;;) {
    void *block = hz4_alloc_aligned_by(align, size, HZ4_FRAME());
    if (HZ4_LIKELY(block != NULL)) return block;
    hz4_new_handler handler = hz4_operators_handler(caller);
    if (handler == NULL || !hz4_is_power_of_two(align)) hz4_operators_throw(caller);
    handler();
  }
}

HZ4_INLINE void *new(size_t size, const void *caller) {
  void *object = hz4_alloc_malloc_fast(size);
  return HZ4_LIKELY(object != NULL) ? object : new_slow(16, size, caller);
}

HZ4_HOT void *hz4_Znwm(size_t size) {
  return new(size, CALLER);
}

void *hz4_ZnwmSt11align_val_t(size_t size, size_t align) {
  return new_slow(align, size, CALLER);
}

#define SAME_AS(function) __attribute__((alias(#function)))
SAME_AS(hz4_Znwm) void *_Znwm(size_t size);
SAME_AS(hz4_ZnwmSt11align_val_t) void *_ZnwmSt11align_val_t(size_t size, size_t align);

HZ4_OPERATOR HZ4_HOT void *_Znam(size_t size) {
  return HZ4_OPERATOR_IS_OURS(_Znwm) ? new(size, CALLER) : _Znwm(size);
}

HZ4_OPERATOR void *_ZnamSt11align_val_t(size_t size, size_t align) {
  return HZ4_OPERATOR_IS_OURS(_ZnwmSt11align_val_t) ? new_slow(align, size, CALLER) : _ZnwmSt11align_val_t(size, align);
}

// ---- delete ----

HZ4_HOT static void hz4_ZdlPv(void *ptr) {
  hz4_alloc_free(ptr);
}

static void hz4_ZdlPvSt11align_val_t(void *ptr, size_t align) {
  (void)align;
  hz4_alloc_free(ptr);
}

static void hz4_ZdaPv(void *ptr) {
  _ZdlPv(ptr);
}

static void hz4_ZdaPvSt11align_val_t(void *ptr, size_t align) {
  _ZdlPvSt11align_val_t(ptr, align);
}

SAME_AS(hz4_ZdlPv) void _ZdlPv(void *ptr);
SAME_AS(hz4_ZdaPv) void _ZdaPv(void *ptr);
SAME_AS(hz4_ZdlPvSt11align_val_t) void _ZdlPvSt11align_val_t(void *ptr, size_t align);
SAME_AS(hz4_ZdaPvSt11align_val_t) void _ZdaPvSt11align_val_t(void *ptr, size_t align);

HZ4_OPERATOR HZ4_HOT void _ZdlPvm(void *ptr, size_t size) {
  if (HZ4_OPERATOR_IS_OURS(_ZdlPv)) hz4_alloc_free_sized(ptr, 16, size);
  else _ZdlPv(ptr);
}

HZ4_OPERATOR void _ZdaPvm(void *ptr, size_t size) {
  if (HZ4_OPERATOR_IS_OURS(_ZdaPv)) _ZdlPvm(ptr, size);
  else _ZdaPv(ptr);
}

HZ4_OPERATOR void _ZdlPvmSt11align_val_t(void *ptr, size_t size, size_t align) {
  if (HZ4_OPERATOR_IS_OURS(_ZdlPvSt11align_val_t)) hz4_alloc_free_sized(ptr, align, size);
  else _ZdlPvSt11align_val_t(ptr, align);
}

HZ4_OPERATOR void _ZdaPvmSt11align_val_t(void *ptr, size_t size, size_t align) {
  if (HZ4_OPERATOR_IS_OURS(_ZdaPvSt11align_val_t)) _ZdlPvmSt11align_val_t(ptr, size, align);
  else _ZdaPvSt11align_val_t(ptr, align);
}

// After a constructor that throws in an expression whose new does not.
#define DEFINE_NOTHROW(name)                                                                       \
  HZ4_OPERATOR void name##RKSt9nothrow_t(void *ptr, const void *nothrow) {                         \
    (void)nothrow;                                                                                 \
    name(ptr);                                                                                     \
  }                                                                                                \
  HZ4_OPERATOR void name##St11align_val_tRKSt9nothrow_t(void *ptr, size_t align, const void *nothrow) { \
    (void)nothrow;                                                                                 \
    name##St11align_val_t(ptr, align);                                                             \
  }
DEFINE_NOTHROW(_ZdlPv)
DEFINE_NOTHROW(_ZdaPv)
