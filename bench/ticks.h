// The finest clock there is, read in order with what stands around it. How long a tick is, a run finds out itself.
#ifndef HZ4_BENCH_TICKS_H_
#define HZ4_BENCH_TICKS_H_

#include <stdint.h>

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t bench_ticks(void) {
  _mm_lfence();  // what came before has ended
  uint64_t ticks = __rdtsc();
  _mm_lfence();  // nothing after has begun
  return ticks;
}
#elif defined(__aarch64__)
static inline uint64_t bench_ticks(void) {
  uint64_t ticks;
  __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(ticks)::"memory");
  return ticks;
}
#else
#include <time.h>

static inline uint64_t bench_ticks(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif

#endif  // HZ4_BENCH_TICKS_H_
