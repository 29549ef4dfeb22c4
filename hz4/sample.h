// Rank 8. Sampling: a few allocations, chosen by a Poisson process over all bytes asked for, are recorded until they are
// freed, for whoever wants them (a heap profile, guarded slots, probes).
//
// Each byte that is asked for starts a sample with the probability 1 / mean, independent of all others: so a block of
// `size` bytes is one with the probability 1 - exp(-size / mean), whatever else the program does, and sums over samples by
// their weights are unbiased. Each use has a mean of its own; one process, with the least mean, serves them all, and is
// thinned for the others.
//
// How: while there is sampling, no size is small enough for malloc's fast path (sizeclass.h). Allocations go by a second one
// (alloc.h), which takes the size off the bytes that are left until the next sample, and pops from the bin as usual. Where fewer
// bytes are left they go by the slow path, which asks whether this is a sample. Without sampling the fast path is as it was.
//
// The gap to the next sample is counted in strides: after each the cache looks whether the mean has changed. Who changes it also
// ends the strides of all caches; but that is a plain store, and a cache may overwrite it by what it had read: then it looks at
// the end of its stride. Small sampled objects are Mid's, in spans of their own, whose pages have class 0 in the page map: so
// free comes to the slow path as well, and finds the record in the span.
//
// A cache that has samples faster than HZ4_SAMPLE_PACE in HZ4_SAMPLE_PACE_NS doubles its mean, again and again until they come
// at that pace, and halves it when they come slowly; each sample then stands for more, or less. What a gap's mean is depends on
// the past alone, so that the sums stay unbiased. Means below HZ4_SAMPLE_PACED_MIN are kept, whatever they cost.
//
// An object that realloc leaves in place keeps its record, size and all. A large block that realloc resizes counts as freed
// and allocated, as if it had been copied.
#ifndef HZ4_SAMPLE_H_
#define HZ4_SAMPLE_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/bin.h"

HZ4_BEGIN_DECLS

// HZ4_SAMPLE_GUARD has no hooks: such a sample gets a guarded slot (slots.h), if there is one.
enum hz4_sample_use { HZ4_SAMPLE_PROFILE, HZ4_SAMPLE_GUARD, HZ4_SAMPLE_PROBE, HZ4_SAMPLE_USES };

// One sampled block, from its allocation to its free. Memory of hz4_meta, never moved. Constant after on_alloc, but for
// `user`, which is each use's own.
struct hz4_sample {
  void *block;
  size_t size;                       // asked for, in bytes
  size_t usable;                     // as of a block that is no sample; of a guarded one, what was asked for
  uint64_t weight[HZ4_SAMPLE_USES];  // how many bytes it stands for; 0: it is no sample for this use
  uint64_t thread;                   // tells threads that live at once apart
  void *user[HZ4_SAMPLE_USES];       // NULL at first
  uint32_t stack_depth;
  uintptr_t stack[HZ4_SAMPLE_FRAMES];  // return addresses, the program's call of hz4 first
};

// Called by the thread that allocates or frees, with no lock of hz4's held and no claim, for samples of this use: on_alloc
// before the program has the block, on_free (also after a stop) before another can have it; afterwards the sample is gone.
// Neither may allocate by malloc. on_alloc may fail by leaving user as NULL: on_free comes nevertheless.
struct hz4_sample_hooks {
  void (*on_alloc)(struct hz4_sample *sample);
  void (*on_free)(struct hz4_sample *sample);
};

// Sampling for this use begins, or goes on with another mean in bytes, at least 1. Any thread, any number of times; hooks
// are never to change.
void hz4_sample_start(enum hz4_sample_use use, size_t mean, const struct hz4_sample_hooks *hooks);
// What is sampled already stays so until it is freed.
void hz4_sample_stop(enum hz4_sample_use use);

// 1 - exp(-x), how likely x means of bytes have a sample, for x >= 0; without libm, and without loss where x is small.
double hz4_sample_chance(double x);

// ---- for alloc.c ----

struct hz4_span;

extern _Atomic(uint32_t) hz4_sample_epoch;  // 0: there is no sampling; else odd, and changes with every mean

HZ4_INLINE bool hz4_sample_is_on(void) {
  return hz4_load_relaxed(&hz4_sample_epoch) != 0;
}

// That of the cache that this thread is at; of those without one, one for all.
HZ4_INLINE struct hz4_sampler *hz4_sampler_here(void) {
  return &((struct hz4_tcache *)hz4_sequence_cache())->sampler;
}

// As hz4_sample_count, where `left` of what the cache may look away for is below 0.
size_t hz4_sample_due(size_t size, int64_t left);

// Counts an allocation that comes by a slow path, while there is sampling. The mean that it is a sample by, likely; 0: it is
// none, or there is no sampling. Others may count at this cache at the same time: what this one has left is its own.
HZ4_INLINE size_t hz4_sample_count(size_t size) {
  struct hz4_sampler *mine = hz4_sampler_here();
  int64_t left = hz4_load_relaxed(&mine->left) - (int64_t)size;
  hz4_store_relaxed(&mine->left, left);
  return HZ4_LIKELY(left >= 0) ? 0 : hz4_sample_due(size, left);
}

// A block for an allocation that is due by this mean. `usable` is what an object would have if it were no sample,
// and is aligned if it is a multiple of align, which is at most HZ4_PAGE_BYTES then; 0: it is to be a large block. frame is
// that of the function which the program called (stack.h); *zeroed as for hz4_large_alloc. NULL: it is no sample after
// all, or there is no memory for one.
void *hz4_sample_alloc(size_t size, size_t mean, size_t align, size_t usable, bool *zeroed, const void *frame);

// The record of the block at ptr; NULL: it is no sample, or no block. span is that of the page map.
struct hz4_sample *hz4_sample_of(struct hz4_span *span, const void *ptr);

// Ends the record, and frees the object; of a large block the record alone. Returns what is wrong; NULL: nothing. frame is
// as above.
const char *hz4_sample_free(struct hz4_span *span, void *ptr, const void *frame);

// A large block was resized, to what is asked for now.
void hz4_sample_resized(struct hz4_span *span, size_t size, const void *frame);

// For tests: the sampler of the cache that the calling thread is at begins anew, by this seed. A thread comes to a cache by
// its first allocation.
void hz4_sample_seed(uint64_t seed);

HZ4_END_DECLS

#endif  // HZ4_SAMPLE_H_
