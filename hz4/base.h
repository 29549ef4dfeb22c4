// Rank 0. What every file may use: attributes, rounding, debug asserts.
#ifndef HZ4_BASE_H_
#define HZ4_BASE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hz4/config.h"

#ifndef __has_feature  // clang's: how it tells of sanitizers
#define __has_feature(x) 0
#endif

#define HZ4_LIKELY(x) __builtin_expect(!!(x), 1)
#define HZ4_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HZ4_NOINLINE __attribute__((noinline))
// Begins with a cache line: where malloc began by chance, malloc_args had 0.9 of the speed.
#define HZ4_HOT __attribute__((aligned(HZ4_CACHE_LINE)))
// For variables that are zero at first, and that every process writes: they lie among those that are not zero, whose pages
// are written anyhow, instead of making pages of their own, which cost 2.5 times as much where they are read first.
#define HZ4_IN_DATA __attribute__((section(".data")))
// For large ones, of which a process writes no page or one: the linker has them behind the small ones, which so share pages.
#define HZ4_BEHIND_DATA __attribute__((section(".data1")))
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

// Around what C++ is to know as C.
#ifdef __cplusplus
#define HZ4_BEGIN_DECLS extern "C" {
#define HZ4_END_DECLS }
#else
#define HZ4_BEGIN_DECLS
#define HZ4_END_DECLS
#endif

HZ4_BEGIN_DECLS

// Prints "hz4: <what>" (and, in the second form, the pointer and what is known of it) on stderr without allocating, and aborts.
// pre: the thread has no lock and no claim, and nothing in hand, for SIGABRT's handler may use hz4, and not return.
__attribute__((noreturn, cold)) void hz4_panic(const char *what);
__attribute__((noreturn, cold)) void hz4_panic_pointer(const char *what, const void *ptr);

// The second form, without an end. frame: of the function that the program called, or of any above it.
__attribute__((cold)) void hz4_report_pointer(const char *what, const void *ptr, const void *frame);

// Wrong use that was left undone: a report, and the end; or, with HZ4_REPORT=warn, a report for each place in the program
// that does it. pre: as hz4_panic; frame is that of a function which has one.
__attribute__((cold)) void hz4_report_misuse(const char *what, const void *ptr, const void *frame);
void hz4_report_configure(bool warn);  // before there are threads

// What is known of a pointer: report.c says, once hz4 is ready.
struct hz4_reporter {
  size_t (*class_bytes)(const void *ptr);  // of the size class that it lies in; 0: in none
  void (*more)(int fd, const void *ptr, const void *frame);  // lines of their own
};
extern const struct hz4_reporter *hz4_reporter;

// The same for who may have all that: the program's handler of SIGABRT does not run.
__attribute__((noreturn, cold)) void hz4_assertion_failed(const char *what);

// Prints "hz4: <what><detail>" on stderr in one write. detail may be NULL.
__attribute__((cold)) void hz4_warn(const char *what, const char *detail);
// Likewise "hz4: <what>, errno <error>: <path>".
__attribute__((cold)) void hz4_warn_of_file(const char *what, int error, const char *path);

// Descriptor 2; or -1 if it was closed as hz4 began, for what has that number now the program opened for something else.
// unchanged: also if it is another file than then, be it that the program has put it there, or closed the first.
int hz4_stderr(bool unchanged);
void hz4_stderr_remember(void);

// Writes it all, and sends no SIGPIPE or SIGXFSZ. 0; or the error, as errno has it.
int hz4_write(int fd, const char *text, size_t bytes);

// Up to `size` bytes of the file, 0 where there is none.
size_t hz4_read_file(const char *path, char *text, size_t size);

HZ4_END_DECLS

// For functions that look whether a structure is whole while it is locked: they return what is broken, or NULL, to who
// reports it afterwards.
#define HZ4_HOLDS(condition, what)               \
  do {                                           \
    if (HZ4_UNLIKELY(!(condition))) return what; \
  } while (0)

// On in debug builds (-c dbg); compiled, and then removed, in all others.
#define HZ4_ASSERT(condition)                                                        \
  do {                                                                               \
    if (HZ4_DEBUG && HZ4_UNLIKELY(!(condition))) hz4_assertion_failed(#condition); \
  } while (0)

// The number at *text, which it goes past, modulo 2^64; 0 where there is none.
HZ4_INLINE uint64_t hz4_parse_digits(const char **text) {
  uint64_t value = 0;
  for (; **text >= '0' && **text <= '9'; ++*text) value = value * 10 + (uint64_t)(**text - '0');
  return value;
}

HZ4_INLINE bool hz4_ends_in(const char *text, const char *end) {
  size_t length = __builtin_strlen(text), n = __builtin_strlen(end);
  return length >= n && __builtin_strcmp(text + length - n, end) == 0;
}

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
