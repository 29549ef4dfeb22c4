// The three-state futex mutex (U. Drepper, "Futexes Are Tricky", 2004, mutex 2) with a short spin and a fourth state for
// fork.
//
// state's acquire on taking pairs with its release on giving up, and publishes everything that the lock protects.
#include "hz4/lock.h"

#include <time.h>

#include "hz4/syscall.h"

// Linux's, whose headers not every libc brings along.
enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_PRIVATE_FLAG = 128 };

// FORKED is only ever set and cleared by fork; no waiter overwrites it.
enum { FREE = 0, TAKEN = 1, CONTENDED = 2, FORKED = 3 };

// This thread is the one that forks.
static __thread bool forking __attribute__((tls_model("initial-exec")));

// Debug builds: bit r is set while this thread holds a lock of rank r.
static __thread uint32_t held_ranks __attribute__((tls_model("initial-exec")));

static void note_acquired(const struct hz4_lock *lock) {
  if (!HZ4_DEBUG) return;
  if (held_ranks >> lock->rank != 0) hz4_assertion_failed("locks are taken in rising rank");
  held_ranks |= 1u << lock->rank;
}

static void note_released(const struct hz4_lock *lock) {
  if (HZ4_DEBUG) held_ranks &= ~(1u << lock->rank);
}

void hz4_lock_assert_held(const struct hz4_lock *lock) {
  HZ4_ASSERT((held_ranks >> lock->rank & 1) != 0);
}

static void futex(_Atomic(uint32_t) *word, int operation, uint32_t value, const struct timespec *timeout) {
  // One that fails means "look again".
  hz4_syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
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
  futex(&lock->state, FUTEX_WAIT, FORKED, &patience);
}

// Returns false only when `gated` and fork holds the lock.
//
// No sleeper misses fork's arrival: one that slept on CONTENDED is woken by hz4_lock_fork_acquire, which sets FORKED
// before it wakes; one that is about to sleep asks the kernel to check for CONTENDED, finds FORKED, and looks again.
static bool acquire_slow(struct hz4_lock *lock, bool gated) {
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
      if (forking || waited) return false;
      wait_for_fork(lock);
      waited = true;
    } else if (seen != TAKEN || hz4_cas_weak_relaxed(&lock->state, &seen, CONTENDED)) {
      futex(&lock->state, FUTEX_WAIT, seen == FORKED ? FORKED : CONTENDED, NULL);
    }
  }
}

bool hz4_lock_enter(struct hz4_lock *lock) {
  if (HZ4_UNLIKELY(!try_acquire(lock, TAKEN)) && !acquire_slow(lock, true)) return false;
  note_acquired(lock);
  return true;
}

void hz4_lock_acquire(struct hz4_lock *lock) {
  if (!try_acquire(lock, TAKEN)) acquire_slow(lock, false);
  note_acquired(lock);
}

void hz4_lock_release(struct hz4_lock *lock) {
  note_released(lock);
  if (hz4_exchange_release(&lock->state, FREE) == CONTENDED) futex(&lock->state, FUTEX_WAKE, 1, NULL);
}

void hz4_lock_fork_begin(void) {
  forking = true;
}

void hz4_lock_fork_end(void) {
  forking = false;
}

void hz4_lock_fork_acquire(struct hz4_lock *lock) {
  if (!try_acquire(lock, TAKEN)) acquire_slow(lock, false);
  hz4_store_relaxed(&lock->state, FORKED);
  futex(&lock->state, FUTEX_WAKE, INT32_MAX, NULL);
}

void hz4_lock_fork_release(struct hz4_lock *lock) {
  hz4_exchange_release(&lock->state, FREE);
  futex(&lock->state, FUTEX_WAKE, INT32_MAX, NULL);
}

void hz4_lock_fork_reset(struct hz4_lock *lock) {
  hz4_store_relaxed(&lock->state, FREE);
}
