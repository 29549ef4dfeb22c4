// Threads that come, end and fork, over the kernel that is a fake: who has which cache, and where its content goes.
// Threads have caches of their own here, but for the tests at the end.
#include "hz4/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "hz4/os.h"
#include "hz4/rseq.h"
#include "hz4/test/sys_fake.h"
#include "hz4/test/tcache.h"

namespace {

using namespace hz4_test;

using Stats = struct hz4_thread_stats;

Stats ThreadsNow() {
  Stats stats;
  hz4_thread_stats(&stats);
  return stats;
}

// Before anybody comes to hz4_thread_init.
const bool own_caches = (hz4_option.front = HZ4_FRONT_THREAD, true);

void *Take(uint32_t c) { return MallocHere(c); }
void Put(uint32_t c, void *object) { FreeHere(c, object); }

// So that the next Take finds nothing in the bin, nor in Mid without a fresh span; what was there goes to `out`.
void EmptyBinAndMid(uint32_t c, std::vector<void *> *out) {
  while (void *object = hz4_sequence_pop(c)) out->push_back(object);
  const std::vector<void *> rest = DrainMid(c);
  out->insert(out->end(), rest.begin(), rest.end());
}

uint64_t Steals(const hz4_tcache *cache) { return cache->counters.value[HZ4_RANGE_SMALL][HZ4_COUNT_refill_steal]; }

// A thread with a cache, which does what it is told, and ends when it goes out of scope.
class Worker {
 public:
  Worker() : thread_([this] { Run(); }) {
    Do([this] {
      if (!hz4_thread_attach()) return;
      cache_ = hz4_cache_here();
      Put(3, Take(3));  // so that the cache is listed
    });
  }
  Worker(const Worker &) = delete;
  Worker &operator=(const Worker &) = delete;
  ~Worker() {
    Do(nullptr);
    thread_.join();
  }
  void Do(std::function<void()> what) {
    std::unique_lock<std::mutex> lock(mutex_);
    what_ = std::move(what);
    waiting_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !waiting_; });
  }
  hz4_tcache *cache() const { return cache_; }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (bool more = true; more;) {
      changed_.wait(lock, [this] { return waiting_; });
      more = what_ != nullptr;
      if (more) what_();
      waiting_ = false;
      changed_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> what_;
  bool waiting_ = false;
  hz4_tcache *cache_ = nullptr;
  std::thread thread_;
};

// Pushes one batch of fresh objects into the victim's inbox of the class.
std::vector<void *> SendTo(hz4_tcache *victim, uint32_t c, uint32_t n) {
  std::vector<void *> objects(n);
  EXPECT_EQ(hz4_mid_take(c, objects.data(), n, n, nullptr, false).objects, n);
  auto *batch = static_cast<hz4_batch *>(hz4_meta_alloc(sizeof(hz4_batch)));
  std::copy(objects.begin(), objects.end(), batch->objects);
  batch->count = n;
  EXPECT_TRUE(hz4_inbox_push(&victim->inbox[c], batch, HZ4_INBOX_NO_LIMIT));
  hz4_store_relaxed(&victim->sent_to, true);
  return objects;
}

// The main thread never attaches, so that only a test's own workers count.
class Thread : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    hz4_thread_init();
    ASSERT_EQ(ThreadsNow().attached, 0u);
  }
  void TearDown() override {
    hz4_option = saved_;
    EXPECT_EQ(ThreadsNow().attached, 0u);
    hz4_mid_trim();
    hz4_mid_check();
    hz4_meta_check();
    EXPECT_EQ(MidNow().spans, 0u) << "objects were lost";
  }
  const struct hz4_option_values saved_ = hz4_option;
};

TEST_F(Thread, EachHasACacheOfItsOwn) {
  EXPECT_FALSE(hz4_is_attached());
  Worker a, b;
  EXPECT_NE(a.cache(), nullptr);
  EXPECT_NE(b.cache(), nullptr);
  EXPECT_NE(a.cache(), b.cache());
  a.Do([&] {
    EXPECT_EQ(hz4_cache_here(), a.cache());
    EXPECT_TRUE(hz4_cache_is_own(a.cache()));
    EXPECT_TRUE(hz4_thread_attach());
    EXPECT_EQ(hz4_cache_here(), a.cache()) << "the second time nothing changes";
  });
  EXPECT_EQ(ThreadsNow().attached, 2u);
  EXPECT_EQ(ThreadsNow().by_cpu, 0u);
  EXPECT_FALSE(hz4_is_attached());
}

TEST_F(Thread, CachesOfTheEndedServeAgain) {
  hz4_tcache *first, *second;
  {
    Worker a, b;
    first = a.cache();
    second = b.cache();
  }
  const uint64_t caches = ThreadsNow().caches;
  size_t listed = 0;
  for (hz4_tcache *cache = hz4_cache_list(); cache != nullptr; cache = cache->next_listed) ++listed;
  EXPECT_EQ(listed, caches);
  Worker c, d;
  EXPECT_TRUE((c.cache() == first && d.cache() == second) || (c.cache() == second && d.cache() == first));
  EXPECT_EQ(ThreadsNow().caches, caches);
}

TEST_F(Thread, AnEndGivesEverythingBack) {
  {
    Worker a;
    a.Do([] {
      std::vector<void *> objects(300);
      for (void *&object : objects) object = Take(5);
      for (void *object : objects) Put(5, object);
    });
    SendTo(a.cache(), 7, 3);
  }
  hz4_mid_trim();
  EXPECT_EQ(MidNow().spans, 0u);
}

// What a destructor of a key does after hz4's own: the thread has no cache any more, and gets no other.
TEST_F(Thread, AnEndedThreadStaysWithoutACache) {
  static bool seen, attached;
  seen = attached = true;
  static pthread_key_t key;
  std::thread([] {
    ASSERT_TRUE(hz4_thread_attach());
    // Made after hz4's key: its destructor runs after hz4's in the first round.
    pthread_key_create(&key, [](void *) {
      seen = hz4_is_attached();
      attached = hz4_thread_attach();
    });
    pthread_setspecific(key, &key);
  }).join();
  pthread_key_delete(key);
  EXPECT_FALSE(seen);
  EXPECT_FALSE(attached);
}

TEST_F(Thread, WithoutMemoryThereIsNoCacheYet) {
  std::vector<std::unique_ptr<Worker>> workers(ThreadsNow().caches);
  for (auto &worker : workers) worker = std::make_unique<Worker>();  // the idle caches are taken
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  std::vector<void *> blocks;
  while (void *block = hz4_meta_alloc(sizeof(hz4_tcache))) blocks.push_back(block);
  std::thread([] {
    EXPECT_FALSE(hz4_thread_attach());
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
    EXPECT_TRUE(hz4_thread_attach());
  }).join();
  for (void *block : blocks) hz4_meta_free(block, sizeof(hz4_tcache));
}

// ---- the budget ----

// Takes and frees ever more objects of every second class; returns the most that the thread's cache then may hold.
size_t GrowBins() {
  for (uint32_t n = 1; n <= 512; n *= 2) {
    for (uint32_t c = 2; c <= HZ4_CLASS_COUNT; c += 2) {
      std::vector<void *> objects(n * hz4_class_bytes(c) <= HZ4_BIN_MAX_BYTES ? n : 0);
      for (void *&object : objects) object = Take(c);
      for (void *object : objects) Put(c, object);
    }
  }
  return hz4_cache_here()->capacity_bytes;
}

// Likewise of the largest classes, of which nobody else takes any, as much as a bin may hold.
size_t GrowLargeBins() {
  for (uint32_t c = HZ4_CLASS_COUNT - 2; c <= HZ4_CLASS_COUNT; ++c) {
    for (int wave = 0; wave < HZ4_MID_ALONE_VISITS; ++wave) {
      std::vector<void *> objects(HZ4_BIN_ALONE_BYTES / hz4_class_bytes(c));
      for (void *&object : objects) object = Take(c);
      for (void *object : objects) Put(c, object);
    }
  }
  return hz4_cache_here()->capacity_bytes;
}

TEST_F(Thread, TheBudgetIsSharedAmongThoseWhoLive) {
  hz4_option.tcache_kib = 16 << 10;
  size_t alone = 0, of_four = 0, alone_again = 0;
  {
    Worker a;
    a.Do([&] { alone = GrowBins(); });
  }
  {
    Worker a, b, c, d;
    d.Do([&] { of_four = GrowBins(); });
  }
  {
    Worker a;
    a.Do([&] { alone_again = GrowBins(); });
  }
  EXPECT_LE(alone, size_t{16} << 20);
  EXPECT_GT(alone, size_t{8} << 20);
  EXPECT_LE(of_four, size_t{4} << 20);
  EXPECT_GT(of_four, size_t{2} << 20);
  EXPECT_GT(alone_again, size_t{8} << 20) << "those who ended take no share";
}

TEST_F(Thread, AShareIsNeitherTinyNorHuge) {
  size_t least = 0, most = 0;
  // First bins are given whatever the budget: as much as a cache without any budget has.
  hz4_option.tcache_kib = 0;
  {
    Worker a;
    a.Do([&] { least = GrowBins(); });
    hz4_tcache_set_budget(0);
    Worker b;
    hz4_tcache_set_budget(0);
    size_t none = 0;
    b.Do([&] { none = GrowBins(); });
    EXPECT_GE(least, none);
    EXPECT_LE(least, none + HZ4_TCACHE_BYTES_MIN);
  }
  hz4_option.tcache_kib = 16 << 20;
  {
    Worker a;
    a.Do([&] { most = GrowLargeBins(); });
  }
  EXPECT_LE(most, HZ4_TCACHE_BYTES_MAX);
  EXPECT_GT(most, HZ4_TCACHE_BYTES_MAX / 2);
}

// ---- tiny objects ----

// What a thread frees of another's it does not allocate itself; it goes home, also when one of them ends.
TEST_F(Thread, TinyObjectsGoHome) {
  for (bool owner_ends : {false, true}) {
    auto owner = std::make_unique<Worker>();
    std::vector<std::unique_ptr<Worker>> others;  // the last one has another home
    do others.push_back(std::make_unique<Worker>());
    while (others.back()->cache()->number % HZ4_HOMES == owner->cache()->number % HZ4_HOMES);
    Worker &other = *others.back();
    const uint32_t bin = hz4_class_of_malloc(16), home = hz4_class_at_home(bin, owner->cache()->number);
    ASSERT_TRUE(hz4_class_is_tiny_bin(bin)) << "there are several caches";
    std::vector<void *> objects, fresh;
    owner->Do([&] { objects = MallocSome(bin, 1000); });
    for (void *object : objects) ASSERT_EQ(hz4_pagemap_class(object), home);
    other.Do([&] {
      FreeSome(home, objects);
      fresh = MallocSome(bin, 1000);
    });
    std::sort(objects.begin(), objects.end());
    for (void *object : fresh) {
      ASSERT_FALSE(std::binary_search(objects.begin(), objects.end(), object));
      ASSERT_NE(hz4_pagemap_class(object), home);
    }
    const auto of_other = static_cast<uint32_t>(hz4_pagemap_class(fresh[0]));
    EXPECT_GT(Objects(other.cache(), home), 0u);
    if (owner_ends) {
      owner.reset();
      other.Do([&] { FreeSome(of_other, fresh); });
    } else {
      owner->Do([&] { FreeSome(of_other, fresh); });
    }
  }  // and TearDown finds every span at home
}

// ---- other threads' inboxes ----

TEST_F(Thread, AThiefFindsWhatWaitsForASleeper) {
  constexpr uint32_t kClass = 9;
  Worker thief, sleeper;
  const std::vector<void *> sent = SendTo(sleeper.cache(), kClass, 5);
  thief.Do([&] {
    std::vector<void *> mine;
    const uint64_t before = Steals(thief.cache());
    // One search looks at some of the caches, of which other tests may have made many.
    for (uint64_t looked_at = 0; Steals(thief.cache()) == before; looked_at += HZ4_STEAL_TRIES) {
      ASSERT_LT(looked_at, ThreadsNow().caches);
      EmptyBinAndMid(kClass, &mine);
      mine.push_back(Take(kClass));
    }
    EXPECT_EQ(Waiting(sleeper.cache(), kClass), 0u);
    EXPECT_NE(std::find(sent.begin(), sent.end(), mine.back()), sent.end());
    EmptyBinAndMid(kClass, &mine);
    for (void *object : sent) EXPECT_NE(std::find(mine.begin(), mine.end(), object), mine.end());
    mine.push_back(Take(kClass));
    EXPECT_EQ(Steals(thief.cache()), before + 1) << "nothing is left";
    GiveToMid(kClass, mine);
  });
}

// What waits for himself comes before what Mid has, and is no theft.
TEST_F(Thread, NobodyStealsFromHimself) {
  constexpr uint32_t kClass = 9;
  Worker thief;
  const std::vector<void *> sent = SendTo(thief.cache(), kClass, 5);
  thief.Do([&] {
    const uint64_t before = Steals(thief.cache());
    void *first = Take(kClass);
    EXPECT_NE(std::find(sent.begin(), sent.end(), first), sent.end());
    EXPECT_EQ(Waiting(thief.cache(), kClass), 0u);
    EXPECT_EQ(Steals(thief.cache()), before);
    Put(kClass, first);
  });
}

// One search looks at HZ4_STEAL_TRIES caches, and the next goes on where it ended.
TEST_F(Thread, SearchesTakeTurns) {
  constexpr uint32_t kClass = 9;
  std::vector<std::unique_ptr<Worker>> sleepers;
  for (int i = 0; i < 3 * HZ4_STEAL_TRIES; ++i) sleepers.push_back(std::make_unique<Worker>());
  for (auto &sleeper : sleepers) SendTo(sleeper->cache(), kClass, 1);
  Worker thief;
  const auto search = [&](std::vector<void *> *mine) {
    EmptyBinAndMid(kClass, mine);
    const uint64_t before = Steals(thief.cache());
    mine->push_back(Take(kClass));
    return Steals(thief.cache()) - before;
  };
  thief.Do([&] {
    std::vector<void *> mine;
    size_t searches = 0, found = 0;
    for (; searches < sleepers.size() + 8 && found < sleepers.size(); ++searches) found += search(&mine);
    EXPECT_EQ(found, sleepers.size());
    EmptyBinAndMid(kClass, &mine);
    GiveToMid(kClass, mine);
  });
  // The oldest is at the list's end: searches that all begin at its head would never come to it.
  SendTo(sleepers.front()->cache(), kClass, 1);
  thief.Do([&] {
    std::vector<void *> mine;
    size_t searches = 1;
    while (search(&mine) == 0) ASSERT_LT(++searches, 12u);
    EmptyBinAndMid(kClass, &mine);
    GiveToMid(kClass, mine);
  });
}

TEST_F(Thread, TrimEmptiesOnesBinsAndAllInboxes) {
  constexpr uint32_t kClass = 9;
  Worker trimmer, sleeper;
  SendTo(sleeper.cache(), kClass, 5);
  SendTo(trimmer.cache(), kClass + 1, 5);
  trimmer.Do([] {
    for (int i = 0; i < 4; ++i) Put(kClass, Take(kClass));
    hz4_thread_trim();
    EXPECT_EQ(hz4_cache_here()->capacity_bytes, 0u);
    EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  });
  EXPECT_EQ(Waiting(sleeper.cache(), kClass), 0u);
  EXPECT_EQ(Waiting(trimmer.cache(), kClass + 1), 0u);
  EXPECT_EQ(Objects(sleeper.cache(), 3), 1u) << "a thread's bins are its own";
  hz4_mid_trim();
  EXPECT_EQ(MidNow().spans, 1u);
  SendTo(sleeper.cache(), kClass, 5);
  hz4_thread_trim();  // by a thread without a cache
  EXPECT_EQ(Waiting(sleeper.cache(), kClass), 0u);
}

// ---- fork ----

// Ends the child with a status that tells which of the conditions did not hold.
int ChildStatus(const std::vector<bool> &conditions) {
  for (size_t i = 0; i < conditions.size(); ++i) {
    if (!conditions[i]) return static_cast<int>(i) + 1;
  }
  return 0;
}

int StatusOf(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Thread, AChildHasItsForkersCacheAndTakesTheOthersOver) {
  Worker forker, other;
  SendTo(other.cache(), 9, 5);
  other.Do([] { FreeSome(7, MallocSome(7, 50)); });
  const size_t held = Objects(other.cache(), 7);
  EXPECT_GE(held, 50u);
  forker.Do([&] {
    void *kept = Take(5);
    const pid_t child = fork();
    if (child == 0) {
      hz4_tcache *mine = hz4_cache_here(), *next = nullptr;
      const uint64_t caches = ThreadsNow().caches;
      std::vector<bool> conditions = {mine == forker.cache(), ThreadsNow().attached == 1, mine->attached,
                                      !other.cache()->attached, Waiting(other.cache(), 9) == 0,
                                      other.cache()->top[7] == HZ4_TOP_NONE};
      Put(5, kept);
      std::thread([&] {
        if (hz4_thread_attach()) next = hz4_cache_here();
      }).join();
      conditions.push_back(next == other.cache());
      conditions.push_back(ThreadsNow().caches == caches);
      conditions.push_back(ThreadsNow().attached == 1);
      hz4_tcache_check();
      hz4_mid_check();
      hz4_thread_trim();
      hz4_mid_trim();
      conditions.push_back(MidNow().spans == 0);  // what the others held is not lost
      _exit(ChildStatus(conditions));
    }
    EXPECT_EQ(StatusOf(child), 0);
    EXPECT_EQ(Waiting(other.cache(), 9), 5u) << "in the parent nothing has changed";
    EXPECT_EQ(Objects(other.cache(), 7), held);
    EXPECT_EQ(ThreadsNow().attached, 2u);
    Put(5, kept);
  });
  Worker third;
  EXPECT_NE(third.cache(), other.cache());
}

TEST_F(Thread, AChildOfAThreadWithoutACache) {
  Worker other;
  const pid_t child = fork();
  if (child == 0) {
    _exit(ChildStatus({!hz4_is_attached(), ThreadsNow().attached == 0, !other.cache()->attached}));
  }
  EXPECT_EQ(StatusOf(child), 0);
}

// False where fork still holds a class's lock.
bool EveryClassServes() {
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    void *object = Take(c);
    if (object == nullptr) return false;
    Put(c, object);
  }
  return true;
}

TEST_F(Thread, AfterAForkBothSidesGoOn) {
  for (int i = 0; i < 3; ++i) {
    Worker forker;
    forker.Do([] {
      const pid_t child = fork();
      if (child == 0) {
        const bool serves = EveryClassServes();
        hz4_thread_trim();
        hz4_mid_trim();
        hz4_mid_check();
        hz4_meta_check();
        _exit(ChildStatus({serves, MidNow().spans == 0}));
      }
      EXPECT_EQ(StatusOf(child), 0);
      EXPECT_TRUE(EveryClassServes());
    });
  }
}

// As when the handler of a signal forks, and the signal came in the midst of malloc: glibc's fork may be called there.
TEST_F(Thread, WhoForksAloneTakesNoLock) {
  Worker forker;
  forker.Do([] {
    hz4_sys_fake.single_threaded = true;
    hz4_mid_fork(hz4_lock_fork_acquire);  // somebody has the locks: this thread, there is no other
    const pid_t child = fork();
    const bool held = !EveryClassServes();  // and has them still, on both sides
    hz4_mid_fork(hz4_lock_fork_release);
    const bool serves = EveryClassServes();
    if (child == 0) _exit(ChildStatus({held, serves}));
    EXPECT_EQ(StatusOf(child), 0);
    EXPECT_TRUE(held);
    EXPECT_TRUE(serves);
  });
}

// What was freed while fork had the locks comes home when it is over, and is found wrong then.
TEST(ThreadDeathTest, WhatAForkEndsWithIsReported) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        hz4_thread_attach();
        void *object = Take(5);
        hz4_mid_fork(hz4_lock_fork_acquire);
        std::thread([object]() mutable {
          for (int i = 0; i < 2; ++i) hz4_transfer_give(5, &object, 1, nullptr, false);
        }).join();
        hz4_mid_fork(hz4_lock_fork_release);
        fork();
        _exit(0);
      },
      "hz4: free of a pointer that is not allocated");
}

// ---- begin ----

// Nothing on stderr: no warning.
const char *const kSilent = "^$";

// Before libc has started there is no environment: it is read later, but once.
TEST(ThreadInit, ReadsTheEnvironmentWhenItIsThere) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        char **real = environ;
        environ = nullptr;
        hz4_thread_init();
        environ = real;
        setenv("HZ4_TCACHE_KIB", "1234", 1);
        setenv("HZ4_DIRTY_KIB", "77", 1);
        const bool before = hz4_option.tcache_kib == 1234;
        hz4_thread_init_at_load();
        const bool after = hz4_option.tcache_kib == 1234 && hz4_option.dirty_kib == 77;
        setenv("HZ4_TCACHE_KIB", "4321", 1);
        hz4_thread_init_at_load();
        _exit(ChildStatus({!before, after, hz4_option.tcache_kib == 1234}));
      },
      testing::ExitedWithCode(0), kSilent);
}

// What of the page map is made before has room for what HZ4_HARDEN needs; later only if it is set.
TEST(ThreadInit, ThePageMapMayBeHardenedStill) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        const auto region_bytes = [](uintptr_t region) {
          const uint64_t before = hz4_sys_fake.mapped_bytes;
          hz4_pagemap_reserve(reinterpret_cast<void *>(region << 32), 1);
          return hz4_sys_fake.mapped_bytes - before;
        };
        char **real = environ;
        environ = nullptr;
        hz4_thread_init();
        const bool early = region_bytes(1) >= sizeof(struct hz4_pagemap_region);
        environ = real;
        hz4_thread_init_at_load();
        const bool plain = region_bytes(2) < sizeof(struct hz4_pagemap_region);
        _exit(ChildStatus({early, plain}));
      },
      testing::ExitedWithCode(0), kSilent);
}

// Not a word either of what is no option.
TEST(ThreadInit, TakesNothingFromTheEnvironmentOfASecureProgram) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        hz4_sys_fake.secure = true;
        setenv("HZ4_DIRTY_KIB", "77", 1);
        setenv("HZ4_NONE", "1", 1);
        hz4_thread_init();
        hz4_thread_init_at_load();
        _exit(ChildStatus({hz4_option.dirty_kib == 4096}));
      },
      testing::ExitedWithCode(0), kSilent);
}

// Freed memory is kept within what the environment says.
TEST(ThreadInit, ConfiguresTheSegments) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        setenv("HZ4_DIRTY_KIB", "0", 1);
        setenv("HZ4_DIRTY_SHIFT", "63", 1);
        hz4_thread_init();
        hz4_thread_attach();
        Put(3, Take(3));
        SendTo(hz4_cache_here(), 90, 1);
        hz4_thread_trim();
        hz4_mid_trim();
        hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
        struct hz4_segment_stats stats;
        hz4_segment_stats(&stats);
        _exit(ChildStatus({stats.clean_bytes != 0, stats.used_bytes == 0, stats.dirty_bytes == 0}));
      },
      testing::ExitedWithCode(0), kSilent);
}

TEST(ThreadInit, WishesForHugePagesIfItIsTold) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        const bool before = hz4_os_map(HZ4_HUGE_BYTES, HZ4_PAGE_BYTES) != nullptr && hz4_sys_fake.huge_bytes == 0;
        setenv("HZ4_HUGE_PAGES", "1", 1);
        hz4_thread_init();
        const bool after = hz4_os_map(HZ4_HUGE_BYTES, HZ4_PAGE_BYTES) != nullptr;
        _exit(ChildStatus({before, after, hz4_sys_fake.huge_bytes == HZ4_HUGE_BYTES}));
      },
      testing::ExitedWithCode(0), kSilent);
}

// Threads that find hz4 in the making wait for it to be made.
TEST(ThreadInit, ManyAtOnce) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        std::vector<std::thread> threads;
        std::atomic<size_t> real{0};
        for (int i = 0; i < 8; ++i) {
          threads.emplace_back([&real] {
            real += hz4_thread_attach();
            Put(3, Take(3));
          });
        }
        for (std::thread &thread : threads) thread.join();
        _exit(ChildStatus({real == 8, ThreadsNow().attached == 0}));
      },
      testing::ExitedWithCode(0), kSilent);
}

// ---- caches of CPUs ----

// Each in a process of its own, for what is chosen at the beginning stays.
#define EXPECT_WITH_CPUS(...)                                                                \
  if (hz4_rseq_ids() == 0 || hz4_rseq_area() == nullptr) GTEST_SKIP() << "not on this kernel"; \
  testing::FLAGS_gtest_death_test_style = "threadsafe";                                      \
  EXPECT_EXIT(                                                                               \
      {                                                                                      \
        hz4_option.front = HZ4_FRONT_CPU;                                                   \
        __VA_ARGS__                                                                          \
      },                                                                                     \
      testing::ExitedWithCode(0), kSilent)

size_t ObjectsEverywhere(uint32_t c) {
  size_t n = 0;
  for (hz4_tcache *cache = hz4_cache_list(); cache != nullptr; cache = cache->next_listed) n += Objects(cache, c);
  return n;
}

// And a second time, when the thread ends: given anything, only once.
void UseInEveryRound(void *once) {
  for (uint32_t c = 1; c <= 61; c += 5) FreeSome(c, MallocSome(c, 20));  // in all less than a decline of the heap
  if (once != nullptr) return;
  static pthread_key_t key;
  static const bool made = pthread_key_create(&key, UseInEveryRound) == 0;
  if (!made || pthread_setspecific(key, &key) != 0) abort();
}

TEST(ThreadCpus, AChildHasNoMoreThreadsWithTheirOwn) {
  EXPECT_WITH_CPUS({
    hz4_thread_attach();
    const pid_t child = fork();
    if (child == 0) _exit(ChildStatus({hz4_is_attached(), ThreadsNow().attached == 0}));
    _exit(StatusOf(child));
  });
}

TEST(ThreadCpus, BeginningsAndEndsAreNothing) {
  EXPECT_WITH_CPUS({
    hz4_thread_init();
    const bool none = hz4_cache_list() == nullptr && !hz4_is_attached();
    std::atomic<size_t> attached{0};
    for (int i = 0; i < 20; ++i) {
      std::thread([&] {
        attached += hz4_thread_attach() && !hz4_cache_is_own(hz4_cache_here());
        UseInEveryRound(nullptr);
      }).join();
    }
    const Stats stats = ThreadsNow();
    const bool kept = ObjectsEverywhere(6) >= 20;
    hz4_thread_trim();
    hz4_mid_trim();
    _exit(ChildStatus({none, attached == 20, stats.by_cpu == 1, stats.attached == 0, stats.caches >= 1,
                       stats.caches <= 20, kept, ObjectsEverywhere(6) == 0, MidNow().spans == 0}));
  });
}

// What threads left on whichever CPU, one thread brings home; also while others go on.
TEST(ThreadCpus, TrimEmptiesThemAll) {
  EXPECT_WITH_CPUS({
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        if (!hz4_thread_attach()) abort();
        for (int i = 0; i < 300; ++i) UseInEveryRound(nullptr);
      });
    }
    for (int i = 0; i < 100; ++i) {
      hz4_thread_trim();
      std::this_thread::yield();
    }
    for (std::thread &thread : threads) thread.join();
    hz4_thread_trim();
    hz4_mid_trim();
    hz4_mid_check();
    hz4_meta_check();
    _exit(ChildStatus({ObjectsEverywhere(1) == 0, ObjectsEverywhere(6) == 0, MidNow().spans == 0}));
  });
}

// The child has all that the CPUs held, wherever its parent's threads were.
TEST(ThreadCpus, AChildHasThemAll) {
  EXPECT_WITH_CPUS({
    hz4_thread_init();  // or else the first fork may come before its handlers
    constexpr int kCarried = 100;
    int exact = 0;
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        while (!hz4_thread_attach()) sched_yield();  // fork is on
        while (!over) {
          void *object = Take(6);
          if (object != nullptr) Put(6, object);  // there is none while fork is on
        }
      });
    }
    for (int i = 0; i < 50; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        hz4_thread_attach();
        UseInEveryRound(&over);
        hz4_tcache_check();
        hz4_thread_trim();
        hz4_mid_trim();
        hz4_mid_check();
        // Each thread may have been between Take and Put, or, seldom, have carried what Mid gave it to its bin.
        const uint64_t out = MidNow().span_objects - MidNow().free_objects;
        const int status = ChildStatus({ObjectsEverywhere(6) == 0, out <= 3 * HZ4_MOVE_OBJECTS});
        _exit(status != 0 ? status : out <= 3 ? 0 : kCarried);
      }
      const int status = StatusOf(child);
      if (status != 0 && status != kCarried) _exit(status + 10);
      if (status == 0) ++exact;
    }
    if (exact < 25) _exit(9);
    over = true;
    for (std::thread &thread : threads) thread.join();
    _exit(0);
  });
}

// Then threads have their own.
TEST(ThreadCpus, WithoutAddressesThereAreNone) {
  EXPECT_WITH_CPUS({
    hz4_thread_init();
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
    const bool failed = !hz4_thread_attach();  // nor is there memory for its own
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
    const bool attached = hz4_thread_attach();
    _exit(ChildStatus({failed, attached, ThreadsNow().by_cpu == 0, hz4_cache_is_own(hz4_cache_here())}));
  });
}

}  // namespace
