// Threads that come, end and fork, over the kernel that is a fake: who has which cache, and where its content goes.
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
#include "hz4/sys_fake.h"
#include "hz4/test_tcache.h"

namespace {

using namespace hz4_test;

using Stats = struct hz4_thread_stats;

Stats ThreadsNow() {
  Stats stats;
  hz4_thread_stats(&stats);
  return stats;
}

void *Take(uint32_t c) { return MallocFrom(hz4_tcache_current, c); }
void Put(uint32_t c, void *object) { FreeTo(hz4_tcache_current, c, object); }
void GiveToMid(uint32_t c, void *object) { hz4_mid_give(c, &object, 1, nullptr); }

// So that the next Take finds nothing in the bin; what was in it goes to `out`.
void EmptyBin(uint32_t c, std::vector<void *> *out) {
  while (void *object = hz4_tcache_pop(hz4_tcache_current, c)) out->push_back(object);
}

// A thread with a cache, which does what it is told, and ends when it goes out of scope.
class Worker {
 public:
  Worker() : thread_([this] { Run(); }) {
    Do([this] { cache_ = hz4_thread_attach(); });
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
  EXPECT_EQ(hz4_mid_take(c, objects.data(), n, n, nullptr).objects, n);
  auto *batch = static_cast<hz4_batch *>(hz4_meta_alloc(sizeof(hz4_batch)));
  std::copy(objects.begin(), objects.end(), batch->objects);
  batch->count = n;
  EXPECT_TRUE(hz4_inbox_push(&victim->inbox[c], batch, HZ4_INBOX_NO_LIMIT));
  return objects;
}

size_t Waiting(const hz4_tcache *cache, uint32_t c) {
  const hz4_batch *batch = hz4_inbox_batch(cache->inbox[c].word);
  return batch == nullptr ? 0 : batch->count;
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
    hz4_options = saved_;
    EXPECT_EQ(ThreadsNow().attached, 0u);
    hz4_mid_trim();
    hz4_mid_check();
    hz4_meta_check();
    EXPECT_EQ(MidNow().spans, 0u) << "objects were lost";
  }
  const struct hz4_options saved_ = hz4_options;
};

TEST_F(Thread, EachHasACacheOfItsOwn) {
  EXPECT_EQ(hz4_tcache_current, &hz4_tcache_none);
  Worker a, b;
  EXPECT_TRUE(hz4_tcache_is_real(a.cache()));
  EXPECT_TRUE(hz4_tcache_is_real(b.cache()));
  EXPECT_NE(a.cache(), b.cache());
  a.Do([&] {
    EXPECT_EQ(hz4_tcache_current, a.cache());
    EXPECT_EQ(hz4_thread_attach(), a.cache()) << "the second time nothing changes";
  });
  EXPECT_EQ(ThreadsNow().attached, 2u);
  EXPECT_EQ(hz4_tcache_current, &hz4_tcache_none);
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
  for (hz4_tcache *cache = hz4_thread_list(); cache != nullptr; cache = cache->next_listed) ++listed;
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
  static hz4_tcache *seen, *attached;
  seen = attached = nullptr;
  static pthread_key_t key;
  std::thread([] {
    ASSERT_TRUE(hz4_tcache_is_real(hz4_thread_attach()));
    // Made after hz4's key: its destructor runs after hz4's in the first round.
    pthread_key_create(&key, [](void *) {
      seen = hz4_tcache_current;
      attached = hz4_thread_attach();
    });
    pthread_setspecific(key, &key);
  }).join();
  pthread_key_delete(key);
  EXPECT_EQ(seen, &hz4_tcache_ended);
  EXPECT_EQ(attached, &hz4_tcache_ended);
}

TEST_F(Thread, HardenedNobodyHasACache) {
  hz4_options.harden = 1;
  std::thread([] {
    EXPECT_EQ(hz4_thread_attach(), &hz4_tcache_none);
    EXPECT_EQ(hz4_tcache_current, &hz4_tcache_none);
  }).join();
}

TEST_F(Thread, WithoutMemoryThereIsNoCacheYet) {
  std::vector<std::unique_ptr<Worker>> workers(ThreadsNow().caches);
  for (auto &worker : workers) worker = std::make_unique<Worker>();  // the idle caches are taken
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  std::vector<void *> blocks;
  while (void *block = hz4_meta_alloc(sizeof(hz4_tcache))) blocks.push_back(block);
  std::thread([] {
    EXPECT_EQ(hz4_thread_attach(), &hz4_tcache_none);
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
    EXPECT_TRUE(hz4_tcache_is_real(hz4_thread_attach()));
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
  return hz4_tcache_current->capacity_bytes;
}

TEST_F(Thread, TheBudgetIsSharedAmongThoseWhoLive) {
  hz4_options.tcache_kib = 16 << 10;
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
  hz4_options.tcache_kib = 0;
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
  hz4_options.tcache_kib = 16 << 20;
  {
    Worker a;
    a.Do([&] { most = GrowBins(); });
  }
  EXPECT_LE(most, HZ4_TCACHE_BYTES_MAX);
  EXPECT_GT(most, HZ4_TCACHE_BYTES_MAX / 2);
}

// ---- other threads' inboxes ----

TEST_F(Thread, AThiefFindsWhatWaitsForASleeper) {
  constexpr uint32_t kClass = 9;
  Worker thief, sleeper;
  std::vector<void *> sent = SendTo(sleeper.cache(), kClass, 5);
  thief.Do([&] {
    std::vector<void *> mine = {Take(kClass)};
    EmptyBin(kClass, &mine);
    EXPECT_TRUE(hz4_thread_steal(hz4_tcache_current, kClass));
    EXPECT_EQ(Waiting(sleeper.cache(), kClass), 0u);
    std::vector<void *> stolen;
    EmptyBin(kClass, &stolen);
    EXPECT_FALSE(hz4_thread_steal(hz4_tcache_current, kClass)) << "nothing is left";
    for (void *object : stolen) EXPECT_NE(std::find(sent.begin(), sent.end(), object), sent.end());
    EXPECT_FALSE(stolen.empty());
    for (void *object : stolen) GiveToMid(kClass, object);
    for (void *object : mine) GiveToMid(kClass, object);
  });
}

TEST_F(Thread, NobodyStealsFromHimself) {
  constexpr uint32_t kClass = 9;
  Worker thief;
  SendTo(thief.cache(), kClass, 5);
  thief.Do([&] {
    hz4_tcache *cache = hz4_tcache_current;
    EXPECT_FALSE(hz4_thread_steal(cache, kClass)) << "without a bin there is no place";
    std::vector<void *> mine = {Take(kClass)};  // the inbox comes first
    EXPECT_EQ(Waiting(cache, kClass), 0u);
    EmptyBin(kClass, &mine);
    for (void *object : mine) GiveToMid(kClass, object);
    SendTo(cache, kClass, 5);
    EXPECT_FALSE(hz4_thread_steal(cache, kClass));
    EXPECT_EQ(Waiting(cache, kClass), 5u);
  });
}

// One search looks at HZ4_STEAL_TRIES caches, and the next goes on where it ended.
TEST_F(Thread, SearchesTakeTurns) {
  constexpr uint32_t kClass = 9;
  std::vector<std::unique_ptr<Worker>> sleepers;
  for (int i = 0; i < 3 * HZ4_STEAL_TRIES; ++i) sleepers.push_back(std::make_unique<Worker>());
  for (auto &sleeper : sleepers) SendTo(sleeper->cache(), kClass, 1);
  Worker thief;
  thief.Do([&] {
    std::vector<void *> mine = {Take(kClass)};
    size_t searches = 0, found = 0;
    for (; searches < sleepers.size() + 8 && found < sleepers.size(); ++searches) {
      EmptyBin(kClass, &mine);
      found += hz4_thread_steal(hz4_tcache_current, kClass);
    }
    EXPECT_EQ(found, sleepers.size());
    EmptyBin(kClass, &mine);
    for (void *object : mine) GiveToMid(kClass, object);
  });
  // The oldest is at the list's end: searches that all begin at its head would never come to it.
  SendTo(sleepers.front()->cache(), kClass, 1);
  thief.Do([&] {
    size_t searches = 1;
    while (!hz4_thread_steal(hz4_tcache_current, kClass)) ASSERT_LT(++searches, 12u);
    std::vector<void *> mine;
    EmptyBin(kClass, &mine);
    for (void *object : mine) GiveToMid(kClass, object);
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
    std::vector<void *> kept;
    EmptyBin(kClass, &kept);
    EXPECT_TRUE(kept.empty());
  });
  EXPECT_EQ(Waiting(sleeper.cache(), kClass), 0u);
  EXPECT_EQ(Waiting(trimmer.cache(), kClass + 1), 0u);
  hz4_mid_trim();
  EXPECT_EQ(MidNow().spans, 0u);
  SendTo(sleeper.cache(), kClass, 5);
  hz4_thread_trim();  // by a thread without a cache: it has nowhere to put them
  EXPECT_EQ(Waiting(sleeper.cache(), kClass), 5u);
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
  forker.Do([&] {
    void *kept = Take(5);
    const pid_t child = fork();
    if (child == 0) {
      hz4_tcache *mine = hz4_tcache_current;
      const uint64_t caches = ThreadsNow().caches;
      hz4_tcache *next = nullptr;
      std::vector<bool> conditions = {mine == forker.cache(), ThreadsNow().attached == 1, mine->attached,
                                      !other.cache()->attached, Waiting(other.cache(), 9) == 0};
      Put(5, kept);
      std::thread([&] { next = hz4_thread_attach(); }).join();
      conditions.push_back(next == other.cache());
      conditions.push_back(ThreadsNow().caches == caches);
      conditions.push_back(ThreadsNow().attached == 1);
      hz4_tcache_check(mine);
      hz4_mid_check();
      _exit(ChildStatus(conditions));
    }
    EXPECT_EQ(StatusOf(child), 0);
    EXPECT_EQ(Waiting(other.cache(), 9), 5u) << "in the parent nothing has changed";
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
    _exit(ChildStatus({hz4_tcache_current == &hz4_tcache_none, ThreadsNow().attached == 0, !other.cache()->attached}));
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
    hz4_mid_fork_prepare();  // somebody has the locks: this thread, there is no other
    const pid_t child = fork();
    const bool held = !EveryClassServes();  // and has them still, on both sides
    hz4_mid_fork_parent();
    const bool serves = EveryClassServes();
    if (child == 0) _exit(ChildStatus({held, serves}));
    EXPECT_EQ(StatusOf(child), 0);
    EXPECT_TRUE(held);
    EXPECT_TRUE(serves);
  });
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
        const bool before = hz4_options.tcache_kib == 1234;
        hz4_thread_init_at_load();
        const bool after = hz4_options.tcache_kib == 1234 && hz4_options.dirty_kib == 77;
        setenv("HZ4_TCACHE_KIB", "4321", 1);
        hz4_thread_init_at_load();
        _exit(ChildStatus({!before, after, hz4_options.tcache_kib == 1234}));
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
        SendTo(hz4_thread_attach(), 90, 1);
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
            real += hz4_tcache_is_real(hz4_thread_attach());
            Put(3, Take(3));
          });
        }
        for (std::thread &thread : threads) thread.join();
        _exit(ChildStatus({real == 8, ThreadsNow().attached == 0}));
      },
      testing::ExitedWithCode(0), kSilent);
}

}  // namespace
