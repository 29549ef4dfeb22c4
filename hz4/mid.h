// Rank 6. Mid: for each size class a depot of waiting objects, and spans with out-of-line bitmaps behind one short lock.
//
// Depot: an array of object pointers that one cache gave up and another may take. It is for caches that exchange objects:
// what one gives that alone has taken and given for a while goes to the spans.
// Spans: what exceeds that bound goes back into its span's bitmap. A span whose objects are all home returns to its
// segment at once; any class may use the pages next. Fuller spans are served first, so that emptier ones can empty.
// Decline: the policy says when (policy.h). Then the depot is emptied, and the count of declines tells the caches to shrink
// their bins; if it goes on, memory inside spans is purged. So caches, which hold whole spans back by single objects, follow
// the program down.
//
// Objects come and go as arrays of pointers. Lock: HZ4_RANK_MID, one per class.
#ifndef HZ4_MID_H_
#define HZ4_MID_H_

#include "hz4/base.h"
#include "hz4/lock.h"

HZ4_BEGIN_DECLS

// What one call did, for the caller's counters.
struct hz4_mid_result {
  uint32_t objects;       // taken or given
  uint32_t from_depot;    // of the objects taken
  uint32_t spans_opened;  // fresh spans from segments
  uint32_t spans_closed;  // spans returned to segments
  uint32_t away;          // objects that were given to, or taken from, other shards
  uint32_t away_locks;    // their locks that were taken for it
  bool declined;          // the class has declined by this
  bool alone;             // the visitor shares the class with nobody
  bool zeroed;            // there is one object, and it is all zero
  uint32_t declines;          // times that the class has declined so far: a change asks caches to hold less
};

// Takes up to `want` objects: from the depot, else from spans (then up to `fresh` of them if a fresh span must be
// opened; fresh 0: none is). `owner` is noted on the spans it took from. zero: where the first is known to be all zero,
// no others, of which the caller would not know it any more. objects == 0: no memory, or fork is on; what `out` holds then is of
// no use.
struct hz4_mid_result hz4_mid_take(uint32_t size_class, void **out, uint32_t want, uint32_t fresh, void *owner,
                                   bool zero);

// Gives objects back, one at least. `giver` is who, as in hz4_mid_take; NULL: nobody who comes again. A pointer that is no live object
// of this class is noted as misuse, and left out.
// purge: where the class goes on declining, HZ4_PURGE_BYTES inside its spans go back to the system too.
// What `objects` holds afterwards is of no use; but if result.objects < count fork is on, and the first ones are still the
// caller's, so many as are missing. Never otherwise fails.
struct hz4_mid_result hz4_mid_give(uint32_t size_class, void **objects, uint32_t count, const void *giver, bool purge);

// Where there are several shards, a depot has objects of others' spans, which neither a decline nor a trim brings home: no
// two locks are held at once. Takes up to `room` objects out of the shard's depot: 0, there are none, or fork is on.
uint32_t hz4_mid_drain(uint32_t shard, uint32_t size_class, void **out, uint32_t room);
// And into their spans, past the depots. Returns how many are still the caller's, as above.
uint32_t hz4_mid_send_home(uint32_t size_class, void **objects, uint32_t count);

// The owner noted on the object's span, or NULL. A hint.
void *hz4_mid_owner(const void *object);

// Bytes that hold memory in the object's span and that nobody has, divided by the objects which are out of it: what this
// one keeps from the system. A glance without the lock, for statistics. pre: the object is out.
uint64_t hz4_mid_glance_held(const void *object);

// How many objects a full bin should give up at once, at most: where objects go home, each to its span, those of a call are
// to meet about HZ4_MID_SPANS of them.
uint32_t hz4_mid_portion(uint32_t size_class);

// The thread will soon give objects of the class, or take some.
void hz4_mid_expect(uint32_t size_class);

// The class's count of declines now.
uint32_t hz4_mid_declines(uint32_t size_class);

// Whether the objects that are out have not doubled since the last decline.
bool hz4_mid_is_declining(uint32_t size_class);

// Empties all depots into their spans. True when a span went back to its segment.
bool hz4_mid_trim(void);

// out_bytes: of objects that the spans gave out; takes: calls of hz4_mid_take; purged_bytes: so far, inside spans in use;
// nothing_bytes: addresses of the zero class, which counts nowhere else.
struct hz4_mid_stats {
  uint64_t spans, span_bytes, span_objects, free_objects, depot_objects, depot_bytes, free_bytes, out_bytes, takes,
      purged_bytes, nothing_bytes;
};
void hz4_mid_stats(struct hz4_mid_stats *out);
void hz4_mid_add_stats(uint32_t size_class, struct hz4_mid_stats *sum);  // of one class

void hz4_mid_check(void);

// For fork: acts on each lock, in the order in which fork takes them.
void hz4_mid_fork(void (*act)(struct hz4_lock *lock));

HZ4_END_DECLS

#endif  // HZ4_MID_H_
