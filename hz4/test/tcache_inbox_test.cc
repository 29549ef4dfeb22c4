// What one thread's cache sends to another's: batches, their bounds, thieves, and ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "hz4/rseq.h"
#include "hz4/tcache.h"
#include "hz4/test/tcache.h"

namespace {

using namespace hz4_test;

using TcacheInbox = Tcache;

TEST_F(TcacheInbox, BatchesOfOneOwnerGoToItsInbox) {
  for (size_t bytes : {size_t{64}, size_t{1024}, HZ4_INBOX_OBJECT_MAX}) {
    Cache owner, other;
    const uint32_t c = ClassOf(bytes);
    other.Free(c, other.Malloc(c));  // so that it has heard of all declines so far
    std::vector<void *> objects = owner.MallocMany(c, 2000);
    const std::vector<void *> some(objects.begin(), objects.begin() + 900);  // fewer than a decline
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
    EXPECT_GT(owner.SpareBatches(), 0u) << "empty batches are kept for the next sending";
    EXPECT_LE(owner.SpareBatches(), size_t{HZ4_BATCH_CACHE});
    owner.FreeAll(c, objects);
    owner.Check();
    other.Check();
  }
}

// As many batches as may wait of small objects would be more bytes than may, of large ones.
TEST_F(TcacheInbox, WholeBatchesOfLargeObjectsAreBoundedInBytes) {
  Cache owner, other;
  const uint32_t c = ClassOf(HZ4_INBOX_OBJECT_MAX);
  std::vector<void *> objects = owner.MallocMany(c, 2000);  // so many that nothing below is a decline
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
  // In turn: a's and b's are next to each other, whatever the number that leaves.
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

// The sample is the oldest object that leaves, the newest, and those at equal, odd distances in between.
TEST_F(TcacheInbox, EachObjectOfTheSampleMustAgree) {
  Cache a, b, other;
  const uint32_t c = ClassOf(1024);
  std::vector<void *> of_a = a.MallocMany(c, 1000), of_b = b.MallocMany(c, 1000);
  for (auto *objects : {&of_a, &of_b}) std::rotate(objects->begin(), objects->begin() + 100, objects->end());
  hz4_tcache_set_budget(15 * hz4_class_bytes(c));  // and so the bin does not grow below
  other.FreeAll(c, other.MallocMany(c, 40));
  GiveToMid(c, other.PopAll(c));
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
    const size_t step = (leave - 1) / (HZ4_OWNER_SAMPLES - 1) | 1;
    for (size_t i = 0; i < HZ4_OWNER_SAMPLES; ++i) in_sample |= odd == std::min(i * step, leave - 1);
    for (size_t i = 0; i < room; ++i) other.Free(c, take(i == odd ? &of_b : &of_a));
    const uint64_t pushed = other.Count(HZ4_COUNT_inbox_push);
    other.Free(c, take(&of_a));
    EXPECT_EQ(other.Count(HZ4_COUNT_inbox_push) == pushed, in_sample) << odd << " of " << leave;
    hz4_transfer_empty(a.get(), false);
    GiveToMid(c, other.PopAll(c));
  }
  EXPECT_EQ(other.Capacity(c), room);
  a.FreeAll(c, of_a);
  b.FreeAll(c, of_b);
}

// When the heap declines CPUs' caches are emptied, their inboxes too: nobody else would empty one that fell idle, and spans would
// stay for the sake of a few objects. Not a thread's.
TEST_F(TcacheInbox, ADeclineOfTheHeapEmptiesCachesOfCpus) {
  if (!hz4_rseq_restart_all()) GTEST_SKIP() << "this kernel does not restart sequences";
  Cpus cpus(3);
  Cache own;
  const uint32_t c = ClassOf(1024), d = ClassOf(64);
  const std::vector<void *> objects = cpus.Do(1, [&] { return MallocSome(c, 2000); });
  own.FreeAll(d, own.MallocMany(d, 10));
  for (int id : {0, 1, 2}) cpus.Do(id, [&] { FreeSome(d, MallocSome(d, 10)); });
  ASSERT_GE(Objects(cpus.cache(1), d), 10u);
  cpus.Do(0, [&] { FreeSome(c, {objects.begin(), objects.begin() + 600}); });
  ASSERT_GT(Waiting(cpus.cache(1), c), 0u);
  for (void *object : cpus.Do(0, [&] { return MallocSome(d, 200000); })) {
    cpus.Do(0, [&] { FreeHere(d, object); });
    cpus.Do(2, [&] { FreeHere(d, hz4_tcache_refill(d, nullptr)); });
  }
  EXPECT_EQ(Objects(cpus.cache(1), d), 0u);
  EXPECT_EQ(Waiting(cpus.cache(1), c), 0u);
  EXPECT_GT(Objects(cpus.cache(2), d), 0u);
  EXPECT_GE(own.Held(d), 10u);
  cpus.Do(1, [&] { FreeSome(c, {objects.begin() + 600, objects.end()}); });
}

// Nor does what was sent to a thread stay in its inbox when the class declines: it may be asleep.
TEST_F(TcacheInbox, ADeclineEmptiesTheOwnersInbox) {
  Cache owner, other;
  const uint32_t c = ClassOf(1024);
  std::vector<void *> objects = owner.MallocMany(c, 4000);
  const uint32_t before = hz4_mid_declines(c);
  size_t waited = 0;
  for (; hz4_mid_declines(c) == before; objects.pop_back()) {
    waited = owner.Waiting(c);
    ASSERT_FALSE(objects.empty());
    other.Free(c, objects.back());
  }
  EXPECT_GT(waited, 0u);
  // What the bin gives up when it is halved may have been sent since.
  EXPECT_LE(owner.Waiting(c), size_t{HZ4_BATCH_OBJECTS});
  EXPECT_LT(owner.Waiting(c), waited);
  owner.Check();
  owner.FreeAll(c, objects);
}

// And whoever it was sent to: the batch that declines may be of another's objects.
TEST_F(TcacheInbox, ADeclineEmptiesTheClasssInboxes) {
  Cache first, second, other;
  const uint32_t c = ClassOf(1024);
  const std::vector<void *> sent = first.MallocMany(c, 600);
  std::vector<void *> objects = second.MallocMany(c, 4000);
  other.Free(c, other.Malloc(c));  // so that it has heard of all declines so far
  const uint32_t before = hz4_mid_declines(c);
  for (void *object : sent) other.Free(c, object);
  ASSERT_EQ(hz4_mid_declines(c), before);
  ASSERT_GT(first.Waiting(c), 0u);
  for (; hz4_mid_declines(c) == before; objects.pop_back()) {
    ASSERT_FALSE(objects.empty());
    other.Free(c, objects.back());
  }
  EXPECT_LE(first.Waiting(c), size_t{HZ4_BATCH_OBJECTS});
  first.Check();
  second.FreeAll(c, objects);
}

TEST_F(TcacheInbox, WithoutInboxesEverythingGoesToMid) {
  hz4_option.inbox = 0;
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
  objects.push_back(thief.Malloc(c));
  EXPECT_EQ(thief.Count(HZ4_COUNT_refill_steal), 0u) << "Mid comes first";
  const std::vector<void *> cached = thief.PopAll(c), rest = DrainMid(c);
  const size_t waited = owner.Waiting(c);
  ASSERT_GT(waited, 0u);
  objects.push_back(thief.Malloc(c));
  EXPECT_EQ(owner.Waiting(c), 0u);
  EXPECT_GT(thief.Held(c), 0u);
  EXPECT_EQ(thief.Count(HZ4_COUNT_refill_steal), 1u);
  EXPECT_EQ(thief.Count(HZ4_COUNT_refill_inbox), 0u);
  EXPECT_EQ(thief.get()->inbox_stash_max, waited);
  EXPECT_GT(thief.Count(HZ4_COUNT_inbox_spill), 0u) << "a small bin cannot take all of it";
  EXPECT_EQ(thief.Count(HZ4_COUNT_inbox_spill), waited - thief.Held(c) - 1);
  const std::vector<void *> stolen = thief.PopAll(c), spilled = DrainMid(c);
  const uint64_t opened = thief.Count(HZ4_COUNT_span_opened);
  objects.push_back(thief.Malloc(c));
  EXPECT_EQ(thief.Count(HZ4_COUNT_refill_steal), 1u) << "nothing is left";
  EXPECT_EQ(thief.Count(HZ4_COUNT_span_opened), opened + 1);
  thief.Check();
  thief.FreeAll(c, objects);
  thief.FreeAll(c, cached);
  thief.FreeAll(c, stolen);
  GiveToMid(c, rest);
  GiveToMid(c, spilled);
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
  other.Empty();
  owner.Empty();
  hz4_transfer_empty(owner.get(), false);
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
        if (random() % 20 == 0) hz4_transfer_empty(caches[random() % kThreads].get(), false);
        if (i % 100 == 0) cache.Check();
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  for (auto &[c, object] : mail) caches[0].Free(c, object);
}

}  // namespace
