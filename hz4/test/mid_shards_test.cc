// Mid and segments by shard: what is freed at another shard comes home, fresh memory is asked for last, and books add up.
#include <gtest/gtest.h>
#include <string.h>

#include <algorithm>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "hz4/limit.h"
#include "hz4/sequence.h"
#include "hz4/shard.h"
#include "hz4/span.h"
#include "hz4/test/mid.h"

namespace {

using namespace hz4_test;

// This thread is at a CPU, until the end.
class At {
 public:
  explicit At(uint32_t cpu) : before_(hz4_front.area) {
    area_.cpu_id = cpu;
    hz4_front.area = &area_;
  }
  ~At() { hz4_front.area = before_; }
  void Move(uint32_t cpu) { area_.cpu_id = cpu; }

 private:
  struct hz4_area area_ = {};
  struct hz4_area *before_;
};

uint32_t ShardOf(const void *object) { return hz4_pagemap_span(object)->shard; }

// What depots have goes home, as transfer.c does it.
void Drain() {
  std::vector<void *> objects(HZ4_MOVE_OBJECTS);
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) {
    for (uint32_t s = 0; s < hz4_shard_count(); ++s) {
      while (const uint32_t n = hz4_mid_drain(s, c, objects.data(), HZ4_MOVE_OBJECTS)) {
        EXPECT_EQ(hz4_mid_send_home(c, objects.data(), n), 0u);
      }
    }
  }
}

// So many, however many refills it takes.
std::vector<void *> TakeAll(uint32_t c, size_t want) {
  std::vector<void *> objects;
  while (objects.size() < want) {
    const std::vector<void *> some = Take(c, static_cast<uint32_t>(want - objects.size()));
    objects.insert(objects.end(), some.begin(), some.end());
  }
  return objects;
}

class MidShards : public Mid, public testing::WithParamInterface<uint32_t> {
 protected:
  void SetUp() override {
    Mid::SetUp();
    hz4_shard_find(GetParam(), "");
    hz4_segment_purge(0);
    hz4_segment_unmap_free();
  }
  void TearDown() override {
    Drain();
    Mid::TearDown();
  }
};
using MidShardsDeathTest = MidShards;

INSTANTIATE_TEST_SUITE_P(Mid, MidShards, testing::Values(2, 4, 8, HZ4_SHARDS_MAX));
INSTANTIATE_TEST_SUITE_P(Mid, MidShardsDeathTest, testing::Values(2));

TEST_P(MidShards, ASpanIsTheShardsThatOpenedIt) {
  const uint32_t c = ClassOf(1024), in_span = hz4_class_table[c].span_objects;
  std::vector<void *> all;
  for (uint32_t s = 0; s < GetParam(); ++s) {
    const At at(s);
    Forget(c);
    for (void *object : Take(c, in_span)) {
      EXPECT_EQ(ShardOf(object), s);
      all.push_back(object);
    }
  }
  EXPECT_EQ(Now().spans, GetParam());
  hz4_mid_check();
  hz4_segment_check();
  const At at(GetParam() - 1);
  const hz4_mid_result gave = Give(c, all);
  EXPECT_EQ(gave.away, all.size() - in_span) << "a batch for each";
  EXPECT_EQ(gave.spans_closed, GetParam()) << "nobody takes: the depots stay empty";
}

TEST_P(MidShards, WhoTakesGetsWhatHisShardFreed) {
  const uint32_t c = ClassOf(512);
  At at(0);
  std::vector<void *> objects = TakeAll(c, 800);
  at.Move(1);
  // Once the depot was too small, and then empty.
  for (int i = 0; i < 4; ++i) {
    Give(c, {objects.begin(), objects.begin() + 60});
    const std::vector<void *> again = TakeAll(c, 60);
    std::copy(again.begin(), again.end(), objects.begin());
  }
  const hz4_mid_result gave = Give(c, {objects.begin(), objects.begin() + 60});
  EXPECT_EQ(gave.away, 0u);
  hz4_mid_check();
  std::vector<void *> again(60);
  const hz4_mid_result got = hz4_mid_take(c, again.data(), 60, 0, nullptr, false);
  EXPECT_EQ(got.from_depot, 60u);
  EXPECT_EQ(got.away, 0u);
  EXPECT_EQ(ShardOf(again[0]), 0u);
  std::copy(again.begin(), again.end(), objects.begin());
  // Not all fit.
  Give(c, objects);
  EXPECT_LT(Now().depot_objects, 800u);
  Drain();
  EXPECT_EQ(Now().depot_objects, 0u);
  EXPECT_EQ(Now().spans, 0u);
}

TEST_P(MidShards, FreshMemoryIsTheLast) {
  const uint32_t c = ClassOf(2048);
  At at(0);
  std::vector<void *> objects = Take(c, 3);
  ASSERT_EQ(Now().spans, 1u);
  at.Move(1);
  EXPECT_TRUE(Take(c, 5, 0).empty()) << "first its own";
  std::vector<void *> more(5);
  const hz4_mid_result got = hz4_mid_take(c, more.data(), 5, kAll, nullptr, false);
  EXPECT_EQ(got.objects, 5u);
  EXPECT_EQ(got.away, 5u);
  EXPECT_EQ(Now().spans, 1u);
  objects.insert(objects.end(), more.begin(), more.end());
  // A free run of pages.
  const std::vector<void *> other = Take(ClassOf(4096), 1);
  EXPECT_EQ(ShardOf(other[0]), 1u);
  EXPECT_EQ(Segments().segments, 1u) << "of the first shard's segment";
  Give(ClassOf(4096), other);
  Give(c, objects);
}

TEST_P(MidShards, FreePagesAreBoundedByAllTogether) {
  const uint32_t c = ClassOf(65536);
  std::vector<std::vector<void *>> objects(GetParam());
  for (uint32_t s = 0; s < GetParam(); ++s) {
    const At at(s);
    objects[s] = TakeAll(c, 128);
  }
  for (uint32_t s = 0; s < GetParam(); ++s) {
    const At at(GetParam() - 1 - s);
    Give(c, objects[s]);
    for (int i = 0; i < 16; ++i) hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
    EXPECT_LE(Segments().dirty_bytes, (4u << 20) + Segments().used_bytes / 16);
  }
}

TEST_P(MidShards, AFallInOneIsADeclineForAll) {
  const uint32_t c = ClassOf(768);
  At at(0);
  std::vector<void *> objects = TakeAll(c, 2000);
  at.Move(1);
  const uint32_t before = hz4_mid_declines(c);
  bool declined = false;
  for (; objects.size() > 200; objects.resize(objects.size() - 60)) {
    declined |= Give(c, {objects.end() - 60, objects.end()}).declined;
  }
  EXPECT_TRUE(declined);
  EXPECT_NE(hz4_mid_declines(c), before);
  Give(c, objects);
}

TEST_P(MidShards, ForkHasAllLocks) {
  const uint32_t c = ClassOf(128);
  std::vector<void *> objects;
  for (uint32_t s = 0; s < 2; ++s) {
    const At at(s);
    for (void *object : Take(c, hz4_class_table[c].span_objects)) objects.push_back(object);
  }
  hz4_mid_fork(hz4_lock_fork_acquire);
  hz4_segment_fork(hz4_lock_fork_acquire);
  {
    const At at(1);
    EXPECT_TRUE(Take(c, 1).empty());
    EXPECT_EQ(hz4_mid_give(c, objects.data(), 5, nullptr, true).objects, 0u);
    EXPECT_EQ(hz4_segment_alloc(1, true).base, nullptr);
    EXPECT_EQ(hz4_mid_send_home(c, objects.data(), 5), 5u);
  }
  hz4_segment_fork(hz4_lock_fork_release);
  hz4_mid_fork(hz4_lock_fork_release);
  hz4_mid_fork(hz4_lock_fork_acquire);
  hz4_segment_fork(hz4_lock_fork_acquire);
  hz4_segment_fork(hz4_lock_fork_reset);
  hz4_mid_fork(hz4_lock_fork_reset);
  Give(c, objects);
}

TEST_P(MidShards, NoMemoryForAShardIsTheFirst) {
  const uint32_t c = ClassOf(176);
  const At at(HZ4_SHARDS_MAX - 1);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  const std::vector<void *> none = Take(c, 1);
  hz4_sys_fake_reset();
  Give(c, none);
  Give(c, Take(c, 1));
}

TEST_P(MidShards, ThreadsAtEachMoveObjectsAbout) {
  std::vector<void *> shared[3];
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      At at(t);
      std::mt19937_64 random(t);
      const uint32_t classes[] = {ClassOf(48), ClassOf(3000), ClassOf(65536)};
      for (int i = 0; i < 2000; ++i) {
        const size_t k = random() % 3;
        if (random() % 64 == 0) at.Move(static_cast<uint32_t>(random()));
        if (random() % 2 == 0) {
          const std::vector<void *> taken = Take(classes[k], 20);
          for (void *object : taken) *static_cast<volatile uint32_t *>(object) = t;
          const std::lock_guard<std::mutex> lock(mutex);
          shared[k].insert(shared[k].end(), taken.begin(), taken.end());
        } else {
          std::vector<void *> mine;
          {
            const std::lock_guard<std::mutex> lock(mutex);
            const size_t n = std::min<size_t>(shared[k].size(), random() % 40);
            mine.assign(shared[k].end() - n, shared[k].end());
            shared[k].resize(shared[k].size() - n);
          }
          for (void *object : mine) *static_cast<volatile uint32_t *>(object) = t;
          Give(classes[k], mine, random() % 2 == 0 ? &at : nullptr);
          hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
        }
        if (i % 500 == 0) Drain();
        if (i % 500 == 250) hz4_mid_check(), hz4_segment_check();
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  const uint32_t classes[] = {ClassOf(48), ClassOf(3000), ClassOf(65536)};
  for (size_t k = 0; k < 3; ++k) Give(classes[k], shared[k]);
}

TEST_P(MidShardsDeathTest, AnObjectThatIsPutToTheWrongShardIsNoticed) {
  const uint32_t c = ClassOf(1024);
  std::vector<void *> objects = Take(c, 10);
  struct hz4_span *span = hz4_pagemap_span(objects[0]);
  EXPECT_DEATH(
      {
        const At at(1);
        Give(c, Take(c, 1));  // there is such a shard
        span->shard = 1;
        Give(c, {objects[0]});
        hz4_mid_check();
      },
      "mid: ");
  Give(c, objects);
}

}  // namespace
