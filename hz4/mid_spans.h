// Rank 6. Part of Mid: the spans of one class at one shard, listed by how full they are. Objects are taken out of the fullest
// that have any, and come home to whichever they are of; a span whose objects are all home goes back to its segment.
//
// What is free inside spans that stay is purged where the policy says so, a bounded part by each call.
//
// All functions: the lock is held, and may be left meanwhile (lock.h) to open a span or to purge.
#ifndef HZ4_MID_SPANS_H_
#define HZ4_MID_SPANS_H_

#include "hz4/base.h"
#include "hz4/lock.h"
#include "hz4/span.h"

HZ4_BEGIN_DECLS

struct hz4_mid_spans {
  struct hz4_lock lock;
  // under lock
  uint64_t object_count, free_count;  // of all spans; free_count: bits set
  uint64_t visited;                   // spans that objects came home to, so far
  uint64_t span_count, purged_bytes;  // purged_bytes: so far
  struct hz4_span *partial[HZ4_MID_BUCKETS + 1];  // spans with free objects, each list a ring; bucket 0 has the fullest
  uint32_t spans_in[HZ4_MID_BUCKETS + 1];         // how many
  // Of each list so many spans, from the first on, are still to be purged inside: if so many of 8 parts are free.
  uint32_t to_purge[HZ4_MID_BUCKETS], purge_eighths;
  bool purge_goes_on;
  struct hz4_span *waiting;  // the span that was complete last, when it is not to be closed at once
  uint8_t shard;             // constant
};

// Takes up to `want` objects, or `fresh` where a span must be opened for them; fresh 0: none is. For owner and zero see
// hz4_mid_take.
struct hz4_mid_taken {
  uint32_t objects, opened;  // opened: spans
  bool zeroed;
};
struct hz4_mid_taken hz4_mid_spans_take(struct hz4_mid_spans *spans, uint32_t size_class, void **out, uint32_t want,
                                        uint32_t fresh, void *owner, bool zero);

// Brings objects home, but for those of other shards, which it moves to the front: *strays of them. Returns the number of
// spans that this closed.
uint32_t hz4_mid_spans_put(struct hz4_mid_spans *spans, uint32_t size_class, void **objects, uint32_t count,
                           uint32_t *strays);

// Closes what is complete and waits. Returns the number of spans.
uint32_t hz4_mid_spans_close_empty(struct hz4_mid_spans *spans);

// From now on memory inside the spans that have at least so many of 8 parts free goes back.
void hz4_mid_spans_begin_purge(struct hz4_mid_spans *spans, uint32_t eighths);

// What is to be purged inside spans, as far as one call may; the rest is for later ones. Returns the number of spans that
// had become complete and were closed.
uint32_t hz4_mid_spans_purge(struct hz4_mid_spans *spans);

// What is wrong with the lists and numbers, or NULL.
const char *hz4_mid_spans_broken(struct hz4_mid_spans *spans, uint32_t size_class);

HZ4_END_DECLS

#endif  // HZ4_MID_SPANS_H_
