// Rank 1. Counters that any thread reads. A cache's are written by sequences (hz4_count_here), without a locked
// instruction.
//
// One table makes the fields, the text and the JSON. "per range" counters exist for small and for mid size classes.
#ifndef HZ4_COUNTER_H_
#define HZ4_COUNTER_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

// X(name, meaning). Counted by a cache, per range.
#define HZ4_COUNTER_TABLE(X)                                                                     \
  X(malloc_calls, "objects handed out (only with --config=stats)")                               \
  X(free_calls, "objects taken back (only with --config=stats)")                                 \
  X(refill_calls, "mallocs that found their bin empty")                                          \
  X(refill_inbox, "refills served from the cache's own inbox")                                  \
  X(refill_steal, "refills served from another cache's inbox")                                  \
  X(refill_lock, "refills that took Mid's lock")                                                 \
  X(refill_depot, "refills served from a depot")                                                 \
  X(refill_span, "refills served from spans")                                                    \
  X(refill_objects, "objects that refills brought")                                              \
  X(span_opened, "spans taken from segments")                                                    \
  X(span_closed, "spans returned to segments")                                                   \
  X(flush_calls, "frees that found their bin full")                                              \
  X(flush_objects, "objects that left a bin for Mid or an inbox")                                \
  X(flush_lock, "flushes that took Mid's lock")                                                  \
  X(shard_lock, "other shards' locks that refills and flushes took")                             \
  X(shard_objects, "objects that went to another shard, or came from one, by these")             \
  X(inbox_push, "batches pushed to an owner's inbox")                                            \
  X(inbox_push_objects, "objects in them")                                                       \
  X(inbox_refused, "batches that an owner's inbox refused")                                      \
  X(inbox_batches, "batches taken out of inboxes")                                               \
  X(inbox_spill, "objects from an inbox that went on to Mid for lack of room")                   \
  X(bin_grow, "bins that grew")                                                                  \
  X(bin_shrink, "bins that were shrunk for the budget")                                          \
  X(direct_malloc, "mallocs without a cache, or past a failing one")                      \
  X(direct_free, "frees without a cache")

#define HZ4_COUNTER_ID(name, meaning) HZ4_COUNT_##name,
enum hz4_counter { HZ4_COUNTER_TABLE(HZ4_COUNTER_ID) HZ4_COUNTERS };
#undef HZ4_COUNTER_ID

enum hz4_range { HZ4_RANGE_SMALL, HZ4_RANGE_MID, HZ4_RANGES };

struct hz4_counters {
  _Atomic(uint64_t) value[HZ4_RANGES][HZ4_COUNTERS];
};

HZ4_INLINE enum hz4_range hz4_range_of(size_t object_bytes) {
  return object_bytes > HZ4_SMALL_MAX_BYTES ? HZ4_RANGE_MID : HZ4_RANGE_SMALL;
}

#endif  // HZ4_COUNTER_H_
