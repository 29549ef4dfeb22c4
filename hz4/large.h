// Rank 6. Blocks above the largest size class, cut from mappings in pages of 64 KiB.
//
// What is freed becomes a free range, joined with its free neighbours whatever mapping they came from (extent.h), and
// serves blocks of any size. It keeps its memory within a bound that follows what is wanted again; beyond it the range
// that was freed first is purged, and keeps its addresses within a bound of their own. large.c has both.
//
// A block grows into the free range behind it, or where the system lets it, or is moved by mremap: none of that copies. A
// block of which the program has advised the kernel in part is several mappings to the system, which it does not move:
// such a one is copied.
//
// Lock: HZ4_RANK_LARGE, never over a system call. While fork holds the lock, blocks are mapped by the system, and what is
// freed waits in a list that whoever takes the lock next takes over.
#ifndef HZ4_LARGE_H_
#define HZ4_LARGE_H_

#include "hz4/base.h"
#include "hz4/lock.h"

HZ4_BEGIN_DECLS

struct hz4_span;

// A block of at least `bytes`, aligned to `align` (a power of two; page granules at least). *zeroed asks for
// zeros, and then tells whether its bytes are zero. NULL: no memory. pre: 0 < bytes <= PTRDIFF_MAX, align <= PTRDIFF_MAX.
void *hz4_large_alloc(size_t bytes, size_t align, bool *zeroed);

// The same for a block that grows, by a copy, to `bytes`, and will most likely grow on: where it can to HZ4_LARGE_ROOM
// times as many, in memory that has been used, and is not zero. NULL: there is no such place.
void *hz4_large_reuse(size_t bytes);

// pre: span is that of a live block.
void hz4_large_free(struct hz4_span *span);

// Makes the block's usable size at least `bytes` without copying, and frees what a much smaller size leaves over.
// Returns the block's address, which may be new, or NULL with nothing changed: then the caller copies.
void *hz4_large_resize(struct hz4_span *span, size_t bytes);

// Where there is no memory for a copy: the block stays, and what is beyond `bytes` is freed in whole pages. NULL with nothing
// changed: it is between guards, or there is no memory for the books. pre: bytes is less than the block has.
void *hz4_large_shrink(struct hz4_span *span, size_t bytes);

// Whether a block of this span can have been asked for, or resized to, with `bytes`.
bool hz4_large_may_hold(const struct hz4_span *span, size_t bytes);

// Unmaps all free ranges. True when something went back to the system.
bool hz4_large_trim(void);

// cached: free and dirty; retained: free, and without memory; keep: how many may be dirty, whatever is live.
struct hz4_large_stats {
  uint64_t allocs, frees, cache_hits, live_mapped_bytes, cached_bytes, retained_bytes, keep_bytes, moved, grown_in_place;
};
void hz4_large_stats(struct hz4_large_stats *out);

void hz4_large_check(void);

// For fork: acts on the lock.
void hz4_large_fork(void (*act)(struct hz4_lock *lock));

HZ4_END_DECLS

#endif  // HZ4_LARGE_H_
