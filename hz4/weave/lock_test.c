// lock: what it protects is seen by the next holder, no wake is lost, and whoever fork makes wait is let go.
#include "hz4/lock.h"

#include <sched.h>

#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

static struct hz4_lock lock = HZ4_LOCK_INIT(HZ4_RANK_MID), inner = HZ4_LOCK_INIT(HZ4_RANK_META);
static struct hz4_lock fork_lock = HZ4_LOCK_INIT(HZ4_RANK_FORK);
static unsigned payload, held;  // under lock
static _Atomic(unsigned) done, refused;

static void use(void) {
  weave_check(held == 0);
  held = 1;
  ++payload;
  held = 0;
  hz4_fetch_add_relaxed(&done, 1);
}
static bool enter_and_use(void) {
  if (!hz4_lock_enter(&lock)) {
    hz4_fetch_add_relaxed(&refused, 1);
    return false;
  }
  use();
  hz4_lock_release(&lock);
  return true;
}
static void enter(void) {
  enter_and_use();
}
static void enter_once(void) {
  weave_check(enter_and_use());
}
static void acquire(void) {
  hz4_lock_acquire(&lock);
  use();
  hz4_lock_release(&lock);
}
static void nothing_is_lost(void) {
  weave_check(payload == hz4_load_relaxed(&done) && held == 0);
  // It is free.
  weave_check(hz4_lock_enter(&lock));
  hz4_lock_release(&lock);
}

// ---- fork ----

static void fork_once(void) {
  hz4_lock_acquire(&fork_lock);
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&lock);
  use();
  hz4_lock_fork_release(&lock);
  hz4_lock_release(&fork_lock);
  hz4_lock_fork_end();
}

// In the child there is but one thread.
static void fork_child(void) {
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&lock);
  hz4_lock_fork_reset(&lock);
  hz4_lock_fork_end();
}

// libc's list of streams: fork takes it while it holds hz4's locks, and others while they wait for memory.
static _Atomic(unsigned) libc_lock;

static void libc_acquire(void) {
  unsigned expected = 0;
  while (!hz4_cas_strong_acquire(&libc_lock, &expected, 1)) {
    expected = 0;
    sched_yield();
  }
}
static void libc_release(void) {
  hz4_store_release(&libc_lock, 0);
}
static void enter_within_libc(void) {
  libc_acquire();
  enter_and_use();
  libc_release();
}
static void fork_with_libc(void) {
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&lock);
  libc_acquire();
  use();
  libc_release();
  hz4_lock_fork_release(&lock);
  hz4_lock_fork_end();
}

// A second lock, taken while the first is held, never gives up.
static void enter_both(void) {
  if (!hz4_lock_enter(&lock)) return;
  weave_check(hz4_lock_enter(&inner));
  use();
  hz4_lock_release(&inner);
  hz4_lock_release(&lock);
}
static void fork_both(void) {
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&lock);
  hz4_lock_fork_acquire(&inner);
  use();
  hz4_lock_fork_release(&inner);
  hz4_lock_fork_release(&lock);
  hz4_lock_fork_end();
}

// ---- leaving the lock for a system call ----

static unsigned claimed;  // under lock: what those who are away will put back

static void claim_and_call(void) {
  if (!hz4_lock_enter(&lock)) return;
  use();
  ++claimed;
  struct hz4_away away;
  hz4_lock_leave(&lock, &away);
  hz4_lock_return(&away);
  weave_check(claimed != 0);
  --claimed;
  hz4_lock_release(&lock);
}
// A lock of higher rank meanwhile: that of a lower layer.
static void claim_and_go_deeper(void) {
  if (!hz4_lock_enter(&lock)) return;
  ++claimed;
  struct hz4_away away;
  hz4_lock_leave(&lock, &away);
  weave_check(hz4_lock_enter(&inner));
  hz4_lock_release(&inner);
  hz4_lock_return(&away);
  use();
  --claimed;
  hz4_lock_release(&lock);
}
static void fork_finds_nothing_claimed(void) {
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&lock);
  weave_check(claimed == 0);
  hz4_lock_fork_acquire(&inner);
  use();
  hz4_lock_fork_release(&inner);
  hz4_lock_fork_release(&lock);
  hz4_lock_fork_end();
}

const struct weave_scenario weave_scenarios[] = {
    {"two enter", NULL, {enter_once, enter_once}, nothing_is_lost, ALL, false},
    {"after a fork, in the child", fork_child, {enter_once}, nothing_is_lost, ALL, false},
    {"one enters, one forks", NULL, {enter, fork_once}, nothing_is_lost, ALL, false},
    {"one waits as long as it takes, one forks", NULL, {acquire, fork_once}, nothing_is_lost, ALL, false},
    {"two fork", NULL, {fork_once, fork_once}, nothing_is_lost, ALL, false},
    {"inner locks", NULL, {enter_both, fork_both}, nothing_is_lost, ALL, false},
    {"one is away, one enters", NULL, {claim_and_call, enter_once}, nothing_is_lost, ALL, false},
    {"two are away", NULL, {claim_and_call, claim_and_call}, nothing_is_lost, 3, 1, false},
    {"one is away, one forks", NULL, {claim_and_call, fork_finds_nothing_claimed}, nothing_is_lost, ALL, false},
    {"one is away in a lower layer, one forks", NULL, {claim_and_go_deeper, fork_finds_nothing_claimed}, nothing_is_lost,
     4, 1, false},
    {"one is away, one enters, one forks", NULL, {claim_and_call, enter, fork_finds_nothing_claimed}, nothing_is_lost, 2,
     1, false},
    {"fork waits for one who waits for memory", NULL, {enter_within_libc, fork_with_libc}, nothing_is_lost, ALL, false},
    {"fork waits, and one more", NULL, {enter_within_libc, acquire, fork_with_libc}, nothing_is_lost, 2, 1, false},
    {"three enter", NULL, {enter_once, enter_once, enter_once}, nothing_is_lost, 3, 1, false},
    {"two enter, one forks", NULL, {enter, enter, fork_once}, nothing_is_lost, 2, 1, false},
    {0},
};
