// Rank 1. Numbers that nobody can foretell who does not know the process's secret: which object comes next, with HZ4_HARDEN.
// They are no key material.
#ifndef HZ4_RANDOM_H_
#define HZ4_RANDOM_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

// Each thread's own, 0 at first.
extern __thread uint64_t hz4_random_state __attribute__((tls_model("initial-exec")));
// Odd. Set once, before there are threads.
extern uint64_t hz4_random_secret;

void hz4_random_seed(uint64_t seed);

// 32 bits, of which the high ones are the better: to be scaled by a multiplication.
HZ4_INLINE uint32_t hz4_random(void) {
  hz4_random_state = hz4_random_state * 6364136223846793005u + hz4_random_secret;  // Knuth's multiplier for 64 bits
  return (uint32_t)(hz4_random_state >> 32);
}

HZ4_INLINE uint32_t hz4_random_below(uint32_t bound) {
  return (uint32_t)((uint64_t)hz4_random() * bound >> 32);
}

#ifdef __cplusplus
}
#endif

#endif  // HZ4_RANDOM_H_
