// Rank 5. Page runs: 64 KiB pages out of segments of up to 4 MiB, which come from the system and go back to it.
//
// A page is used (part of a span), dirty (free, may hold memory) or clean (free, holds none). Freed pages are dirty.
// How many may stay dirty the policy says. Whoever freed a run calls hz4_segment_purge, which purges the segments that
// became dirty first until the bound holds again, but no more than HZ4_PURGE_BYTES at once: the rest goes with later calls.
//
// Lock: HZ4_RANK_SEGMENT. It is left for system calls (lock.h).
#ifndef HZ4_SEGMENT_H_
#define HZ4_SEGMENT_H_

#include "hz4/base.h"
#include "hz4/lock.h"

HZ4_BEGIN_DECLS

struct hz4_segment;

struct hz4_run {
  char *base;  // NULL: there was no memory, or fork holds the lock
  struct hz4_segment *segment;
  bool zeroed;  // never used since it came from the system
};

// 1 <= pages <= HZ4_SEGMENT_PAGES_MAX. The pages are reserved in the page map. grow false: only what segments have.
// pre: no lock is held where grow is true; likewise below, but for hz4_segment_free.
struct hz4_run hz4_segment_alloc(size_t pages, bool grow);

// The caller has cleared the pages in the page map. purged_inside: some of their memory was purged while they were used; who
// takes them next wants it back. False: fork holds the lock and nothing has changed. Never false, and never long, for a
// caller that holds a lock of Mid or large.
bool hz4_segment_free(struct hz4_segment *segment, char *base, size_t pages, bool purged_inside);

// Purges dirty pages until at most keep_bytes are dirty. True when something went back to the system.
#define HZ4_SEGMENT_KEEP_LIMIT SIZE_MAX        // keep what the bound allows, and purge no more than HZ4_PURGE_BYTES
#define HZ4_SEGMENT_KEEP_NO_REFAULT (SIZE_MAX - 1)  // and nothing more: new memory is needed that pages cannot serve
bool hz4_segment_purge(size_t keep_bytes);

// Of pages that the caller keeps used so many bytes hold no memory now (purged_inside); are to hold memory again (fill; false:
// the limit does not allow it); or still held none when their span was closed, and will count as dirty (closed).
void hz4_segment_purged_inside(size_t bytes);
bool hz4_segment_fill(size_t bytes);
void hz4_segment_closed(size_t bytes);

// Unmaps segments that are wholly free and clean: their addresses are wanted. True when one went.
bool hz4_segment_unmap_free(void);

struct hz4_segment_stats {
  uint64_t segments, used_bytes, dirty_bytes, clean_bytes, acquired, released, purged_runs, peak_used_bytes,
      purged_inside_bytes, refaulted_bytes;
};
void hz4_segment_stats(struct hz4_segment_stats *out);

void hz4_segment_check(void);

// For fork: acts on each lock, in the order in which fork takes them.
void hz4_segment_fork(void (*act)(struct hz4_lock *lock));

HZ4_END_DECLS

#endif  // HZ4_SEGMENT_H_
