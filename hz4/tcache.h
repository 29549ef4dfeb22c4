// Rank 7. The thread cache: for each size class a bin, an array of object pointers. Pushing and popping touch nothing
// else: never the object, whose line free only asks for ahead.
//
// A bin's array has NULL in slot 0. top[c] points at the newest pointer, or at that NULL when the bin is empty: so pop
// needs no separate test. limit[c] points at the last slot that may be used. A bin without an array (and bin 0, always)
// has top == limit == a shared NULL: it is empty and full at once, and every operation goes the slow way. A thread
// without a cache has hz4_tcache_none, whose bins are all like that, so that the fast path has no "initialised?" test.
//
// Adopt what you free: a freed object goes into the freeing thread's bin, whoever allocated it. When a bin overflows,
// its older half leaves, or as many as make whole batches if it was not found empty since it grew: to the inbox of the
// thread whose spans the objects are from, if they are small, a sample of them agrees on one, and its inbox is not full;
// to Mid otherwise.
//
// Only the thread itself touches its bins. Any thread may push into, and take from, its inboxes.
#ifndef HZ4_TCACHE_H_
#define HZ4_TCACHE_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/counter.h"
#include "hz4/inbox.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hz4_bin {
  void **slots;     // NULL: no array
  uint16_t length;  // slots in the array, the NULL one included; a power of two
  uint16_t refill;  // objects that the next refill asks for: doubles, so that a thread that needs one gets one
  uint8_t ebbs;     // Mid's count of ebbs, as last heard
  uint8_t one_way;  // misses or overflows, of one kind only, since it grew beyond its first bytes, or could have
  bool missed : 1;      // found empty since it grew
  bool overflowed : 1;  // found full since it grew
  bool active : 1;      // found empty or full since the last look for a bin to shrink
  bool alone : 1;       // nobody else came to the class lately, as Mid had it at the last refill
  bool ebbing : 1;      // halved by an ebb: an overflow does not make it larger while the class ebbs
};

struct hz4_tcache {
  // owner only
  uintptr_t ahead;  // free fetches the line at the object plus this: 0, or HZ4_NOWHERE to fetch nothing
  void **top[HZ4_CLASS_SLOTS];
  void **limit[HZ4_CLASS_SLOTS];
  struct hz4_bin bins[HZ4_CLASS_SLOTS];
  struct hz4_batch *nodes;  // empty batches
  uint32_t node_count;
  uint32_t shrink_cursor;
  uint32_t denied;  // times that a bin could not grow since one was shrunk
  size_t capacity_bytes;  // sum over bins of (limit - slots) * object size
  uint32_t overflow_run;  // overflows since the last miss, up to HZ4_AHEAD_OVERFLOWS
  // constant once listed
  struct hz4_tcache *next_listed;
  // under the lock of the list of threads
  struct hz4_tcache *next_idle;
  bool attached;
  // written by the owner, read by anybody
  struct hz4_counters counters;
  _Atomic(uint64_t) inbox_stash_max;  // most objects found waiting at once
  // shared
  struct hz4_inbox inbox[HZ4_CLASS_SLOTS] __attribute__((aligned(HZ4_CACHE_LINE)));
};

// The cache of a thread that has none yet, and that of a thread that has ended.
extern struct hz4_tcache hz4_tcache_none, hz4_tcache_ended;

// This thread's cache: never NULL.
extern __thread struct hz4_tcache *hz4_tcache_current __attribute__((tls_model("initial-exec")));

// NULL when the bin is empty.
HZ4_INLINE void *hz4_tcache_pop(struct hz4_tcache *cache, size_t size_class) {
  void **top = cache->top[size_class];
  void *object = *top;
  HZ4_REGISTER(object);
  if (HZ4_LIKELY(object != NULL)) cache->top[size_class] = top - 1;
  return object;
}

// False when the bin is full.
HZ4_INLINE bool hz4_tcache_push(struct hz4_tcache *cache, size_t size_class, void *object) {
  void **top = cache->top[size_class];
  HZ4_REGISTER(size_class);
  if (HZ4_UNLIKELY(top == cache->limit[size_class])) return false;
  top[1] = object;
  cache->top[size_class] = top + 1;
  return true;
}

HZ4_INLINE bool hz4_tcache_is_real(const struct hz4_tcache *cache) {
  return cache != &hz4_tcache_none && cache != &hz4_tcache_ended;
}

// What all caches together may hold is divided by the number of threads: bytes each. Any thread may call it.
void hz4_tcache_set_budget(size_t bytes_per_thread);

// Empties and opens the cache for a thread that begins. pre: it is nobody's.
void hz4_tcache_open(struct hz4_tcache *cache);

// Gives up everything and closes the inboxes. Nothing stays behind, and nothing can arrive after.
void hz4_tcache_close(struct hz4_tcache *cache);

// In the child of a fork: what another thread's bins held is given up (their state was caught in mid-air; its memory
// is lost to the child); its inboxes, which are always whole, go to Mid.
void hz4_tcache_abandon(struct hz4_tcache *cache);

// An object of the class, when its bin is empty: from the inbox, a depot or spans. fresh false: opens no fresh span.
// NULL: none to be had (or fork is on).
void *hz4_tcache_refill(struct hz4_tcache *cache, uint32_t size_class, bool fresh);

// Moves what waits in `victim`'s inbox of the class into this cache. True when something did. pre: its bin is empty.
bool hz4_tcache_steal(struct hz4_tcache *cache, struct hz4_tcache *victim, uint32_t size_class);

// Takes an object into a full bin.
void hz4_tcache_overflow(struct hz4_tcache *cache, uint32_t size_class, void *object);

// Gives all objects in this cache's bins to Mid; all that waits in the victim's inboxes (it may be the same cache).
void hz4_tcache_trim(struct hz4_tcache *cache);
void hz4_tcache_empty_inboxes(struct hz4_tcache *cache, struct hz4_tcache *victim);

// Gives objects to Mid; while fork is on, to a holding place, which hz4_tcache_settle empties after it, and each later
// give. True when the class has ebbed since `*ebbs`, which is brought up to date.
bool hz4_tcache_give(struct hz4_counters *counters, uint32_t size_class, void *const *objects, uint32_t count,
                     uint8_t *ebbs);
void hz4_tcache_settle(void);

// By the owner of the cache. Aborts where an invariant is broken.
void hz4_tcache_check(const struct hz4_tcache *cache);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_TCACHE_H_
