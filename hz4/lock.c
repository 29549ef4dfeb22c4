// The three-state futex mutex (U. Drepper, "Futexes Are Tricky", 2004, mutex 2) with a short spin and a fourth state for
// fork.
//
// state's acquire on taking pairs with its release on giving up, and publishes everything that the lock protects.
#include "hz4/lock.h"

#include <time.h>

#include "hz4/self.h"
#include "hz4/syscall.h"

// FORKED is only ever set and cleared by fork; no waiter overwrites it.
enum { FREE = 0, TAKEN = 1, CONTENDED = 2, FORKED = 3 };

// Debug builds: bit r is set while this thread holds a lock of rank r.
static __thread uint32_t held_ranks __attribute__((tls_model("initial-exec")));

// With --config=stats: the longest times of each rank, and since when this thread holds a lock of it.
static _Atomic(uint64_t) longest_held[HZ4_RANK_TEST + 1], longest_waited[HZ4_RANK_TEST + 1];
static __thread uint64_t held_since[HZ4_RANK_TEST + 1] __attribute__((tls_model("initial-exec")));

static void note_time(_Atomic(uint64_t) *longest, uint64_t since) {
  uint64_t ns = hz4_clock_ns(CLOCK_MONOTONIC) - since, most = hz4_load_relaxed(longest);
  while (ns > most && !hz4_cas_weak_relaxed(longest, &most, ns)) continue;
}

struct hz4_lock_times hz4_lock_longest(enum hz4_lock_rank rank) {
  if (!HZ4_STATS_FAST) return (struct hz4_lock_times){0};
  return (struct hz4_lock_times){hz4_load_relaxed(&longest_held[rank]), hz4_load_relaxed(&longest_waited[rank])};
}

static void note_acquired(const struct hz4_lock *lock) {
  if (HZ4_STATS_FAST && !hz4_self.hurried) held_since[lock->rank] = hz4_clock_ns(CLOCK_MONOTONIC);
  // Who does not wait may take locks in any order, and the handler of a signal may fork wherever its thread is.
  if (!HZ4_DEBUG || hz4_self.hurried || lock->rank == HZ4_RANK_FORK) return;
  uint32_t taken = held_ranks | (hz4_self.left != NULL ? 1u << hz4_self.left->lock->rank : 0);
  if (taken >> lock->rank != 0) hz4_assertion_failed("locks are taken in rising rank");
  held_ranks |= 1u << lock->rank;
}

static void note_released(const struct hz4_lock *lock) {
  if (HZ4_STATS_FAST && !hz4_self.hurried) note_time(&longest_held[lock->rank], held_since[lock->rank]);
  if (HZ4_DEBUG && !hz4_self.hurried) held_ranks &= ~(1u << lock->rank);
}

void hz4_lock_assert_held(const struct hz4_lock *lock) {
  HZ4_ASSERT(hz4_self.hurried || (held_ranks >> lock->rank & 1) != 0);
}

void hz4_lock_assert_none_held(void) {
  if (HZ4_DEBUG && (held_ranks & ~HZ4_RANKS_OVER_CALLS) != 0) hz4_assertion_failed("no lock is held over a system call");
}

static void futex(_Atomic(uint32_t) *word, int operation, uint32_t value, const struct timespec *timeout) {
  // One that fails means "look again".
  hz4_syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static bool try_acquire(struct hz4_lock *lock, uint32_t taken) {
  uint32_t expected = FREE;
  return hz4_cas_strong_acquire(&lock->state, &expected, taken);
}

// Fork holds the lock, and mostly for a moment only: so wait for a moment, or until it is over.
static void wait_for_fork(struct hz4_lock *lock) {
  const struct timespec patience = {.tv_nsec = HZ4_LOCK_FORK_PATIENCE_NS};
  futex(&lock->state, HZ4_FUTEX_WAIT, FORKED, &patience);
}

// Returns false only when `gated` and fork holds the lock.
//
// No sleeper misses fork's arrival: one that slept on CONTENDED is woken by hz4_lock_fork_acquire, which sets FORKED
// before it wakes; one that is about to sleep asks the kernel to check for CONTENDED, finds FORKED, and looks again.
static bool wait_for(struct hz4_lock *lock, bool gated) {
  for (int i = 0; i < HZ4_LOCK_SPINS; ++i) {
    if (hz4_load_relaxed(&lock->state) == FREE && try_acquire(lock, TAKEN)) return true;
    relax();
  }
  bool waited = false;
  for (;;) {
    uint32_t seen = hz4_load_relaxed(&lock->state);
    if (seen == FREE) {
      // CONTENDED, not TAKEN: others may sleep, and the one wake of the last release came to this thread.
      if (try_acquire(lock, CONTENDED)) return true;
    } else if (seen == FORKED && gated) {
      if (hz4_self.forking || waited) return false;
      wait_for_fork(lock);
      waited = true;
    } else if (seen != TAKEN || hz4_cas_weak_relaxed(&lock->state, &seen, CONTENDED)) {
      futex(&lock->state, HZ4_FUTEX_WAIT, seen == FORKED ? FORKED : CONTENDED, NULL);
    }
  }
}

static bool acquire_slow(struct hz4_lock *lock, bool gated) {
  uint64_t since = HZ4_STATS_FAST ? hz4_clock_ns(CLOCK_MONOTONIC) : 0;
  bool acquired = wait_for(lock, gated);
  if (HZ4_STATS_FAST) note_time(&longest_waited[lock->rank], since);
  return acquired;
}

bool hz4_lock_enter(struct hz4_lock *lock) {
  if (HZ4_UNLIKELY(!try_acquire(lock, TAKEN)) && (hz4_self.hurried || !acquire_slow(lock, true))) {
    ++hz4_self.refusals;
    return false;
  }
  note_acquired(lock);
  return true;
}

uint32_t hz4_lock_refusals(void) {
  return hz4_self.refusals;
}

uint32_t hz4_lock_hurry_begin(void) {
  HZ4_ASSERT(!hz4_self.hurried);
  hz4_self.hurried = true;
  return hz4_self.refusals;
}

bool hz4_lock_hurry_end(uint32_t begun) {
  bool none = hz4_self.refusals == begun;
  hz4_self.refusals = begun;
  hz4_self.hurried = false;
  return none;
}

void hz4_lock_acquire(struct hz4_lock *lock) {
  if (!try_acquire(lock, TAKEN)) acquire_slow(lock, false);
  note_acquired(lock);
}

static void release(struct hz4_lock *lock) {
  if (hz4_exchange_release(&lock->state, FREE) == CONTENDED) futex(&lock->state, HZ4_FUTEX_WAKE, 1, NULL);
}

void hz4_lock_release(struct hz4_lock *lock) {
  note_released(lock);
  release(lock);
}

void hz4_lock_leave(struct hz4_lock *lock, struct hz4_away *away) {
  hz4_lock_assert_held(lock);
  hz4_store_relaxed(&lock->away, hz4_load_relaxed(&lock->away) + 1);
  *away = (struct hz4_away){lock, hz4_self.left};
  *(struct hz4_away *volatile *)&hz4_self.left = away;
  hz4_lock_release(lock);
}

void hz4_lock_return(struct hz4_away *away) {
  struct hz4_lock *lock = away->lock;
  if (!try_acquire(lock, TAKEN)) acquire_slow(lock, false);
  *(struct hz4_away *volatile *)&hz4_self.left = away->outer;
  hz4_store_relaxed(&lock->away, hz4_load_relaxed(&lock->away) - 1);
  note_acquired(lock);
}

// How often this thread is away from the lock: once, or not at all.
static uint32_t own_away(const struct hz4_lock *lock) {
  const struct hz4_away *away = hz4_self.left;
  while (away != NULL && away->lock != lock) away = away->outer;
  return away != NULL;
}

void hz4_lock_fork_begin(void) {
  hz4_self.forking = true;
}

void hz4_lock_fork_end(void) {
  hz4_self.forking = false;
}

// Who is away makes one system call or a few, and waits for no lock that fork holds yet. Between the calls of others there
// is time enough: they touch what they have mapped, and only few purge at a time.
void hz4_lock_fork_acquire(struct hz4_lock *lock) {
  for (;;) {
    if (!try_acquire(lock, TAKEN)) acquire_slow(lock, false);
    if (hz4_load_relaxed(&lock->away) == own_away(lock)) break;
    release(lock);
    while (hz4_load_relaxed(&lock->away) > own_away(lock)) hz4_yield();
  }
  hz4_store_relaxed(&lock->state, FORKED);
  futex(&lock->state, HZ4_FUTEX_WAKE, INT32_MAX, NULL);
}

void hz4_lock_fork_release(struct hz4_lock *lock) {
  hz4_exchange_release(&lock->state, FREE);
  futex(&lock->state, HZ4_FUTEX_WAKE, INT32_MAX, NULL);
}

void hz4_lock_fork_reset(struct hz4_lock *lock) {
  hz4_store_relaxed(&lock->state, FREE);
}
