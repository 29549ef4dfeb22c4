// Rank 6. Blocks above the largest size class: page runs up to 1 MiB, and mappings of their own above that.
//
// A mapping grows by mremap, in place or moved without copying. Freed mappings are cached, their pages kept, within a
// bound: 1/8 of the bytes in live mappings, or the allowance where that is more. The allowance starts at 4 MiB and
// rises to 64 MiB at most, when a size just refused is asked for again: programs that allocate the same buffer in a
// loop get it from the cache. It falls again when mappings are freed one after the other and none is asked for.
// What the cache refuses is purged, and its addresses are retained within a bound of their own: so a heap of many such
// blocks has few holes, and the kernel few mappings to keep. What the system refuses to unmap is retained as well.
//
// Lock: HZ4_RANK_LARGE, for the cache only. When fork holds it, everything goes straight to the system.
#ifndef HZ4_LARGE_H_
#define HZ4_LARGE_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hz4_span;

// A block of at least `bytes`, aligned to `align` (a power of two; page granules at least). *zeroed asks for
// zeros, and then tells whether its bytes are zero. NULL: no memory. pre: 0 < bytes <= PTRDIFF_MAX, align <= PTRDIFF_MAX.
void *hz4_large_alloc(size_t bytes, size_t align, bool *zeroed);

// The same for a block that grows, by a copy, to `bytes`, and will most likely grow on: a cached mapping of up to
// HZ4_LARGE_GROWTH times as many bytes, not zero, in which it can. NULL: there is none.
void *hz4_large_reuse(size_t bytes);

// pre: span is a RUN or MAPPED span of a live block.
void hz4_large_free(struct hz4_span *span);

// Makes the block's usable size at least `bytes` without copying, and gives back what a much smaller size leaves over.
// Returns the block's address, which may be new, or NULL with nothing changed: then the caller copies.
void *hz4_large_resize(struct hz4_span *span, size_t bytes);

// Whether a block of this span can have been asked for, or resized to, with `bytes`.
bool hz4_large_may_hold(const struct hz4_span *span, size_t bytes);

// Unmaps all that is cached or retained. True when something went back to the system.
bool hz4_large_trim(void);

struct hz4_large_stats {
  uint64_t allocs, frees, cache_hits, live_mapped_bytes, cached_bytes, retained_bytes, moved, grown_in_place;
};
void hz4_large_stats(struct hz4_large_stats *out);

void hz4_large_check(void);

void hz4_large_fork_prepare(void);
void hz4_large_fork_parent(void);
void hz4_large_fork_child(void);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_LARGE_H_
