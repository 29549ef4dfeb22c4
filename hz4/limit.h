// Rank 2. How much memory hz4 has, and how much it may have.
//
// What is counted is what may be resident: pages of spans (without what is purged inside them); free pages and free ranges that
// are dirty; large blocks, whole, whether they are touched or not; metadata in blocks of up to 8 KiB. What is not: addresses
// without memory (clean, fresh); the page map; the caches of CPUs, a few KiB each; the arrays of large depots; and what the
// program maps itself. Who takes memory into use asks before, and who gives it back says so afterwards: only where the system is
// called, or nearly.
//
// hard: no more than this. Malloc fails, after a trim.
// soft: near it, that is, above all but 1/2^HZ4_LIMIT_NEAR_SHIFT of it, all that is free goes back to the system. That is done
// again when use has grown by as much since, or when it comes near again after it had fallen 1/2^HZ4_LIMIT_OVER_SHIFT below
// `soft`; but not before a pause is over, which is the longer the more went back. There is no thread for it: it is done by
// whoever comes to malloc's slow path, or resizes a large block.
// Where only `hard` is given, it is `soft` as well.
//
// No lock. What is counted, and `hard`, is exact; the rest are hints, and threads may interleave as they like.
#ifndef HZ4_LIMIT_H_
#define HZ4_LIMIT_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

// Counts memory that will be in use now. False: it would be more than `hard`, and nothing is counted.
bool hz4_limit_take(size_t bytes);
// The same where it cannot be refused: metadata, without which nothing could be given back, and what fell free.
void hz4_limit_take_anyway(size_t bytes);
// It is the system's again, or was not to be had.
void hz4_limit_give(size_t bytes);

// Written by limit.c.
extern _Atomic(bool) hz4_limit_due;

// Whether to ask hz4_limit_begin_trim.
HZ4_INLINE bool hz4_limit_is_due(void) {
  return hz4_load_relaxed(&hz4_limit_due);
}

// True: the caller gives back now what is free, and then calls hz4_limit_end_trim with what this has put in *used.
bool hz4_limit_begin_trim(size_t *used);
void hz4_limit_end_trim(size_t used_before);

// What all caches together may hold: `wanted`, or a share of what the limit or the container allows.
size_t hz4_limit_of_caches(size_t wanted);

// In bytes; SIZE_MAX: none. pre: soft <= hard, where both are given. At any time.
void hz4_limit_configure(size_t soft, size_t hard);
// What the container has: a bound for the caches alone.
void hz4_limit_set_container(size_t bytes);

struct hz4_limit_stats {
  uint64_t soft_bytes, hard_bytes, container_bytes;  // 0: none
  uint64_t used_bytes, refused, trims;  // refused: how often `hard` was in the way
};
void hz4_limit_stats(struct hz4_limit_stats *out);

HZ4_END_DECLS

#endif  // HZ4_LIMIT_H_
