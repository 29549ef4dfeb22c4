// Rank 1. Numbers that nobody can foretell who does not know the process's secret: which object comes next, with HZ4_HARDEN.
// They are no key material.
#ifndef HZ4_RANDOM_H_
#define HZ4_RANDOM_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

// Odd. Set once, before there are threads.
extern uint64_t hz4_random_secret;

void hz4_random_seed(uint64_t seed);

// 32 bits, of which the high ones are the better: to be scaled by a multiplication. Of two threads that draw from one state at
// once both may have the same number.
HZ4_INLINE uint32_t hz4_random_of(uint64_t *state) {
  uint64_t next = hz4_peek(state) * 6364136223846793005u + hz4_random_secret;  // Knuth's multiplier for 64 bits
  hz4_poke(state, next);
  return (uint32_t)(next >> 32);
}

// Of a state that all share: for what is seldom.
extern uint64_t hz4_random_shared;

HZ4_INLINE uint32_t hz4_random(void) {
  return hz4_random_of(&hz4_random_shared);
}

HZ4_INLINE uint32_t hz4_random_below(uint32_t bound) {
  return (uint32_t)((uint64_t)hz4_random() * bound >> 32);
}

HZ4_END_DECLS

#endif  // HZ4_RANDOM_H_
