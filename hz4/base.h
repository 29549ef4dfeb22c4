// Rank 0. What every file may use: attributes, rounding, debug asserts.
#ifndef HZ4_BASE_H_
#define HZ4_BASE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hz4/config.h"

#define HZ4_LIKELY(x) __builtin_expect(!!(x), 1)
#define HZ4_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HZ4_NOINLINE __attribute__((noinline))
// Begins with a cache line: where malloc began by chance, malloc_args had 0.9 of the speed.
#define HZ4_HOT __attribute__((aligned(HZ4_CACHE_LINE)))
// For variables that are zero at first, and that every process writes: they lie among those that are not zero, whose pages
// are written anyhow, instead of making pages of their own, which cost 2.5 times as much where they are read first.
#define HZ4_IN_DATA __attribute__((section(".data")))
#define HZ4_INLINE static inline __attribute__((always_inline))
// No instruction: the value is in a register here, and what follows is computed from that. It keeps the compiler from
// sharing or delaying a computation where that costs the fast path an instruction (fast_path_test counts them).
#define HZ4_REGISTER(value) __asm__("" : "+r"(value))

// Asks for the cache line at base + offset. Never faults. (The builtin takes an instruction more, for the sum.)
#ifdef __x86_64__
#define HZ4_PREFETCH(base, offset) __asm__ volatile("prefetcht0 (%0,%1)" : : "r"(base), "r"(offset))
#else
#define HZ4_PREFETCH(base, offset) __builtin_prefetch((const void *)((uintptr_t)(base) + (offset)))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Prints "hz4: <what>" (and, in the second form, the pointer) on stderr without allocating, and aborts.
__attribute__((noreturn, cold)) void hz4_panic(const char *what);
__attribute__((noreturn, cold)) void hz4_panic_pointer(const char *what, const void *ptr);

// Prints "hz4: <what><detail>" on stderr in one write. detail may be NULL.
__attribute__((cold)) void hz4_warn(const char *what, const char *detail);

#ifdef __cplusplus
}
#endif

// Always on: for what a wrong caller can cause, and for invariants whose test costs nothing where it stands.
#define HZ4_CHECK(condition, what)                  \
  do {                                              \
    if (HZ4_UNLIKELY(!(condition))) hz4_panic(what); \
  } while (0)

// On in debug builds (-c dbg); compiled, and then removed, in all others.
#define HZ4_ASSERT(condition)                                                        \
  do {                                                                               \
    if (HZ4_DEBUG && HZ4_UNLIKELY(!(condition))) hz4_panic("assertion: " #condition); \
  } while (0)

HZ4_INLINE bool hz4_is_power_of_two(size_t n) {
  return n != 0 && (n & (n - 1)) == 0;
}

// pre: align is a power of two, and n + align does not overflow.
HZ4_INLINE size_t hz4_round_up(size_t n, size_t align) {
  return (n + align - 1) & ~(align - 1);
}

HZ4_INLINE bool hz4_is_aligned(const void *ptr, size_t align) {
  return ((uintptr_t)ptr & (align - 1)) == 0;
}

#endif  // HZ4_BASE_H_
