// lock: mutual exclusion, the fork gate for threads that sleep already and for those that come later, and the ranks.
//
// A thread that is never woken hangs its test: there is nothing to time.
#include "hz4/lock.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "hz4/config.h"

namespace {

constexpr int kErrno = 4321;  // no call sets it

struct Lock : hz4_lock {
  explicit Lock(hz4_lock_rank of_rank) {
    state = 0;
    away = 0;
    rank = static_cast<uint8_t>(of_rank);
  }
};

void JoinAll(std::vector<std::thread> &threads) {
  for (std::thread &thread : threads) thread.join();
}

// As a handler does that has interrupted whoever has some of the locks.
TEST(Lock, WhoIsInAHurryWaitsForNobody) {
  Lock low(HZ4_RANK_MID), high(HZ4_RANK_TEST);
  const uint32_t refusals = hz4_lock_refusals();
  hz4_lock_acquire(&high);
  uint32_t begun = hz4_lock_hurry_begin();
  EXPECT_FALSE(hz4_lock_enter(&high)) << "its own";
  ASSERT_TRUE(hz4_lock_enter(&low)) << "free: whatever its rank";
  EXPECT_FALSE(hz4_lock_enter(&low));
  hz4_lock_release(&low);
  EXPECT_FALSE(hz4_lock_hurry_end(begun)) << "it has been in vain";
  hz4_lock_assert_held(&high);
  hz4_lock_release(&high);
  begun = hz4_lock_hurry_begin();
  ASSERT_TRUE(hz4_lock_enter(&high));
  hz4_lock_release(&high);
  EXPECT_TRUE(hz4_lock_hurry_end(begun));
  EXPECT_EQ(hz4_lock_refusals(), refusals) << "these are fork's";
  ASSERT_TRUE(hz4_lock_enter(&low));
  ASSERT_TRUE(hz4_lock_enter(&high));
  hz4_lock_release(&high);
  hz4_lock_release(&low);
}

TEST(Lock, OneThreadAtATime) {
  Lock lock(HZ4_RANK_TEST);
  const uint32_t free_state = lock.state;
  constexpr int kThreads = 4, kRounds = 50000;
  int inside = 0, total = 0;  // plain: the lock is what makes them safe
  std::atomic<int> violations{0}, lost_errno{0}, turned_away{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      errno = kErrno;
      for (int i = 0; i < kRounds; ++i) {
        if ((i + t) % 2 == 0) hz4_lock_acquire(&lock);
        else if (!hz4_lock_enter(&lock)) ++turned_away;
        if (++inside != 1 || lock.state == free_state) ++violations;
        // Now and then long enough for the others to spin out and sleep.
        if (i % 1000 == 0) sched_yield();
        ++total;
        --inside;
        hz4_lock_release(&lock);
        if (errno != kErrno) ++lost_errno;
      }
    });
  }
  JoinAll(threads);
  EXPECT_EQ(turned_away.load(), 0) << "enter gave up though nobody forks";
  EXPECT_EQ(violations.load(), 0);
  EXPECT_EQ(total, kThreads * kRounds);
  EXPECT_EQ(lost_errno.load(), 0);
}

TEST(Lock, ReleaseWakesASleeper) {
  Lock lock(HZ4_RANK_TEST);
  const uint32_t free_state = lock.state;
  hz4_lock_acquire(&lock);
  const uint32_t taken_state = lock.state;
  EXPECT_NE(taken_state, free_state);
  int value = 0;
  std::thread sleeper([&] {
    EXPECT_TRUE(hz4_lock_enter(&lock));
    EXPECT_EQ(value, 1);
    hz4_lock_release(&lock);
  });
  // The waiter says that it is about to sleep by changing the state.
  while (lock.state == taken_state) sched_yield();
  value = 1;
  hz4_lock_release(&lock);
  sleeper.join();
  EXPECT_EQ(lock.state.load(), free_state);
}

// The beginning and the end of a fork, as far as one lock is concerned.
void ForkAcquire(hz4_lock *lock) {
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(lock);
}
void ForkRelease(hz4_lock *lock) {
  hz4_lock_fork_release(lock);
  hz4_lock_fork_end();
}

// Counted with --config=stats: who waits waits for as long as the lock is held from then on.
TEST(Lock, LongestTimes) {
  Lock lock(HZ4_RANK_TEST);
  const auto now = [] { return std::chrono::steady_clock::now(); };
  hz4_lock_acquire(&lock);
  const uint32_t taken_state = lock.state;
  const auto begun = now();
  std::thread waiter([&] {
    hz4_lock_acquire(&lock);
    hz4_lock_release(&lock);
  });
  while (lock.state == taken_state) sched_yield();  // the waiter is about to sleep
  const auto asleep = now();
  while (now() - asleep < std::chrono::milliseconds(1)) continue;
  const auto ended = now();
  hz4_lock_release(&lock);
  waiter.join();
  const hz4_lock_times longest = hz4_lock_longest(HZ4_RANK_TEST);
  if (HZ4_STATS_FAST == 0) {
    EXPECT_EQ(longest.held_ns + longest.waited_ns, 0u);
    return;
  }
  const auto ns = [](auto time) { return static_cast<uint64_t>(std::chrono::nanoseconds(time).count()); };
  EXPECT_GE(longest.held_ns, ns(ended - begun));
  EXPECT_GE(longest.waited_ns, ns(ended - asleep));
}

// How often this thread has slept.
long Sleeps() {
  rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

TEST(ForkGate, EnterGivesUpAndReleaseOpensAgain) {
  Lock lock(HZ4_RANK_TEST);
  ForkAcquire(&lock);
  errno = kErrno;
  EXPECT_FALSE(hz4_lock_enter(&lock)) << "the thread that forks is itself turned away";
  std::thread([&] {
    errno = kErrno;
    EXPECT_FALSE(hz4_lock_enter(&lock)) << "after a moment";
    EXPECT_EQ(errno, kErrno);
  }).join();
  ForkRelease(&lock);
  EXPECT_TRUE(hz4_lock_enter(&lock));
  hz4_lock_release(&lock);
  EXPECT_EQ(errno, kErrno);
}

// The thread that forks holds all locks itself, so it must not wait for them, not even for a moment: it does not sleep.
TEST(ForkGate, TheForkingThreadIsTurnedAwayAtOnce) {
  Lock lock(HZ4_RANK_TEST);
  long least = 20;  // of three rounds: where memory is short, code that is read again is a sleep too
  for (int round = 0; round < 3; ++round) {
    ForkAcquire(&lock);
    const long before = Sleeps();
    for (int i = 0; i < 20; ++i) EXPECT_FALSE(hz4_lock_enter(&lock));
    least = std::min(least, Sleeps() - before);
    ForkRelease(&lock);
  }
  EXPECT_EQ(least, 0);
}

// Others come on slowly: when a fork is held up, each of their mallocs is a mapping.
TEST(ForkGate, OthersWaitEachTime) {
  Lock lock(HZ4_RANK_TEST);
  ForkAcquire(&lock);
  std::thread([&] {
    // By the clock: who is not on a CPU when his time is up has not slept, as the kernel counts it.
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i) EXPECT_FALSE(hz4_lock_enter(&lock));
    EXPECT_GE(std::chrono::steady_clock::now() - before, 20 * std::chrono::nanoseconds(HZ4_LOCK_FORK_PATIENCE_NS));
  }).join();
  ForkRelease(&lock);
}

// The holder lets go only when a waiter has announced its sleep. From then on every waiter takes the lock again and
// again until it is turned away; so fork always finds some asleep, and all have to come back while fork still holds.
TEST(ForkGate, SleepersAreTurnedAway) {
  for (int round = 0; round < 60; ++round) {
    Lock lock(HZ4_RANK_TEST);
    hz4_lock_acquire(&lock);
    const uint32_t taken_state = lock.state;
    std::vector<std::thread> waiters;
    int inside = 0;
    std::atomic<int> turned_away{0}, violations{0};
    for (int i = 0; i < 3; ++i) {
      waiters.emplace_back([&] {
        while (hz4_lock_enter(&lock)) {
          if (++inside != 1) ++violations;
          sched_yield();
          --inside;
          hz4_lock_release(&lock);
          sched_yield();  // so that on a busy machine whoever gets a CPU does not always find the lock taken
        }
        ++turned_away;
      });
    }
    while (lock.state == taken_state) sched_yield();
    std::promise<void> all_back;  // without spinning, which on a busy machine would keep them from coming back
    std::thread forker([&] {
      ForkAcquire(&lock);
      if (inside != 0) ++violations;
      all_back.get_future().wait();
      ForkRelease(&lock);
    });
    hz4_lock_release(&lock);
    JoinAll(waiters);
    all_back.set_value();
    forker.join();
    EXPECT_EQ(turned_away.load(), 3);
    ASSERT_EQ(violations.load(), 0);
    EXPECT_TRUE(hz4_lock_enter(&lock));
    hz4_lock_release(&lock);
  }
}

TEST(ForkGate, AcquireWaits) {
  for (int round = 0; round < 40; ++round) {
    Lock lock(HZ4_RANK_TEST);
    ForkAcquire(&lock);
    int value = 0;
    std::atomic<int> started{0};
    std::vector<std::thread> waiters;
    for (int i = 0; i < 2; ++i) {
      waiters.emplace_back([&] {
        ++started;
        hz4_lock_acquire(&lock);
        EXPECT_GE(value, 1) << "acquire did not wait for fork";
        ++value;
        hz4_lock_release(&lock);
      });
    }
    while (started != 2) sched_yield();
    for (int i = 0; i < round; ++i) sched_yield();  // in some rounds they sleep by now, in others not yet
    value = 1;
    ForkRelease(&lock);
    JoinAll(waiters);
    EXPECT_EQ(value, 3);
  }
}

TEST(ForkGate, ForkWaitsForTheHolder) {
  Lock lock(HZ4_RANK_TEST);
  hz4_lock_acquire(&lock);
  const uint32_t taken_state = lock.state;
  int value = 0;
  std::thread forker([&] {
    ForkAcquire(&lock);
    EXPECT_EQ(value, 1);
    ForkRelease(&lock);
  });
  while (lock.state == taken_state) sched_yield();
  value = 1;
  hz4_lock_release(&lock);
  forker.join();
  EXPECT_TRUE(hz4_lock_enter(&lock));
  hz4_lock_release(&lock);
}

TEST(ForkGate, ForkHoldsManyOfOneRank) {
  Lock locks[] = {Lock(HZ4_RANK_MID), Lock(HZ4_RANK_MID), Lock(HZ4_RANK_LARGE)};
  hz4_lock_fork_begin();
  for (Lock &lock : locks) hz4_lock_fork_acquire(&lock);
  for (Lock &lock : locks) EXPECT_FALSE(hz4_lock_enter(&lock));
  for (Lock &lock : locks) hz4_lock_fork_release(&lock);
  hz4_lock_fork_end();
  for (Lock &lock : locks) {
    EXPECT_TRUE(hz4_lock_enter(&lock));
    hz4_lock_release(&lock);
  }
}

TEST(ForkGate, ResetFreesTheLockInAChild) {
  Lock lock(HZ4_RANK_TEST);
  ForkAcquire(&lock);
  const pid_t child = fork();
  if (child == 0) {
    hz4_lock_fork_reset(&lock);
    hz4_lock_fork_end();
    if (!hz4_lock_enter(&lock)) _exit(1);
    hz4_lock_release(&lock);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(hz4_lock_enter(&lock)) << "the parent's lock is still fork's";
  ForkRelease(&lock);
}

// Threads that come and go at the gate while another forks again and again. What the gate lets through excludes fork.
TEST(ForkGate, HoldsUnderChurn) {
  Lock lock(HZ4_RANK_TEST);
  constexpr int kForks = 2000;
  int inside = 0;
  std::atomic<bool> done{false};
  std::atomic<int> violations{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      while (!done) {
        if (t == 0) hz4_lock_acquire(&lock);
        else if (!hz4_lock_enter(&lock)) continue;
        if (++inside != 1) ++violations;
        --inside;
        hz4_lock_release(&lock);
      }
    });
  }
  for (int i = 0; i < kForks; ++i) {
    ForkAcquire(&lock);
    if (++inside != 1) ++violations;
    if (i % 100 == 0) sched_yield();
    --inside;
    ForkRelease(&lock);
  }
  done = true;
  JoinAll(threads);
  EXPECT_EQ(violations.load(), 0);
}

// ---- debug builds ----

TEST(LockDeathTest, RanksRise) {
  if (!HZ4_DEBUG) GTEST_SKIP() << "ranks are checked in debug builds only";
  Lock low(HZ4_RANK_MID), same(HZ4_RANK_MID), high(HZ4_RANK_SEGMENT);
  hz4_lock_acquire(&low);
  hz4_lock_acquire(&high);
  hz4_lock_release(&high);
  EXPECT_DEATH(hz4_lock_acquire(&same), "hz4: assertion: locks are taken in rising rank\n");
  hz4_lock_release(&low);
  hz4_lock_acquire(&high);
  EXPECT_DEATH(hz4_lock_enter(&low), "hz4: assertion: locks are taken in rising rank\n");
  hz4_lock_release(&high);
}

TEST(LockDeathTest, AssertHeld) {
  if (!HZ4_DEBUG) GTEST_SKIP() << "held locks are known in debug builds only";
  Lock lock(HZ4_RANK_TEST);
  EXPECT_DEATH(hz4_lock_assert_held(&lock), "hz4: assertion: ");
  hz4_lock_acquire(&lock);
  hz4_lock_assert_held(&lock);
  hz4_lock_release(&lock);
  EXPECT_DEATH(hz4_lock_assert_held(&lock), "hz4: assertion: ");
}

// Others have the lock while one is away, but for fork, which waits.
TEST(Lock, ForkWaitsForWhoIsAway) {
  Lock lock(HZ4_RANK_TEST);
  const uint32_t free_state = lock.state;
  std::atomic<bool> forked{false};
  bool taken = true;  // what the one who is away has claimed: plain, under lock
  hz4_lock_acquire(&lock);
  struct hz4_away away;
  hz4_lock_leave(&lock, &away);
  std::thread forking([&] {
    hz4_lock_fork_begin();
    hz4_lock_fork_acquire(&lock);
    EXPECT_FALSE(taken);
    forked = true;
    hz4_lock_fork_release(&lock);
    hz4_lock_fork_end();
  });
  std::thread([&] {
    for (int i = 0; i < 1000; ++i) {
      EXPECT_TRUE(hz4_lock_enter(&lock)) << "fork has it";
      hz4_lock_release(&lock);
    }
  }).join();
  EXPECT_FALSE(forked);
  hz4_lock_return(&away);
  taken = false;
  hz4_lock_release(&lock);
  forking.join();
  EXPECT_TRUE(forked);
  EXPECT_EQ(lock.state, free_state);
}

// A handler of a signal that forks during the call: it does not wait for its own thread, which goes on in both processes.
TEST(Lock, ForkDoesNotWaitForItsOwnThread) {
  Lock lock(HZ4_RANK_LARGE), inner(HZ4_RANK_META);
  hz4_lock_acquire(&lock);
  struct hz4_away away, deeper;
  hz4_lock_leave(&lock, &away);
  hz4_lock_acquire(&inner);
  hz4_lock_leave(&inner, &deeper);
  for (bool child : {false, true}) {
    hz4_lock_fork_begin();
    for (hz4_lock *each : {&lock, &inner}) hz4_lock_fork_acquire(each);
    for (hz4_lock *each : {&lock, &inner}) child ? hz4_lock_fork_reset(each) : hz4_lock_fork_release(each);
    hz4_lock_fork_end();
  }
  hz4_lock_return(&deeper);
  hz4_lock_release(&inner);
  hz4_lock_return(&away);
  hz4_lock_release(&lock);
  EXPECT_EQ(lock.away, 0u);
  EXPECT_EQ(inner.away, 0u);
}

TEST(LockDeathTest, NoLockIsHeldOverACall) {
  if (!HZ4_DEBUG) GTEST_SKIP() << "held locks are known in debug builds only";
  Lock lock(HZ4_RANK_MID), other(HZ4_RANK_THREADS);
  hz4_lock_assert_none_held();
  hz4_lock_acquire(&lock);
  EXPECT_DEATH(hz4_lock_assert_none_held(), "no lock is held over a system call");
  struct hz4_away away;
  hz4_lock_leave(&lock, &away);
  hz4_lock_assert_none_held();
  EXPECT_DEATH(hz4_lock_acquire(&other), "rising rank") << "who is away keeps his rank";
  hz4_lock_return(&away);
  EXPECT_DEATH(hz4_lock_assert_none_held(), "no lock is held over a system call");
  hz4_lock_release(&lock);
}

}  // namespace
