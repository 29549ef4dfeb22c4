// Rank 0. System calls by the instruction itself: no name of libc's that a preloaded library may have taken, which might
// allocate while hz4 holds a lock; no cancellation point; errno is left alone.
#ifndef HZ4_SYSCALL_H_
#define HZ4_SYSCALL_H_

#include <sys/syscall.h>
#include <time.h>

#include "hz4/base.h"

// The result, or minus the error's number. Up to six arguments, numbers or pointers.
#define hz4_syscall(...) HZ4_SYSCALL_PAD(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define HZ4_SYSCALL_PAD(number, a, b, c, d, e, f, ...) \
  hz4_syscall_of(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#if defined(__x86_64__) && !defined(HZ4_SEQUENCE_MODEL)
HZ4_INLINE long hz4_syscall_of(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "+a"(number)
                   : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return number;
}
#elif defined(__aarch64__) && !defined(HZ4_SEQUENCE_MODEL)
HZ4_INLINE long hz4_syscall_of(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#elif defined(__riscv) && __riscv_xlen == 64 && !defined(HZ4_SEQUENCE_MODEL)
HZ4_INLINE long hz4_syscall_of(long number, long a, long b, long c, long d, long e, long f) {
  register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
  register long a3 __asm__("a3") = d, a4 __asm__("a4") = e, a5 __asm__("a5") = f;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
  return a0;
}
#else  // libc's, for other machines, and for weave, which has one of its own
#include <errno.h>
#include <unistd.h>
HZ4_INLINE long hz4_syscall_of(long number, long a, long b, long c, long d, long e, long f) {
  int saved = errno;
  long result = syscall(number, a, b, c, d, e, f);
  if (result == -1) result = -errno;
  errno = saved;
  return result;
}
#endif

// Linux's, whose headers not every libc brings along: of words that are this process's alone.
enum { HZ4_FUTEX_WAIT = 0 | 128, HZ4_FUTEX_WAKE = 1 | 128 };

// A clock's time; 0: the system has none. (libc's way around the system call is a name that others take.)
HZ4_INLINE uint64_t hz4_clock_ns(int clock) {
  struct timespec now = {0};
  if (hz4_syscall(SYS_clock_gettime, clock, &now) != 0) return 0;
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

HZ4_INLINE void hz4_yield(void) {
  hz4_syscall(SYS_sched_yield, 0);
}

#endif  // HZ4_SYSCALL_H_
