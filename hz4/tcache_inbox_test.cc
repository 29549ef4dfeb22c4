// What one thread's cache sends to another's: batches, their bounds, thieves, and ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "hz4/tcache.h"
#include "hz4/test_tcache.h"

namespace {

using namespace hz4_test;

using TcacheInbox = Tcache;

TEST_F(TcacheInbox, BatchesOfOneOwnerGoToItsInbox) {
  for (size_t bytes : {size_t{64}, size_t{1024}, HZ4_INBOX_OBJECT_MAX}) {
    Cache owner, other;
    const uint32_t c = ClassOf(bytes);
    other.Free(c, other.Malloc(c));  // so that it has heard of all ebbs so far
    std::vector<void *> objects = owner.MallocMany(c, 2000);
    const std::vector<void *> some(objects.begin(), objects.begin() + 900);  // fewer than an ebb
    other.FreeAll(c, some);
    EXPECT_GT(other.Count(HZ4_COUNT_inbox_push), 0u) << bytes;
    EXPECT_EQ(other.Count(HZ4_COUNT_inbox_push_objects), owner.Waiting(c));
    // What an owner who sleeps withholds is bounded.
    EXPECT_LE(owner.get()->inbox[c].word & HZ4_INBOX_DEPTH_MASK, uintptr_t{HZ4_INBOX_BATCHES_MAX});
    EXPECT_LE(owner.Waiting(c) * bytes, HZ4_INBOX_BYTES_MAX);
    EXPECT_GT(other.Count(HZ4_COUNT_inbox_refused), 0u);
    // The owner finds them at its next miss.
    objects.erase(objects.begin(), objects.begin() + 900);
    const size_t waited = owner.Waiting(c);
    while (owner.Waiting(c) != 0) objects.push_back(owner.Malloc(c));
    EXPECT_EQ(owner.Count(HZ4_COUNT_refill_inbox), 1u);
    EXPECT_EQ(owner.get()->inbox_stash_max, waited);
    EXPECT_GT(owner.get()->node_count, 0u) << "empty batches are kept for the next sending";
    EXPECT_LE(owner.get()->node_count, uint32_t{HZ4_BATCH_CACHE});
    owner.FreeAll(c, objects);
    owner.Check();
    other.Check();
  }
}

// As many batches as may wait of small objects would be more bytes than may, of large ones.
TEST_F(TcacheInbox, WholeBatchesOfLargeObjectsAreBoundedInBytes) {
  Cache owner, other;
  const uint32_t c = ClassOf(HZ4_INBOX_OBJECT_MAX);
  std::vector<void *> objects = owner.MallocMany(c, 2000);  // so many that nothing below is an ebb
  for (int i = 0; i < 8; ++i) other.FreeAll(c, other.MallocMany(c, 200));
  ASSERT_GE(other.Capacity(c), size_t{HZ4_BATCH_OBJECTS}) << "so that what leaves it is a whole batch";
  other.FreeAll(c, {objects.begin(), objects.begin() + 900});
  EXPECT_GT(owner.Waiting(c), 0u);
  EXPECT_LE(owner.Waiting(c) * HZ4_INBOX_OBJECT_MAX, HZ4_INBOX_BYTES_MAX);
  owner.FreeAll(c, {objects.begin() + 900, objects.end()});
}

// A sample of the objects that leave must agree on the owner.
TEST_F(TcacheInbox, MixedBatchesGoToMid) {
  Cache a, b, other;
  const uint32_t c = ClassOf(1024);
  const std::vector<void *> of_a = a.MallocMany(c, 1000), of_b = b.MallocMany(c, 1000);
  ASSERT_EQ(hz4_mid_owner(of_a[500]), a.get());
  ASSERT_EQ(hz4_mid_owner(of_b[500]), b.get());
  // Bins, and what leaves them, are even in number: the oldest is always a's, and the newest that leaves b's.
  for (size_t i = 100; i < 900; ++i) {
    other.Free(c, of_a[i]);
    other.Free(c, of_b[i]);
  }
  EXPECT_GT(other.Count(HZ4_COUNT_flush_objects), 500u);
  EXPECT_EQ(other.Count(HZ4_COUNT_inbox_push), 0u);
  for (size_t i = 0; i < 1000; ++i) {
    if (i >= 100 && i < 900) continue;
    a.Free(c, of_a[i]);
    b.Free(c, of_b[i]);
  }
}

// The sample is the oldest object that leaves, the newest, and those at equal distances in between.
TEST_F(TcacheInbox, EachObjectOfTheSampleMustAgree) {
  Cache a, b, other;
  const uint32_t c = ClassOf(1024);
  std::vector<void *> of_a = a.MallocMany(c, 1000), of_b = b.MallocMany(c, 1000);
  for (auto *objects : {&of_a, &of_b}) std::rotate(objects->begin(), objects->begin() + 100, objects->end());
  hz4_tcache_set_budget(15 * hz4_class_bytes(c));  // and so the bin does not grow below
  other.FreeAll(c, other.MallocMany(c, 40));
  hz4_tcache_trim(other.get());
  const size_t room = other.Capacity(c), leave = room - room / 2;
  ASSERT_GE(room, size_t{HZ4_OWNER_SAMPLES} * 2);
  ASSERT_LE(room * (room + 1), 600u);
  const auto take = [](std::vector<void *> *from) {
    void *object = from->front();
    from->erase(from->begin());
    return object;
  };
  // One object that is b's, at each place of a bin that is full of a's otherwise.
  for (size_t odd = 0; odd < room; ++odd) {
    bool in_sample = false;
    for (size_t i = 0; i < HZ4_OWNER_SAMPLES; ++i) in_sample |= odd == (leave - 1) * i / (HZ4_OWNER_SAMPLES - 1);
    for (size_t i = 0; i < room; ++i) other.Free(c, take(i == odd ? &of_b : &of_a));
    const uint64_t pushed = other.Count(HZ4_COUNT_inbox_push);
    other.Free(c, take(&of_a));
    EXPECT_EQ(other.Count(HZ4_COUNT_inbox_push) == pushed, in_sample) << odd << " of " << leave;
    hz4_tcache_empty_inboxes(other.get(), a.get());
    hz4_tcache_trim(other.get());
  }
  EXPECT_EQ(other.Capacity(c), room);
  a.FreeAll(c, of_a);
  b.FreeAll(c, of_b);
}

// Then nobody else would empty its inbox, and spans would stay for the sake of a few objects.
TEST_F(TcacheInbox, AnEbbEmptiesASleepersInbox) {
  Cache owner, other;
  const uint32_t c = ClassOf(1024);
  other.Free(c, other.Malloc(c));  // so that it has heard of all ebbs so far
  const std::vector<void *> objects = owner.MallocMany(c, 2000);
  other.FreeAll(c, {objects.begin(), objects.begin() + 900});
  const size_t waiting = owner.Waiting(c);
  ASSERT_GT(waiting, 0u);
  other.FreeAll(c, {objects.begin() + 900, objects.end()});
  EXPECT_GT(other.Count(HZ4_COUNT_inbox_push_objects), owner.Waiting(c) + waiting / 2);
}

TEST_F(TcacheInbox, WithoutInboxesEverythingGoesToMid) {
  hz4_options.inbox = 0;
  Cache owner, other;
  other.FreeAll(5, owner.MallocMany(5, 2000));
  EXPECT_EQ(other.Count(HZ4_COUNT_inbox_push), 0u);
  EXPECT_EQ(owner.Waiting(5), 0u);
}

TEST_F(TcacheInbox, LargerObjectsGoToMid) {
  Cache owner, other;
  const uint32_t c = ClassOf(HZ4_INBOX_OBJECT_MAX + 1);
  other.FreeAll(c, owner.MallocMany(c, 500));
  EXPECT_GT(other.Count(HZ4_COUNT_flush_objects), 100u);
  EXPECT_EQ(other.Count(HZ4_COUNT_inbox_push), 0u);
  EXPECT_EQ(other.Count(HZ4_COUNT_inbox_refused), 0u) << "not even tried";
}

TEST_F(TcacheInbox, AThiefTakesWhatWaits) {
  Cache owner, other, thief;
  const uint32_t c = ClassOf(512);
  std::vector<void *> objects = owner.MallocMany(c, 2000);
  other.FreeAll(c, {objects.begin(), objects.begin() + 900});
  objects.erase(objects.begin(), objects.begin() + 900);
  ASSERT_GT(owner.Waiting(c), 0u);
  EXPECT_FALSE(hz4_tcache_steal(thief.get(), owner.get(), c)) << "without a bin there is no place";
  do objects.push_back(thief.Malloc(c));
  while (thief.Held(c) != 0);
  const size_t waited = owner.Waiting(c);
  EXPECT_TRUE(hz4_tcache_steal(thief.get(), owner.get(), c));
  EXPECT_EQ(owner.Waiting(c), 0u);
  EXPECT_GT(thief.Held(c), 0u);
  EXPECT_EQ(thief.Count(HZ4_COUNT_refill_steal), 1u);
  EXPECT_GT(thief.Count(HZ4_COUNT_inbox_spill), 0u) << "a small bin cannot take all of it";
  EXPECT_EQ(thief.Count(HZ4_COUNT_inbox_spill), waited - thief.Held(c));
  EXPECT_FALSE(hz4_tcache_steal(thief.get(), other.get(), c));
  thief.Check();
  thief.FreeAll(c, objects);
}

TEST_F(TcacheInbox, ClosedInboxesTakeNothing) {
  Cache owner, other;
  const uint32_t c = ClassOf(256);
  const std::vector<void *> objects = owner.MallocMany(c, 2000);
  owner.Close();
  other.FreeAll(c, objects);
  EXPECT_EQ(other.Count(HZ4_COUNT_inbox_push), 0u);
  EXPECT_GT(other.Count(HZ4_COUNT_inbox_refused), 0u);
  EXPECT_LE(other.Count(HZ4_COUNT_inbox_refused), other.Count(HZ4_COUNT_flush_lock)) << "one for each flush at most";
}

TEST_F(TcacheInbox, TrimAndEmptiedInboxesGiveEverything) {
  Cache owner, other;
  const uint32_t c = ClassOf(256);
  const std::vector<void *> objects = owner.MallocMany(c, 2000);
  other.FreeAll(c, {objects.begin(), objects.begin() + 900});
  ASSERT_GT(owner.Waiting(c), 0u);
  owner.FreeAll(c, {objects.begin() + 900, objects.end()});
  hz4_tcache_trim(other.get());
  hz4_tcache_trim(owner.get());
  hz4_tcache_empty_inboxes(other.get(), owner.get());
  EXPECT_EQ(owner.Waiting(c), 0u);
  EXPECT_EQ(owner.Held(c) + other.Held(c), 0u);
  hz4_mid_trim();
  EXPECT_EQ(MidNow().spans, 0u);
  other.FreeAll(c, owner.MallocMany(c, 10));
}

// Each thread frees what another allocated. At the end every object is home.
TEST_F(TcacheInbox, ThreadsFreeEachOthersObjects) {
  constexpr int kThreads = 4;
  std::array<Cache, kThreads> caches;
  std::mutex mutex;
  std::vector<std::pair<uint32_t, void *>> mail;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      const uint32_t classes[] = {2, ClassOf(700), ClassOf(9000)};
      Cache &cache = caches[t];
      for (int i = 0; i < 500; ++i) {
        std::vector<std::pair<uint32_t, void *>> mine;
        for (int j = 0; j < 100; ++j) {
          const uint32_t c = classes[random() % 3];
          void *object = cache.Malloc(c);
          if (object == nullptr) continue;
          *static_cast<volatile int *>(object) = t;
          mine.emplace_back(c, object);
        }
        {
          const std::lock_guard<std::mutex> lock(mutex);
          mail.swap(mine);
        }
        for (auto &[c, object] : mine) {
          *static_cast<volatile int *>(object) = t;
          cache.Free(c, object);
        }
        if (random() % 20 == 0) hz4_tcache_empty_inboxes(cache.get(), caches[random() % kThreads].get());
        if (i % 100 == 0) cache.Check();
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  for (auto &[c, object] : mail) caches[0].Free(c, object);
}

}  // namespace
