// Bins one by one: who has claimed one has it, what he publishes is there for all, and fork waits for him. And remote
// claims, beside threads that go on.
#include "hz4/bin.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "hz4/rseq.h"
#include "hz4/test/tcache.h"

namespace {

using namespace hz4_test;

constexpr uint32_t kClass = 9;
const size_t kBytes = hz4_class_bytes(kClass);

// Any pointers, for bins that nobody checks.
int things[2000];

bool Claim(uint32_t c, hz4_held *held) { return hz4_bin_claim(c, held); }

// A bin of the cache that the thread is at, with room for so many objects, which is claimed.
hz4_held NewBin(uint32_t c, uint32_t length, uint32_t capacity) {
  hz4_held held;
  if (!Claim(c, &held)) abort();
  EXPECT_EQ(hz4_bin_set_array(&held, hz4_bin_new_array(length), length), nullptr);
  hz4_bin_set_capacity(&held, capacity);
  return held;
}

void Delete(uint32_t c) {
  hz4_held held;
  uint32_t length, count;
  ASSERT_TRUE(Claim(c, &held));
  void **slots = hz4_bin_take_array(&held, &length, &count);
  if (slots != nullptr) hz4_bin_free_array(slots, length);
}

void PushMany(uint32_t c, size_t n) {
  for (size_t i = 0; i < n; ++i) ASSERT_TRUE(hz4_sequence_push(c, &things[i]));
}

// In the midst of it the thread is at the cache.
void Check(const hz4_held &held) {
  const char *broken = hz4_bin_broken(&held);
  if (broken != nullptr) hz4_panic(broken);
}

class Bin : public Tcache {
 protected:
  Bin() : at_(&front_) {}
  Cache cache_;
  Front front_ = cache_.front();
  const At at_;
};

TEST_F(Bin, AClaimIsOneThreadsAlone) {
  hz4_held held, second;
  ASSERT_TRUE(Claim(kClass, &held));
  EXPECT_EQ(held.cache, cache_.get());
  EXPECT_EQ(held.bin, &cache_.get()->bins[kClass]);
  EXPECT_EQ(held.size_class, kClass);
  EXPECT_EQ(held.top, nullptr) << "it has no array";
  EXPECT_EQ(hz4_bin_objects(&held), 0u);
  EXPECT_EQ(hz4_bin_length(held.bin), 0u);
  EXPECT_EQ(hz4_front.claims, 1u);
  EXPECT_FALSE(Claim(kClass, &second));
  EXPECT_EQ(hz4_front.claims, 1u);
  ASSERT_TRUE(Claim(kClass + 1, &second)) << "another bin is another's";
  EXPECT_EQ(hz4_front.claims, 2u);
  hz4_bin_publish(&held);
  hz4_bin_publish(&second);
  EXPECT_EQ(hz4_front.claims, 0u);
  EXPECT_EQ(cache_.get()->top[kClass], HZ4_TOP_NONE);
  ASSERT_TRUE(Claim(kClass, &held));
  hz4_bin_publish(&held);
}

TEST_F(Bin, WhatIsPublishedIsThereForAll) {
  hz4_held held = NewBin(kClass, 8, 7);
  EXPECT_EQ(hz4_bin_length(held.bin), 8u);
  EXPECT_EQ(cache_.get()->capacity_bytes, 7 * kBytes);
  EXPECT_FALSE(hz4_sequence_push(kClass, things)) << "not published";
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  *++held.top = &things[0];
  hz4_bin_publish(&held);
  EXPECT_EQ(hz4_sequence_pop(kClass), &things[0]);
  PushMany(kClass, 7);
  EXPECT_FALSE(hz4_sequence_push(kClass, &things[7]));
  ASSERT_TRUE(Claim(kClass, &held));
  EXPECT_EQ(hz4_bin_objects(&held), 7u);
  EXPECT_FALSE(hz4_sequence_push(kClass, &things[7]));
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  hz4_bin_publish(&held);
  for (int i = 6; i >= 0; --i) EXPECT_EQ(hz4_sequence_pop(kClass), &things[i]);
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  Delete(kClass);
}

TEST_F(Bin, TheCapacityIsWhereItIsFull) {
  for (uint32_t capacity : {1, 2, 3, 6, 7, 1, 7}) {
    hz4_held held = NewBin(kClass, 8, 7);
    hz4_bin_set_capacity(&held, capacity);
    EXPECT_EQ(cache_.get()->capacity_bytes, capacity * kBytes);
    EXPECT_EQ(held.bin->capacity, capacity);
    Check(held);
    hz4_bin_publish(&held);
    PushMany(kClass, capacity);
    EXPECT_FALSE(hz4_sequence_push(kClass, &things[7]));
    // More room where it lies.
    ASSERT_TRUE(Claim(kClass, &held));
    hz4_bin_set_capacity(&held, 7);
    hz4_bin_publish(&held);
    EXPECT_EQ(hz4_sequence_push(kClass, &things[7]), capacity < 7);
    Delete(kClass);
    EXPECT_EQ(cache_.get()->capacity_bytes, 0u);
  }
}

TEST_F(Bin, ALongerArrayHasTheSameObjects) {
  hz4_held held = NewBin(kClass, 8, 7);
  hz4_bin_publish(&held);
  uint32_t n = 5;
  PushMany(kClass, n);
  for (uint32_t length = 16; length <= HZ4_BIN_SLOTS_ALONE; length *= 2) {
    ASSERT_TRUE(Claim(kClass, &held));
    void **old = held.bin->slots;
    EXPECT_EQ(hz4_bin_set_array(&held, hz4_bin_new_array(length), length), old);
    hz4_bin_free_array(old, length / 2);
    EXPECT_EQ(hz4_bin_length(held.bin), length);
    EXPECT_EQ(hz4_bin_objects(&held), n);
    hz4_bin_set_capacity(&held, length - kNoObjects);
    EXPECT_EQ(cache_.get()->capacity_bytes, (length - kNoObjects) * kBytes);
    hz4_bin_publish(&held);
    for (; n < length - kNoObjects; ++n) ASSERT_TRUE(hz4_sequence_push(kClass, &things[n]));
    EXPECT_FALSE(hz4_sequence_push(kClass, &things[n]));
    EXPECT_EQ(hz4_bin_objects_lately(cache_.get(), kClass), n);
    ASSERT_TRUE(Claim(kClass, &held));
    EXPECT_EQ(hz4_bin_objects_lately(cache_.get(), kClass), 0u) << "somebody works on it";
    hz4_bin_publish(&held);
  }
  while (n-- > 0) ASSERT_EQ(hz4_sequence_pop(kClass), &things[n]);
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  EXPECT_EQ(hz4_bin_objects_lately(cache_.get(), kClass), 0u);
  Delete(kClass);
  EXPECT_EQ(hz4_bin_objects_lately(cache_.get(), kClass), 0u);
}

TEST_F(Bin, TheOldestAreTakenOrFewOfManyBelowTheNewestQuarter) {
  for (uint32_t n : {0, 1, 2, 7, 100, 255, 600}) {
    for (uint32_t keep : {0, 1, 3, 127, 599, 600}) {
      hz4_held held = NewBin(kClass, 1024, 1000);
      hz4_bin_publish(&held);
      PushMany(kClass, n);
      ASSERT_TRUE(Claim(kClass, &held));
      void *taken[HZ4_MOVE_OBJECTS];
      const uint32_t leave = std::min<uint32_t>(n > keep ? n - keep : 0, HZ4_MOVE_OBJECTS);
      ASSERT_EQ(hz4_bin_take(&held, keep, taken), leave);
      const uint32_t first = leave * 4 < n ? n - n / 4 - leave : 0;
      for (uint32_t i = 0; i < leave; ++i) ASSERT_EQ(taken[i], &things[first + i]);
      ASSERT_EQ(hz4_bin_objects(&held), n - leave);
      hz4_bin_publish(&held);
      for (uint32_t i = n; i-- > first + leave;) ASSERT_EQ(hz4_sequence_pop(kClass), &things[i]);
      for (uint32_t i = first; i-- > 0;) ASSERT_EQ(hz4_sequence_pop(kClass), &things[i]);
      ASSERT_EQ(hz4_sequence_pop(kClass), nullptr);
      Delete(kClass);
    }
  }
}

TEST_F(Bin, ATakenArrayLeavesNothing) {
  hz4_held held = NewBin(kClass, 16, 15);
  held.bin->refill = held.bin->declines = held.bin->one_way = 5;
  held.bin->missed = held.bin->alone = true;
  hz4_bin_publish(&held);
  PushMany(kClass, 9);
  ASSERT_TRUE(Claim(kClass, &held));
  uint32_t length, count;
  void **slots = hz4_bin_take_array(&held, &length, &count);
  EXPECT_EQ(hz4_front.claims, 0u) << "it is published";
  EXPECT_EQ(length, 16u);
  EXPECT_EQ(count, 9u);
  for (uint32_t i = 0; i < count; ++i) EXPECT_EQ(slots[i + 1], &things[i]);
  hz4_bin_free_array(slots, length);
  const hz4_bin &bin = cache_.get()->bins[kClass];
  EXPECT_TRUE(bin.slots == nullptr && bin.capacity == 0 && bin.refill == 0 && bin.declines == 0 && bin.one_way == 0);
  EXPECT_TRUE(!bin.missed && !bin.alone);
  EXPECT_EQ(cache_.get()->capacity_bytes, 0u);
  EXPECT_EQ(cache_.get()->top[kClass], HZ4_TOP_NONE);
  EXPECT_FALSE(hz4_sequence_push(kClass, things));
  EXPECT_EQ(hz4_sequence_pop(kClass), nullptr);
  ASSERT_TRUE(Claim(kClass, &held));
  EXPECT_EQ(hz4_bin_take_array(&held, &length, &count), nullptr) << "it has none";
  EXPECT_EQ(count, 0u);
}

TEST_F(Bin, ACacheIsListedWithItsFirstArray) {
  Cpus cpus(2);
  const auto listed = [](const hz4_tcache *which) {
    size_t n = 0;
    for (hz4_tcache *cache = hz4_cache_list(); cache != nullptr; cache = cache->next_listed) n += cache == which;
    return n;
  };
  for (int id : {1, 0}) {
    EXPECT_EQ(listed(cpus.cache(id)), 0u);
    cpus.Do(id, [] {
      for (uint32_t c : {kClass, kClass + 1}) {
        hz4_held held = NewBin(c, 8, 7);
        hz4_bin_publish(&held);
        Delete(c);
      }
    });
    EXPECT_EQ(listed(cpus.cache(id)), 1u);
    EXPECT_EQ(hz4_cache_list(), cpus.cache(id)) << "newest first";
  }
  EXPECT_EQ(hz4_cache_list()->next_listed, cpus.cache(1));
}

TEST_F(Bin, NoMemoryNoArray) {
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  std::vector<void **> arrays;
  while (void **array = hz4_bin_new_array(1024)) arrays.push_back(array);
  for (void **array : arrays) hz4_bin_free_array(array, 1024);
}

// ---- fork ----

TEST_F(Bin, NobodyClaimsWhileForkIsOn) {
  hz4_held held = NewBin(kClass, 8, 7);
  hz4_bin_publish(&held);
  const uintptr_t top = cache_.get()->top[kClass];
  for (auto *end : {hz4_bin_fork_parent, hz4_bin_fork_child}) {
    hz4_bin_fork_begin();
    EXPECT_FALSE(Claim(kClass, &held));
    EXPECT_EQ(hz4_front.claims, 0u);
    EXPECT_EQ(cache_.get()->top[kClass], top);
    EXPECT_TRUE(hz4_sequence_push(kClass, things)) << "sequences go on";
    EXPECT_EQ(hz4_sequence_pop(kClass), things);
    end();
    ASSERT_TRUE(Claim(kClass, &held));
    hz4_bin_publish(&held);
  }
  Delete(kClass);
}

// Of any thread, at any cache.
TEST_F(Bin, ForkWaitsForClaims) {
  std::atomic<int> step{0};
  std::thread holder([&] {
    Cpus cpus(1);
    cpus.Do(0, [&] {
      hz4_held held = NewBin(kClass, 8, 7);
      step = 1;
      while (step != 2) sched_yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      step = 3;
      hz4_bin_publish(&held);
      while (step != 4) sched_yield();
      Delete(kClass);
    });
  });
  while (step != 1) sched_yield();
  step = 2;
  hz4_bin_fork_begin();
  EXPECT_EQ(step, 3);
  hz4_bin_fork_parent();
  step = 4;
  holder.join();
}

// As in a signal's handler that has interrupted who had it.
TEST_F(Bin, ForkDoesNotWaitForItself) {
  hz4_held held = NewBin(kClass, 8, 7), other;
  hz4_bin_fork_begin();
  EXPECT_FALSE(Claim(kClass + 1, &other));
  hz4_bin_fork_parent();
  hz4_bin_publish(&held);
  Delete(kClass);
}

// ---- remote claims ----

class BinRemote : public Tcache {
 protected:
  void SetUp() override {
    Tcache::SetUp();
    if (!hz4_rseq_restart_all()) GTEST_SKIP() << "the kernel at hand does not restart sequences";
  }
  // The first group.
  uint32_t ClaimRemote(hz4_tcache *cache) {
    next_ = 1;
    return hz4_bin_claim_remote(cache, &next_, held_);
  }
  hz4_held held_[HZ4_REMOTE_BINS];
  uint32_t next_ = 0;
};

TEST_F(BinRemote, BinsWithArraysAreClaimed) {
  Cpus cpus(2);
  EXPECT_EQ(ClaimRemote(cpus.cache(1)), 0u) << "there are none";
  EXPECT_EQ(next_, uint32_t{HZ4_CLASS_SLOTS});
  cpus.Do(1, [&] {
    for (uint32_t c : {1u, kClass, uint32_t{HZ4_CLASS_COUNT}}) {
      hz4_held held = NewBin(c, 8, 7);
      hz4_bin_publish(&held);
      PushMany(c, 3);
    }
    hz4_held local;
    ASSERT_TRUE(Claim(kClass, &local));  // not this one
    ASSERT_EQ(ClaimRemote(cpus.cache(1)), 2u);
    EXPECT_EQ(next_, uint32_t{HZ4_CLASS_SLOTS}) << "these are all";
    EXPECT_EQ(hz4_front.claims, 3u);
    EXPECT_EQ(held_[0].size_class, 1u);
    EXPECT_EQ(held_[1].size_class, uint32_t{HZ4_CLASS_COUNT});
    for (int i : {0, 1}) {
      const uint32_t c = held_[i].size_class;
      EXPECT_EQ(held_[i].cache, cpus.cache(1));
      EXPECT_EQ(held_[i].bin, &cpus.cache(1)->bins[c]);
      EXPECT_EQ(hz4_bin_objects(&held_[i]), 3u);
      EXPECT_EQ(cpus.cache(1)->top[c], HZ4_TOP_CLAIMED_REMOTE);
      hz4_held other;
      EXPECT_FALSE(Claim(c, &other));
      EXPECT_EQ(hz4_sequence_pop(c), nullptr);
      EXPECT_FALSE(hz4_sequence_push(c, things));
      hz4_bin_publish(&held_[i]);
      EXPECT_EQ(hz4_sequence_pop(c), &things[2]);
    }
    hz4_bin_publish(&local);
    EXPECT_EQ(hz4_front.claims, 0u);
    for (uint32_t c : {1u, kClass, uint32_t{HZ4_CLASS_COUNT}}) Delete(c);
  });
}

// HZ4_REMOTE_BINS at a time, each once, from the class on that it is told.
TEST_F(BinRemote, BinsAreClaimedInGroups) {
  Cpus cpus(1);
  constexpr uint32_t kStep = 2, kBins = (HZ4_CLASS_SLOTS - 1) / kStep;
  static_assert(kBins > 2 * HZ4_REMOTE_BINS, "three groups");
  cpus.Do(0, [&] {
    for (uint32_t c = kStep; c < HZ4_CLASS_SLOTS; c += kStep) {
      hz4_held held = NewBin(c, 8, 7);
      hz4_bin_publish(&held);
      PushMany(c, 1);
    }
    std::vector<uint32_t> found;
    uint32_t next = 1;
    for (uint32_t left = kBins; left != 0;) {
      const uint32_t n = hz4_bin_claim_remote(cpus.cache(0), &next, held_);
      ASSERT_EQ(n, std::min<uint32_t>(left, HZ4_REMOTE_BINS));
      EXPECT_EQ(hz4_front.claims, n);
      for (uint32_t i = 0; i < n; ++i) {
        EXPECT_EQ(hz4_bin_objects(&held_[i]), 1u);
        found.push_back(held_[i].size_class);
      }
      left -= n;
      EXPECT_EQ(next, left != 0 ? found.back() + 1 : HZ4_CLASS_SLOTS);
      // The others are still everybody's.
      for (uint32_t c = next + next % kStep; c < HZ4_CLASS_SLOTS; c += kStep) {
        EXPECT_TRUE(hz4_sequence_push(c, &things[1]));
        EXPECT_EQ(hz4_sequence_pop(c), &things[1]);
      }
      for (uint32_t i = 0; i < n; ++i) hz4_bin_publish(&held_[i]);
    }
    ASSERT_EQ(found.size(), kBins);
    for (uint32_t i = 0; i < kBins; ++i) EXPECT_EQ(found[i], (i + 1) * kStep);
    EXPECT_EQ(hz4_bin_claim_remote(cpus.cache(0), &next, held_), 0u) << "it was told to begin at the end";
    EXPECT_EQ(next, uint32_t{HZ4_CLASS_SLOTS});
    EXPECT_EQ(hz4_front.claims, 0u);
    for (uint32_t c = kStep; c < HZ4_CLASS_SLOTS; c += kStep) Delete(c);
  });
}

TEST_F(BinRemote, NoneWhileForkIsOn) {
  Cpus cpus(1);
  cpus.Do(0, [&] {
    hz4_held held = NewBin(kClass, 8, 7);
    hz4_bin_publish(&held);
    PushMany(kClass, 3);
    const uintptr_t top = cpus.cache(0)->top[kClass];
    hz4_bin_fork_begin();
    EXPECT_EQ(ClaimRemote(cpus.cache(0)), 0u);
    EXPECT_EQ(next_, uint32_t{HZ4_CLASS_SLOTS}) << "nor later";
    EXPECT_EQ(cpus.cache(0)->top[kClass], top);
    EXPECT_EQ(hz4_front.claims, 0u);
    hz4_bin_fork_parent();
    EXPECT_EQ(ClaimRemote(cpus.cache(0)), 1u);
    hz4_bin_publish(&held_[0]);
    Delete(kClass);
  });
}

// Threads push and pop at the CPUs' caches, in the kernel's own areas, while another takes objects out of them and puts
// them back: in the end each is in one place.
TEST_F(BinRemote, BesideThreadsThatGoOn) {
  const size_t ids = hz4_rseq_ids();
  if (ids == 0 || hz4_rseq_area() == nullptr) GTEST_SKIP() << "the kernel at hand keeps no ids for us";
  constexpr size_t kThreads = 3, kObjects = 60, kCapacity = 15;
  Cpus cpus(static_cast<int>(ids));
  for (size_t id = 0; id < ids; ++id) {
    cpus.Do(static_cast<int>(id), [] {
      hz4_held held = NewBin(kClass, 16, kCapacity);
      hz4_bin_publish(&held);
    });
  }
  std::vector<std::vector<void *>> mine(kThreads);
  for (size_t i = 0; i < kObjects; ++i) mine[i % kThreads].push_back(&things[i]);
  std::atomic<bool> over{false};
  std::atomic<bool> at_work{false};
  std::atomic<uint64_t> steps{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const Front saved = hz4_front;
      hz4_front.caches = reinterpret_cast<char *>(cpus.cache(0));
      hz4_front.area = hz4_rseq_area();
      uint64_t n = 0;
      for (uint64_t i = 0; !over; ++i) {
        if (n == 1) at_work = true;
        if (i / (t + 2) % 2 == 0 && !mine[t].empty()) {
          if (!hz4_sequence_push(kClass, mine[t].back())) continue;
          mine[t].pop_back();
        } else if (void *object = hz4_sequence_pop(kClass)) {
          mine[t].push_back(object);
        } else {
          continue;
        }
        ++n;
      }
      steps += n;
      hz4_front = saved;
    });
  }
  uint64_t claimed = 0, moved = 0;
  std::vector<void *> carried;
  // A count, and until something has been seen: the machine may be busy.
  for (int i = 0; i < 1000 || moved == 0 || !at_work; ++i) {
    const int id = static_cast<int>(i % std::min<size_t>(ids, kThreads + 1));
    if (i >= 1000) sched_yield();
    if (ClaimRemote(cpus.cache(id)) == 0) continue;
    ++claimed;
    void *taken[HZ4_MOVE_OBJECTS];
    const uint32_t n = hz4_bin_take(&held_[0], 0, taken);
    std::vector<void *> found(taken, taken + n);
    ASSERT_EQ(std::count(found.begin(), found.end(), nullptr), 0);
    for (; !carried.empty() && hz4_bin_objects(&held_[0]) < kCapacity; carried.pop_back()) *++held_[0].top = carried.back();
    if (i % 16 == 0) sched_yield();
    hz4_bin_publish(&held_[0]);
    carried.insert(carried.end(), found.begin(), found.end());
    moved += n;
  }
  over = true;
  for (std::thread &thread : threads) thread.join();
  EXPECT_GT(claimed, 0u);
  EXPECT_GT(moved, 0u);
  EXPECT_GT(steps, 0u);
  EXPECT_EQ(hz4_front.claims, 0u);
  std::vector<void *> all = carried;
  for (const std::vector<void *> &held : mine) all.insert(all.end(), held.begin(), held.end());
  for (size_t id = 0; id < ids; ++id) {
    cpus.Do(static_cast<int>(id), [&] {
      while (void *object = hz4_sequence_pop(kClass)) all.push_back(object);
      Delete(kClass);
    });
  }
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), kObjects);
  for (size_t i = 0; i < kObjects; ++i) EXPECT_EQ(all[i], &things[i]);
}

// ---- hz4_bin_broken ----

TEST_F(Bin, CheckFindsWhatIsBroken) {
  testing::FLAGS_gtest_death_test_style = "fast";
  hz4_held held = NewBin(kClass, 8, 7);
  hz4_bin_publish(&held);
  std::vector<void *> objects(3), others(1);
  ASSERT_EQ(hz4_mid_take(kClass, objects.data(), 3, 3, nullptr, false).objects, 3u);
  ASSERT_EQ(hz4_mid_take(kClass + 1, others.data(), 1, 1, nullptr, false).objects, 1u);
  for (void *object : objects) ASSERT_TRUE(hz4_sequence_push(kClass, object));
  ASSERT_TRUE(Claim(kClass, &held));
  Check(held);
  EXPECT_DEATH((held.bin->slots[0] = things, Check(held)), "hz4: bin: no NULL below\n");
  EXPECT_DEATH((held.bin->capacity = 8, Check(held)), "hz4: bin: it overflows\n");
  EXPECT_DEATH((held.bin->capacity = 2, Check(held)), "hz4: bin: it overflows\n");
  EXPECT_DEATH((held.bin->slots[1] = others[0], Check(held)), "hz4: bin: an object of another class\n");
  EXPECT_DEATH((*held.top = things, Check(held)), "hz4: bin: an object of another class\n");
  EXPECT_DEATH((held.bin->slots = nullptr, Check(held)), "hz4: bin: no array, yet not empty\n");
  EXPECT_DEATH((held.top = nullptr, Check(held)), "hz4: bin: no array, yet not empty\n");
  hz4_bin_publish(&held);
  hz4_tcache_empty_here();
  GiveToMid(kClass + 1, others);
}

// A tiny bin has tiny objects of its size, of any home.
TEST_F(Bin, CheckKnowsTinyObjects) {
  testing::FLAGS_gtest_death_test_style = "fast";
  const uint32_t bin = HZ4_TINY_BIN + 1;
  hz4_held held = NewBin(bin, 8, 7);
  const uint32_t right[] = {hz4_class_at_home(bin, 0), hz4_class_at_home(bin, 5)};
  const uint32_t wrong[] = {hz4_class_by_size(bin), hz4_class_at_home(bin - 1, 0), hz4_class_at_home(bin + 1, 5)};
  for (uint32_t c : right) {
    ASSERT_EQ(hz4_mid_take(c, held.top + 1, 1, 1, nullptr, false).objects, 1u);
    ++held.top;
  }
  Check(held);
  for (uint32_t c : wrong) {
    std::vector<void *> other(1);
    ASSERT_EQ(hz4_mid_take(c, other.data(), 1, 1, nullptr, false).objects, 1u);
    EXPECT_DEATH((held.bin->slots[1] = other[0], Check(held)), "hz4: bin: an object of another class\n") << c;
    GiveToMid(c, other);
  }
  hz4_bin_publish(&held);
  hz4_tcache_empty_here();
}

}  // namespace
