// Rank 6. Caches, as memory: for each size class a bin, an array of object pointers; who may touch it; and the list of all.
//
// A cache belongs to a CPU, or to a thread where sequences are not to be had. Any thread may come to any CPU's: so a
// bin's array is changed only by sequences (sequence.h), and by who has claimed the bin.
//
// A claim takes a bin away from everybody, wherever its holder goes on: others find it empty and full, and go to Mid with
// one object. So it is for copying pointers only, and ends by one store, which publishes the bin; nobody waits for a lock or
// for the system meanwhile. (But who has claimed several remotely gives one bin's objects to Mid while he has the others:
// fork waits for claims before it takes a lock, and so the child has what they hold.)
// Remotely, where sequences of other CPUs may be running: a mark goes in place of the top, and then the kernel restarts
// all sequences. Who had read the top before has committed over the mark by now, or finds it when he begins anew. Where
// the mark still stands, the bin is claimed.
#ifndef HZ4_BIN_H_
#define HZ4_BIN_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/counter.h"
#include "hz4/inbox.h"
#include "hz4/sequence.h"

HZ4_BEGIN_DECLS

// By who has claimed the bin.
struct hz4_bin {
  void **slots;       // NULL: no array; anybody may peek. NULL in the first slot, and in that above `capacity` objects; in none between
  uint16_t capacity;  // objects it may hold
  uint16_t spilled;   // objects that left it since it grew, or since a miss while `alone`; 1 also where it was found full
  uint8_t refill;     // objects that the next refill asks for: doubles, so that who needs one gets one
  uint8_t length_log2 : 4;  // of the slots in the array
  uint8_t swings : 4;  // misses after something had left, while nobody else came to the class; up to HZ4_BIN_SWINGS
  uint8_t declines;         // Mid's count of declines, as last heard
  uint8_t one_way : 5;  // misses or overflows, of one kind only, since it grew beyond its first bytes, or could have
  bool missed : 1;      // found empty since it grew
  bool active : 1;      // found empty or full since the last look for a bin to shrink
  bool alone : 1;       // nobody else came to the class lately, as Mid had it at the last refill
};

// Which allocations are samples (sample.h). Of the threads of a CPU, who may interrupt each other: a count may be lost.
struct hz4_sampler {
  _Atomic(int64_t) left;    // bytes until the next look: below 0 it is due
  _Atomic(int64_t) beyond;  // bytes from there to the next sample
  _Atomic(uint32_t) epoch;  // that they were drawn in; 0: none
  _Atomic(uint32_t) doublings, samples;  // of the mean; since the clock was looked at, which said:
  _Atomic(uint64_t) then_ns;
  _Atomic(size_t) mean;      // that they were drawn with
  _Atomic(uint64_t) random;  // the state of a generator; 0: not seeded yet
};

// All zero, and HZ4_CACHE_ZEROS of zeros before it: a cache without arrays, ready for use.
struct hz4_tcache {
  void *nothing;  // what HZ4_TOP_NONE leads to: NULL for ever
  // by sequences, and by who has claimed the bin
  _Atomic(uintptr_t) top[HZ4_CLASS_SLOTS];
  // by who has claimed the bin
  _Atomic(uintptr_t) limit[HZ4_CLASS_SLOTS];  // as top, of the last slot that may be used
  struct hz4_bin bins[HZ4_CLASS_SLOTS];
  struct hz4_sampler sampler;
  uint64_t random;  // the state of a generator, with HZ4_HARDEN: of the threads of a CPU, as above
  // constant once listed
  struct hz4_tcache *next_listed;
  _Atomic(uint32_t) number;  // of the caches, in the order in which they were listed
  // shared
  _Atomic(uint32_t) shrink_cursor;
  _Atomic(uint32_t) denied;  // times that a bin could not grow
  _Atomic(uint32_t) listed;  // 1 or 0: of a byte not every machine has more than loads and stores
  _Atomic(bool) visited;           // written first of all: a page that is read first costs more
  _Atomic(bool) sent_to;           // batches came to its inboxes, at any time
  _Atomic(size_t) capacity_bytes;  // sum over bins of what they may hold
  _Atomic(uint32_t) large_bins;    // that may hold more than usual
  struct hz4_inbox spare;          // empty batches
  // under the lock of the list of threads
  bool attached;
  struct hz4_tcache *next_idle;
  struct hz4_area area;  // the stand-in, where the cache is a thread's
  // by sequences; read by anybody
  struct hz4_counters counters;
  // shared
  _Atomic(uint64_t) inbox_stash_max;  // most objects found waiting at once
  struct hz4_inbox inbox[HZ4_CLASS_SLOTS];
} __attribute__((aligned(HZ4_CACHE_LINE)));

// Where a thread begins: it has no cache. (Also where one ends, or lends its memory to a child of vfork.)
extern struct hz4_area hz4_no_area;
// Counts what is done without a cache. Its bins never have arrays.
extern struct hz4_own_cache {
  char zeros[HZ4_CACHE_ZEROS];
  struct hz4_tcache cache;
} hz4_no_cache;

HZ4_INLINE bool hz4_is_attached(void) {
  return hz4_front.area != &hz4_no_area;
}

// The cache that this thread is at, which may change at any instant; NULL: it has none.
HZ4_INLINE struct hz4_tcache *hz4_cache_here(void) {
  return hz4_is_attached() ? (struct hz4_tcache *)hz4_sequence_cache() : NULL;
}

// Whether the cache is a thread's.
HZ4_INLINE bool hz4_cache_is_own(const struct hz4_tcache *cache) {
  return cache->area.id == HZ4_AREA_NO_ID;
}

// Attaches the thread to the cache, as its own; NULL: to none. pre: it has no claim.
void hz4_cache_attach_own(struct hz4_tcache *cache);

// All caches that ever had an array, and all threads' own, newest first; follow next_listed.
struct hz4_tcache *hz4_cache_list(void);
// Adds the cache, once. Any thread, any number of times.
void hz4_cache_enlist(struct hz4_tcache *cache);
uint32_t hz4_cache_count(void);

// Counts where this thread is: in its cache, by a sequence, or with others who have none.
void hz4_count_here(uint32_t size_class, enum hz4_counter id, uint64_t n);

// ---- claims ----

// A bin that this thread has claimed.
struct hz4_held {
  struct hz4_tcache *cache;
  struct hz4_bin *bin;
  void **top;  // the newest object, or the NULL below the first; NULL: no array
  uint32_t size_class;
  uint32_t word;  // where it is counted
};

// Claims the bin of the cache that this thread is at. False: somebody else has it, or fork waits for all claims to end.
// pre: attached.
bool hz4_bin_claim(uint32_t size_class, struct hz4_held *held);

// Ends the claim.
void hz4_bin_publish(struct hz4_held *held);

// Claims bins of a CPU's cache remotely, those that have arrays: of the classes from *next on, up to HZ4_REMOTE_BINS of them;
// *next is where to go on, HZ4_CLASS_SLOTS at the end. Returns the number claimed. None are where fork is on, or the kernel
// will not. pre: the thread holds no lock.
uint32_t hz4_bin_claim_remote(struct hz4_tcache *cache, uint32_t *next, struct hz4_held *held);

// fork: from begin to parent or child nobody claims a bin, and none is marked as claimed; begin waits for all claims but
// this thread's own: then it forks in a signal's handler.
void hz4_bin_fork_begin(void);
void hz4_bin_fork_parent(void);
void hz4_bin_fork_child(void);

// ---- what who has claimed a bin does ----

HZ4_INLINE uint32_t hz4_bin_objects(const struct hz4_held *held) {
  return held->top == NULL ? 0 : (uint32_t)(held->top - held->bin->slots);
}

// Slots in the bin's array.
HZ4_INLINE uint32_t hz4_bin_length(const struct hz4_bin *bin) {
  return bin->slots == NULL ? 0 : 1u << bin->length_log2;
}

// How many objects the bin held a moment ago, for any thread. 0: none, or somebody works on it.
uint32_t hz4_bin_objects_lately(struct hz4_tcache *cache, uint32_t size_class);

// An array for a bin, of `length` slots, a power of two. NULL: no memory.
void **hz4_bin_new_array(uint32_t length);
void hz4_bin_free_array(void **slots, uint32_t length);

// Moves the bin into a longer array. Returns the old one, or NULL.
void **hz4_bin_set_array(struct hz4_held *held, void **slots, uint32_t length);

// How many objects a bin may hold; a larger one has who is alone.
uint32_t hz4_bin_usual_capacity(uint32_t size_class);

// pre: it has an array that is long enough, and no more objects.
void hz4_bin_set_capacity(struct hz4_held *held, uint32_t objects);

// Puts objects on top as far as they fit, the last ones, the very last on top. Returns how many did not fit, the first.
uint32_t hz4_bin_put(struct hz4_held *held, void *const *objects, uint32_t count);

// Takes objects until `keep` are left, or HZ4_MOVE_OBJECTS: the oldest; but where they are few of many, those below the
// newest quarter, for all above what is taken are moved. Returns their number.
uint32_t hz4_bin_take(struct hz4_held *held, uint32_t keep, void **out);

// Takes all: the bin is left without an array, and published. *length is that of the array, *count of the objects from its
// second slot on. NULL: it had none.
void **hz4_bin_take_array(struct hz4_held *held, uint32_t *length, uint32_t *count);

// The invariant of the bin that is broken, or NULL.
const char *hz4_bin_broken(const struct hz4_held *held);

HZ4_END_DECLS

#endif  // HZ4_BIN_H_
