// Rank 4. The policy: when what is free is kept, and when it goes back to the system. The layers that have it say what
// happens, ask, and do it. (docs/design.md, "When memory goes back".)
//
// What a layer keeps follows from its own numbers, in a structure of this file that the layer has, under its own lock; and
// from hints that all share, by any thread without a lock: the options, refaults, and what of all classes is out. There is
// no background thread: what is kept stays until hz4 is next called.
#ifndef HZ4_POLICY_H_
#define HZ4_POLICY_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

// ---- refaults and thrashing ----
//
// To purge and to fault in again costs more than most programs do with the memory in between. So where use swings, as that
// of a queue between threads does, or of a garbage collector, what falls free is better kept for the next swing. What is
// wanted within HZ4_REFAULT_MS of a purge is added up; when it comes to more than a quarter of what was ever in use at once,
// in at least HZ4_THRASHING_SWINGS swings (a swing: purges, and then wants), there is thrashing, until nothing was wanted so
// soon for ten times as long. With HZ4_REFAULT_MS=0 there never is any. The clock is read when memory is purged, when
// purged memory is used, and, once enough was wanted, when a bound is passed or a class has declined: not otherwise.

// Memory was purged just now, and not because the program asked for it.
void hz4_policy_purged(void);

// Memory that was purged once is taken into use. True: and it is thrashing.
bool hz4_policy_wanted(size_t bytes);

bool hz4_policy_is_thrashing(void);

// ---- free pages of segments. All zero at first, as below. ----

struct hz4_policy_pages {
  size_t peak_bytes;       // most that was ever in use
  size_t refaulted_bytes;  // wanted again too soon: so much more may be dirty while thrashing lasts
};

// Pages were taken: so many bytes are in use now, and of those that were taken so many had been purged.
void hz4_policy_pages_taken(struct hz4_policy_pages *pages, size_t used, size_t purged);

// How many bytes may stay dirty where so many are in use and have memory, and so many are dirty, in one of so many shards,
// which share what may whatever is in use.
size_t hz4_policy_pages_dirty(struct hz4_policy_pages *pages, uint32_t shards, size_t used, size_t dirty);

// ---- free ranges of addresses, of large blocks ----

struct hz4_policy_large {
  size_t keep;                     // 0: the floor
  size_t gone;                     // purged, and not wanted again yet
  uint32_t swings;                 // how often some of that was wanted again after a purge
  bool purged;                     // since some was
  bool asked, only_freed;          // for a block, since one was freed last; not for one, between the last two that were freed
  size_t most_live;                // at once, lately
  size_t taken;                    // in this turn
  size_t turn_live;                // most at once in it
  size_t most_dirty, least_dirty;  // likewise
};

// So much is taken for a block, out of dirty memory or not; so much is dirty besides.
void hz4_policy_large_taken(struct hz4_policy_large *large, size_t bytes, bool from_dirty, size_t dirty);

// A block is freed: so much was live.
void hz4_policy_large_freed(struct hz4_policy_large *large, size_t live);

// How many bytes may stay dirty where so many are live, and so many are dirty. And: so many were purged for that.
size_t hz4_policy_large_dirty(struct hz4_policy_large *large, size_t live, size_t dirty);
void hz4_policy_large_purged(struct hz4_policy_large *large, size_t bytes);

// How many bytes may stay dirty whatever is live, and how many bytes of addresses without memory may be kept.
size_t hz4_policy_large_keep(const struct hz4_policy_large *large);
size_t hz4_policy_large_addresses(const struct hz4_policy_large *large);

// ---- objects of a size class ----

struct hz4_policy_class {
  uint64_t high, low;          // most objects out of the spans since the last decline; out at the last decline
  uint64_t reported;           // out, as the sum of all classes has it
  const void *visitor;         // who came last
  uint32_t allowance;          // objects the depot may hold, however few are out
  uint16_t alone;              // visits by the same cache in a row with its own objects, up to HZ4_MID_ALONE_VISITS
  bool spilled;                // objects went past the full depot since the allowance was raised
  _Atomic(uint32_t) run;       // declines since the objects that are out last doubled; read by anybody
};

// Somebody came. own: and gave nothing that was another's. Who has no name (NULL) is never alone.
void hz4_policy_visit(struct hz4_policy_class *c, const void *visitor, bool own);

// Only one cache has come for a while, with what was its own: nobody waits for what it gives, so that goes home. There
// it is found again in the order of addresses, and what is allocated together lies together.
HZ4_INLINE bool hz4_policy_is_alone(const struct hz4_policy_class *c) {
  return c->alone == HZ4_MID_ALONE_VISITS;
}

// How many objects the depot may hold, where so many are out. And: it was found empty.
uint32_t hz4_policy_depot(const struct hz4_policy_class *c, uint64_t out);
void hz4_policy_depot_empty(struct hz4_policy_class *c, size_t object_bytes);

// Objects were taken: so many are out. True: the class is not declining, and nothing more is to be purged inside its spans.
bool hz4_policy_rose(struct hz4_policy_class *c, uint64_t out, size_t object_bytes);

// Objects went past the depot, home: so many are out. Whether the class has declined, so that what the depot has goes home
// too, and each cache halves its bin; and goes on declining, so that what is free inside the emptier spans is purged.
enum hz4_policy_fall { HZ4_FALL_NONE, HZ4_FALL_DECLINE, HZ4_FALL_PURGE };
enum hz4_policy_fall hz4_policy_fell(struct hz4_policy_class *c, uint64_t out, size_t object_bytes);

// So many are out, for the sum of all classes. Part of the two above.
void hz4_policy_out(struct hz4_policy_class *c, uint64_t out, size_t object_bytes);

// Whether the heap has declined: the bytes of all classes that are out have fallen by a quarter of the most there were since
// this was true last, to one caller, who empties all caches. (Each class counts with 64 KiB more or less.)
bool hz4_policy_heap_declined(void);

HZ4_END_DECLS

#endif  // HZ4_POLICY_H_
