// Sequences one by one on caches that the test has laid out, in a stand-in area; and many threads' on the CPUs' caches,
// interrupted, moved and signalled: what one has committed is there once.
#include "hz4/sequence.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "hz4/bin.h"
#include "hz4/rseq.h"

namespace {

using Front = struct hz4_front;

// Caches by id, with that of no id before them.
class Caches {
 public:
  explicit Caches(size_t count) : count_(count) {
    const size_t bytes = (count + 1) * HZ4_CACHE_BYTES;
    memory_ = static_cast<char *>(memset(aligned_alloc(HZ4_CACHE_BYTES, bytes), 0, bytes));
  }
  Caches(const Caches &) = delete;
  Caches &operator=(const Caches &) = delete;
  ~Caches() { free(memory_); }
  char *first() { return memory_ + HZ4_CACHE_BYTES; }
  hz4_tcache *operator[](ptrdiff_t id) {
    return reinterpret_cast<hz4_tcache *>(first() + id * static_cast<ptrdiff_t>(HZ4_CACHE_BYTES));
  }
  size_t count() const { return count_; }
  bool NothingIsZero() {
    for (ptrdiff_t id = -1; id < static_cast<ptrdiff_t>(count_); ++id) {
      const char *cache = reinterpret_cast<char *>((*this)[id]);
      const char *begin = id < 0 ? cache : cache - HZ4_CACHE_ZEROS;
      if (std::any_of(begin, cache + HZ4_CACHE_TOP_OFFSET, [](char c) { return c != 0; })) return false;
    }
    return true;
  }

 private:
  const size_t count_;
  char *memory_;
};

void *const kFiller = &hz4_no_cache;

// A bin's array: NULL, and room for objects; and one slot more, which is nobody's.
class Array {
 public:
  explicit Array(size_t capacity) : slots_(capacity + 2, kFiller) { slots_[0] = nullptr; }
  void PutInto(hz4_tcache *cache, uint32_t c) {
    cache->top[c] = Address(0) - reinterpret_cast<uintptr_t>(cache);
    cache->limit[c] = Address(slots_.size() - 2) - reinterpret_cast<uintptr_t>(cache);
  }
  size_t Objects(const hz4_tcache *cache, uint32_t c) const {
    return (cache->top[c] + reinterpret_cast<uintptr_t>(cache) - Address(0)) / sizeof(void *);
  }
  void *&operator[](size_t i) { return slots_[i]; }
  bool HasEnds() const { return slots_.front() == nullptr && slots_.back() == kFiller; }

 private:
  uintptr_t Address(size_t i) const { return reinterpret_cast<uintptr_t>(&slots_[i]); }
  std::vector<void *> slots_;
};

class Sequence : public testing::Test {
 protected:
  void SetUp() override {
    area_.id = 0;
    hz4_front.caches = caches_.first();
    hz4_front.area = &area_;
  }
  void TearDown() override {
    hz4_front = saved_;
    EXPECT_TRUE(caches_.NothingIsZero());
  }
  hz4_area area_ = {};
  Caches caches_{3};
  hz4_tcache *const cache_ = caches_[0];
  const Front saved_ = hz4_front;
  int objects_[300];
};

constexpr uint32_t kClass = 7;

TEST_F(Sequence, WithoutAnArrayABinIsEmptyAndFull) {
  for (uintptr_t top : {HZ4_TOP_NONE, HZ4_TOP_CLAIMED, HZ4_TOP_CLAIMED_REMOTE}) {
    for (uint32_t c : {0u, 1u, kClass, uint32_t{HZ4_CLASS_COUNT}}) {
      cache_->top[c] = top;
      // A bin that is claimed keeps its limit, whatever it is.
      for (uintptr_t limit : {uintptr_t{0}, uintptr_t{4096}, uintptr_t(-4096)}) {
        if (top == HZ4_TOP_NONE && limit != 0) continue;
        cache_->limit[c] = limit;
        EXPECT_EQ(hz4_sequence_pop(c), nullptr);
        EXPECT_FALSE(hz4_sequence_push(c, objects_));
        EXPECT_EQ(cache_->top[c], top);
      }
    }
  }
}

TEST_F(Sequence, PushesToTheLastSlotAndPopsToTheFirst) {
  for (size_t capacity : {1, 2, 7, 255}) {
    Array array(capacity);
    array.PutInto(cache_, kClass);
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
      for (size_t i = 0; i < capacity; ++i) {
        ASSERT_TRUE(hz4_sequence_push(kClass, &objects_[i]));
        ASSERT_EQ(array.Objects(cache_, kClass), i + 1);
        ASSERT_EQ(array[i + 1], &objects_[i]);
      }
      EXPECT_FALSE(hz4_sequence_push(kClass, &objects_[capacity]));
      EXPECT_FALSE(hz4_sequence_push(kClass, &objects_[capacity]));
      EXPECT_EQ(array.Objects(cache_, kClass), capacity);
      EXPECT_TRUE(array.HasEnds());
      for (size_t i = capacity; i-- > 0;) {
        ASSERT_EQ(hz4_sequence_pop(kClass), &objects_[i]);
        ASSERT_EQ(array.Objects(cache_, kClass), i);
      }
    }
    EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
    EXPECT_EQ(array.Objects(cache_, kClass), 0u);
    EXPECT_TRUE(array.HasEnds());
  }
}

TEST_F(Sequence, ACountedPopTakesOffWhatIsLeft) {
  Array array(7);
  array.PutInto(cache_, kClass);
  const auto &left = cache_->sampler.left;
  cache_->sampler.left = 100;
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 10), nullptr);
  EXPECT_EQ(left, 100) << "the bin is empty";
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(hz4_sequence_push(kClass, &objects_[i]));
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 101), nullptr);
  EXPECT_EQ(left, 100) << "it is too little";
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 60), &objects_[3]);
  EXPECT_EQ(left, 40);
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 40), &objects_[2]) << "nothing but nothing is left";
  EXPECT_EQ(left, 0);
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 1), nullptr);
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 0), &objects_[1]);
  cache_->sampler.left = -5;
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 1), nullptr);
  EXPECT_EQ(left, -5);
  cache_->sampler.left = int64_t{1} << 62;
  EXPECT_EQ(hz4_sequence_pop_counted(kClass, 1), &objects_[0]);
  EXPECT_EQ(left, (int64_t{1} << 62) - 1);
  EXPECT_EQ(array.Objects(cache_, kClass), 0u);
}

// One bin's operations touch no other's.
TEST_F(Sequence, BinsAreApart) {
  std::vector<Array> arrays(HZ4_CLASS_SLOTS, Array(2));
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    arrays[c] = Array(2);
    arrays[c].PutInto(cache_, c);
    ASSERT_TRUE(hz4_sequence_push(c, &objects_[c]));
  }
  EXPECT_EQ(cache_->top[0], HZ4_TOP_NONE);
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    ASSERT_EQ(arrays[c].Objects(cache_, c), 1u);
    ASSERT_EQ(hz4_sequence_pop(c), &objects_[c]);
  }
  for (hz4_bin &bin : cache_->bins) EXPECT_EQ(bin.slots, nullptr) << "claims alone come to these";
}

TEST_F(Sequence, AClaimTakesTheBinAway) {
  Array array(7);
  array.PutInto(cache_, kClass);
  ASSERT_TRUE(hz4_sequence_push(kClass, objects_));
  const uintptr_t top = cache_->top[kClass];
  hz4_claim claim = hz4_sequence_claim(kClass);
  EXPECT_EQ(claim.cache, reinterpret_cast<char *>(cache_));
  EXPECT_EQ(claim.top, top);
  EXPECT_EQ(cache_->top[kClass], HZ4_TOP_CLAIMED);
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  EXPECT_FALSE(hz4_sequence_push(kClass, objects_));
  EXPECT_EQ(hz4_sequence_claim(kClass).top, HZ4_TOP_CLAIMED) << "somebody has it";
  cache_->top[kClass] = HZ4_TOP_CLAIMED_REMOTE;
  EXPECT_EQ(hz4_sequence_claim(kClass).top, HZ4_TOP_CLAIMED_REMOTE);
  EXPECT_EQ(cache_->top[kClass], HZ4_TOP_CLAIMED_REMOTE);
  cache_->top[kClass] = top;
  EXPECT_EQ(hz4_sequence_pop(kClass), objects_);
  // One without an array can be claimed too.
  claim = hz4_sequence_claim(kClass + 1);
  EXPECT_EQ(claim.top, HZ4_TOP_NONE);
  EXPECT_EQ(cache_->top[kClass + 1], HZ4_TOP_CLAIMED);
}

TEST_F(Sequence, AddsToOneCounter) {
  auto &values = cache_->counters.value;
  const auto offset = [&](auto *value) {
    return static_cast<size_t>(reinterpret_cast<char *>(value) - reinterpret_cast<char *>(cache_));
  };
  for (auto &range : values) {
    for (auto &value : range) {
      hz4_sequence_add(offset(&value), 5);
      hz4_sequence_add(offset(&value), uint64_t{1} << 40);
      ASSERT_EQ(value, (uint64_t{1} << 40) + 5);
    }
  }
  for (auto &range : values) {
    for (auto &value : range) EXPECT_EQ(value, (uint64_t{1} << 40) + 5);
  }
}

TEST_F(Sequence, TheIdSaysWhichCache) {
  std::vector<Array> arrays(3, Array(2));
  for (int id = 0; id < 3; ++id) {
    arrays[id] = Array(2);
    arrays[id].PutInto(caches_[id], kClass);
  }
  const size_t offset = offsetof(hz4_tcache, counters);
  for (int id = 0; id < 3; ++id) {
    area_.id = id;
    EXPECT_EQ(hz4_sequence_cache(), reinterpret_cast<char *>(caches_[id]));
    EXPECT_EQ(hz4_cache_here(), caches_[id]);
    EXPECT_EQ(hz4_sequence_pop(kClass), nullptr) << "what was pushed is elsewhere";
    EXPECT_TRUE(hz4_sequence_push(kClass, &objects_[id]));
    hz4_sequence_add(offset, id + 1);
  }
  for (int id : {1, 2, 0}) {
    area_.id = id;
    EXPECT_EQ(hz4_sequence_pop(kClass), &objects_[id]);
    EXPECT_EQ(caches_[id]->counters.value[0][0], static_cast<uint64_t>(id + 1));
    EXPECT_EQ(hz4_sequence_claim(kClass).cache, reinterpret_cast<char *>(caches_[id]));
  }
  area_.id = HZ4_AREA_NO_ID;
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  EXPECT_FALSE(hz4_sequence_push(kClass, objects_));
}

TEST_F(Sequence, AStandInsIsItsOwnCache) {
  hz4_cache_attach_own(cache_);
  EXPECT_TRUE(hz4_is_attached());
  EXPECT_EQ(hz4_cache_here(), cache_);
  EXPECT_TRUE(hz4_cache_is_own(cache_));
  Array array(1);
  array.PutInto(cache_, kClass);
  EXPECT_TRUE(hz4_sequence_push(kClass, objects_));
  EXPECT_EQ(array[1], objects_);
  hz4_cache_attach_own(nullptr);
  EXPECT_FALSE(hz4_is_attached());
  EXPECT_EQ(hz4_cache_here(), nullptr);
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  EXPECT_FALSE(hz4_sequence_push(kClass, objects_));
}

// ---- on CPUs ----

// Threads of which each is at the CPUs' caches, in the kernel's own area.
class SequenceOnCpus : public testing::Test {
 protected:
  void SetUp() override {
    if (hz4_rseq_ids() == 0 || hz4_rseq_area() == nullptr) GTEST_SKIP() << "the kernel at hand keeps no ids for us";
  }
  // Each beside the others; `body` gets the thread's number.
  template <class Body>
  void Run(size_t count, Body body) {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < count; ++t) {
      threads.emplace_back([&, t] {
        Attach();
        body(t);
        hz4_cache_attach_own(nullptr);
      });
    }
    // Signals come at any instruction.
    for (int i = 0; i < 200; ++i) {
      for (std::thread &thread : threads) pthread_kill(thread.native_handle(), SIGUSR1);
      sched_yield();
    }
    for (std::thread &thread : threads) thread.join();
  }
  void Attach() {
    hz4_front.caches = caches_.first();
    hz4_front.area = hz4_rseq_area();
  }
  Caches caches_{hz4_rseq_ids()};
};

constexpr size_t kThreads = 6, kRounds = 200000;

std::atomic<uint64_t> signals;

TEST_F(SequenceOnCpus, NoSumIsLost) {
  signals = 0;
  signal(SIGUSR1, [](int) {
    if (!hz4_is_attached()) return;
    hz4_sequence_add(offsetof(hz4_tcache, counters), 3);
    ++signals;
  });
  Run(kThreads, [](size_t) {
    for (size_t i = 0; i < kRounds; ++i) hz4_sequence_add(offsetof(hz4_tcache, counters), 1);
  });
  uint64_t sum = 0, used = 0;
  for (size_t id = 0; id < caches_.count(); ++id) {
    const uint64_t value = caches_[id]->counters.value[0][0];
    sum += value;
    used += value != 0;
  }
  EXPECT_EQ(sum, kThreads * kRounds + 3 * signals);
  EXPECT_GE(used, 1u);
  EXPECT_LE(used, kThreads + 1);
  signal(SIGUSR1, SIG_DFL);
}

// Objects go from bin to bin by way of threads, and of signals' handlers; in the end each is in one place.
TEST_F(SequenceOnCpus, EveryObjectIsInOnePlace) {
  constexpr size_t kObjects = 40, kCapacity = 12;
  std::vector<Array> arrays;
  for (size_t id = 0; id < caches_.count(); ++id) arrays.emplace_back(kCapacity);
  for (size_t id = 0; id < caches_.count(); ++id) {
    arrays[id] = Array(kCapacity);
    arrays[id].PutInto(caches_[id], kClass);
  }
  signals = 0;
  signal(SIGUSR1, [](int) {
    if (!hz4_is_attached()) return;
    void *object = hz4_sequence_pop(kClass);
    if (object == nullptr) return;
    while (!hz4_sequence_push(kClass, object)) sched_yield();  // it was full, and others will pop
    ++signals;
  });
  std::vector<int> objects(kObjects);
  std::vector<std::vector<void *>> mine(kThreads);
  for (size_t i = 0; i < kObjects; ++i) mine[i % kThreads].push_back(&objects[i]);
  std::atomic<uint64_t> popped{0}, pushed{0};
  Run(kThreads, [&](size_t t) {
    std::vector<void *> &held = mine[t];
    held.reserve(kObjects + 1);
    uint64_t pops = 0, pushes = 0;
    for (size_t i = 0; i < kRounds; ++i) {
      if (i / (t + 2) % 2 == 0 && !held.empty()) {
        if (!hz4_sequence_push(kClass, held.back())) continue;
        held.pop_back();
        ++pushes;
      } else if (void *object = hz4_sequence_pop(kClass)) {
        held.push_back(object);
        ++pops;
      }
      if (i % 1024 == 0) sched_yield();
    }
    popped += pops;
    pushed += pushes;
  });
  EXPECT_GT(popped, 0u);
  EXPECT_GT(pushed, 0u);
  std::vector<void *> all;
  for (const std::vector<void *> &held : mine) all.insert(all.end(), held.begin(), held.end());
  for (size_t id = 0; id < caches_.count(); ++id) {
    const size_t n = arrays[id].Objects(caches_[id], kClass);
    ASSERT_LE(n, kCapacity);
    ASSERT_TRUE(arrays[id].HasEnds());
    for (size_t i = 1; i <= n; ++i) all.push_back(arrays[id][i]);
  }
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), kObjects);
  for (size_t i = 0; i < kObjects; ++i) EXPECT_EQ(all[i], &objects[i]);
  signal(SIGUSR1, SIG_DFL);
}

// Of those who claim, one has it at a time.
TEST_F(SequenceOnCpus, OneHasTheClaim) {
  std::vector<uint64_t> visits(caches_.count());  // by who has claimed
  signal(SIGUSR1, [](int) {});
  std::atomic<uint64_t> claims{0};
  Run(kThreads, [&](size_t) {
    uint64_t n = 0;
    for (size_t i = 0; i < kRounds; ++i) {
      const hz4_claim claim = hz4_sequence_claim(kClass);
      if (claim.top == HZ4_TOP_CLAIMED) continue;
      auto *cache = reinterpret_cast<hz4_tcache *>(claim.cache);
      HZ4_SEQUENCE_ACQUIRE(&cache->top[kClass]);
      hz4_fetch_add_acq_rel(&cache->top[kClass], 0);  // pairs with the release below
      volatile uint64_t &here = visits[(claim.cache - caches_.first()) / HZ4_CACHE_BYTES];
      here = here + 1;
      if (i % 64 == 0) sched_yield();  // and goes on elsewhere
      hz4_store_release(&cache->top[kClass], claim.top);
      ++n;
    }
    claims += n;
  });
  uint64_t sum = 0;
  for (uint64_t n : visits) sum += n;
  EXPECT_EQ(sum, claims);
  EXPECT_GT(claims, 0u);
  signal(SIGUSR1, SIG_DFL);
}

}  // namespace
