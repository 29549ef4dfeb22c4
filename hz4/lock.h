// Rank 1. A ranked futex lock, and the gate that keeps fork from deadlocking.
//
// Ranks: a thread takes locks in rising rank only (checked in debug builds). Locks of one rank are never held together,
// except by fork, which takes all of them in a fixed order.
//
// The fork gate. fork must copy a consistent heap, so the forking thread holds every hz4 lock across it. Inside fork
// glibc takes locks of its own (stdio's list, the name service's), whose holders may be waiting for memory. So no
// thread waits for long for a lock that fork holds: after a moment hz4_lock_enter gives up, and its caller falls back
// to a way without locks: a mapping of its own for malloc, a holding place for free. It waits that moment each time, so
// that while a fork is held up the others come on slowly, and not with mappings by the thousand. Only a thread that
// holds no hz4 lock can meet a lock of fork's: fork takes them in rank order, so while anybody holds a lock of a lower
// rank, fork has not come to the higher ones. Inner acquisitions therefore never give up.
//
// System calls. No lock is held over one. Who has to make one in the middle of a change marks what it is about as taken,
// leaves the lock, calls, returns, and puts back what it took: others may have the lock meanwhile. Fork may not: it waits
// until nobody is away. So for fork a lock that was left is a lock that is held: the child finds nothing half done, and
// neither hz4_lock_return nor an inner acquisition meanwhile ever gives up. Only where the handler of a signal forks, and its
// own thread is away, fork does not wait for that one: both sides return from the call, and put back what was taken.
#ifndef HZ4_LOCK_H_
#define HZ4_LOCK_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

enum hz4_lock_rank {
  HZ4_RANK_FORK = 1,  // one fork at a time
  HZ4_RANK_THREADS,   // the list of idle caches
  HZ4_RANK_REMOTE,    // remote claims
  HZ4_RANK_MID,       // one per shard and size class
  HZ4_RANK_LARGE,     // cached mappings
  HZ4_RANK_SEGMENT,   // segments and page runs, one per shard
  HZ4_RANK_META,      // metadata blocks
  HZ4_RANK_TEST,
};

// Ranks that still are held over system calls.
#define HZ4_RANKS_OVER_CALLS (1u << HZ4_RANK_THREADS)

struct hz4_lock {
  _Atomic(uint32_t) state;  // free, taken, taken and somebody may sleep, taken by fork
  uint8_t rank;
  _Atomic(uint32_t) away;  // threads that have left it and will return; changes under the lock
};

#define HZ4_LOCK_INIT(r) {.rank = (r)}

// True with the lock held; false when fork holds it: at once for the thread that forks, for others after a wait of
// HZ4_LOCK_FORK_PATIENCE_NS. False only where the thread holds none.
bool hz4_lock_enter(struct hz4_lock *lock);

// Waits for as long as it takes. Only for the fork lock itself, for threads that come and go, and for tests.
void hz4_lock_acquire(struct hz4_lock *lock);

void hz4_lock_release(struct hz4_lock *lock);

// How often hz4_lock_enter was false for this thread: so it can be told whether what failed, failed because of fork.
uint32_t hz4_lock_refusals(void);

// For a signal's handler, which may have interrupted who has a lock: until the end hz4_lock_enter waits for nobody, and is
// false where the lock is not free. End: whether it never was.
uint32_t hz4_lock_hurry_begin(void);
bool hz4_lock_hurry_end(uint32_t begun);  // what begin returned

// A lock that this thread has left: on its stack, until it returns.
struct hz4_away {
  struct hz4_lock *lock;
  struct hz4_away *outer;  // one of lower rank
};

// For a system call. In between, the thread may take locks of higher rank only. Return waits for others, not for fork.
// pre: the lock is held; afterwards it is again.
void hz4_lock_leave(struct hz4_lock *lock, struct hz4_away *away);
void hz4_lock_return(struct hz4_away *away);

// The longest that one of this rank was held, but not by fork, and that somebody waited for one. Only with --config=stats;
// else 0.
struct hz4_lock_times {
  uint64_t held_ns, waited_ns;
};
struct hz4_lock_times hz4_lock_longest(enum hz4_lock_rank rank);

// Debug builds: aborts unless this thread holds a lock of this rank.
void hz4_lock_assert_held(const struct hz4_lock *lock);

// Debug builds: aborts if this thread holds a lock that is none of HZ4_RANKS_OVER_CALLS. (What fork holds is not counted.)
void hz4_lock_assert_none_held(void);

// Called by the forking thread before the first hz4_lock_fork_acquire of a fork, and after the last lock is given up,
// in the child as well: in between it does not wait in hz4_lock_enter.
void hz4_lock_fork_begin(void);
void hz4_lock_fork_end(void);

// fork's own acquisition of a lock: waits, also for who is away, and may hold several of one rank.
void hz4_lock_fork_acquire(struct hz4_lock *lock);
void hz4_lock_fork_release(struct hz4_lock *lock);
// In the child no other thread exists: the lock is simply free again.
void hz4_lock_fork_reset(struct hz4_lock *lock);

HZ4_END_DECLS

#endif  // HZ4_LOCK_H_
