// Rank 8. Sampling: a few allocations, chosen by a Poisson process over all bytes asked for, are recorded until they are
// freed, for whoever wants them (a heap profile, guarded slots, probes).
//
// Each byte that is asked for starts a sample with the probability 1 / mean, independent of all others: so a block of
// `size` bytes is one with the probability 1 - exp(-size / mean), whatever else the program does, and sums over samples by
// their weights are unbiased. Each use has a mean of its own; one process, with the least mean, serves them all, and is
// thinned for the others.
//
// A block that realloc leaves in place, or that grows without a copy, keeps its record, size and all, as it was allocated.
#ifndef HZ4_SAMPLE_H_
#define HZ4_SAMPLE_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hz4_sample_use { HZ4_SAMPLE_PROFILE, HZ4_SAMPLE_GUARD, HZ4_SAMPLE_PROBE, HZ4_SAMPLE_USES };

// One sampled block, from its allocation to its free. Memory of hz4_meta, never moved. Constant after on_alloc, but for
// `user`, which is each use's own.
struct hz4_sample {
  void *block;
  size_t size;                       // asked for, in bytes
  size_t usable;
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

#ifdef __cplusplus
}
#endif

#endif  // HZ4_SAMPLE_H_
