// Caches over the hostile kernel: bins that grow and shrink, fork, no memory, and not an object lost.
#include "hz4/tcache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <random>
#include <set>
#include <vector>

#include "hz4/policy.h"
#include "hz4/test/tcache.h"

namespace {

using namespace hz4_test;

TEST_F(Tcache, NoCacheIsEmptyAndFull) {
  int object;
  EXPECT_FALSE(hz4_is_attached());
  EXPECT_EQ(hz4_cache_here(), nullptr);
  for (size_t c = 0; c <= HZ4_CLASS_COUNT; ++c) {
    EXPECT_EQ(hz4_sequence_pop(c), nullptr);
    EXPECT_FALSE(hz4_sequence_push(c, &object));
    EXPECT_EQ(hz4_no_cache.cache.top[c], HZ4_TOP_NONE);
  }
  Cache cache;
  cache.Do([&] {
    EXPECT_TRUE(hz4_is_attached());
    EXPECT_EQ(hz4_cache_here(), cache.get());
    EXPECT_TRUE(hz4_cache_is_own(cache.get()));
    EXPECT_FALSE(hz4_sequence_push(0, &object)) << "bin 0 is for what is no object";
    EXPECT_EQ(hz4_sequence_pop(0), nullptr);
  });
  EXPECT_FALSE(hz4_is_attached());
}

TEST_F(Tcache, EveryClassComesAndGoes) {
  Cache cache;
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    const std::vector<void *> objects = cache.MallocMany(c, 20);
    EXPECT_EQ(std::set<void *>(objects.begin(), objects.end()).size(), 20u);
    for (void *object : objects) ASSERT_EQ(hz4_pagemap_class(object), c);
    cache.FreeAll(c, objects);
    cache.Check();
  }
  EXPECT_EQ(cache.Count(HZ4_COUNT_refill_lock), cache.Count(HZ4_COUNT_refill_calls)) << "nobody sent anything";
}

TEST_F(Tcache, RefillsDouble) {
  for (size_t bytes : {size_t{64}, size_t{1024}}) {
    Cache cache;
    const uint32_t c = ClassOf(bytes);
    cache.FreeAll(c, cache.MallocMany(c, 1000));
    const uint64_t rest = 1000 / (hz4_class_table[c].bin_slots_max - kNoObjects);
    EXPECT_LE(cache.Count(HZ4_COUNT_refill_calls), 10 + 2 * rest) << "1, 2, 4 and so on, up to the bin's room at once";
  }
}

// Of a fresh span a refill takes so many bytes, or a quarter of what it wants.
TEST_F(Tcache, RefillsFromFreshSpans) {
  for (size_t bytes : {size_t{256}, size_t{2048}, size_t{32768}}) {
    Cache cache;
    const uint32_t c = ClassOf(bytes);
    std::vector<void *> objects = cache.MallocMany(c, 2000);
    const std::vector<void *> cached = cache.PopAll(c), rest = DrainMid(c);
    objects.push_back(cache.Malloc(c));
    const size_t want = std::min(cache.Capacity(c), size_t{HZ4_MOVE_OBJECTS});
    const size_t most = std::max(HZ4_REFILL_FRESH_BYTES / bytes, want / 4 + 1);
    EXPECT_EQ(cache.Held(c) + 1, std::min({want, most, size_t{hz4_class_table[c].span_objects}})) << bytes;
    cache.FreeAll(c, objects);
    cache.FreeAll(c, cached);
    GiveToMid(c, rest);
  }
}

// A free asks for the object's line, but not that of a thread that overflows again and again without a miss.
TEST_F(Tcache, WhoOnlyFreesFetchesNothing) {
  Cache maker, freer;
  const uint32_t c = ClassOf(1024);
  const std::vector<void *> objects = maker.MallocMany(c, 5000);
  for (void *object : objects) {
    freer.Free(c, object);
    const bool one_way = freer.Count(HZ4_COUNT_flush_calls) >= HZ4_AHEAD_OVERFLOWS;
    ASSERT_EQ(freer.front().ahead, one_way ? HZ4_NOWHERE : 0) << freer.Count(HZ4_COUNT_flush_calls);
  }
  ASSERT_EQ(freer.front().ahead, HZ4_NOWHERE);
  EXPECT_EQ(maker.front().ahead, 0u);
  const std::vector<void *> own = freer.MallocMany(c, freer.Held(c) + 1);
  EXPECT_EQ(freer.front().ahead, 0u) << "it allocates too";
  freer.FreeAll(c, own);
  for (int i = 0; i < 2 * HZ4_AHEAD_OVERFLOWS; ++i) freer.FreeAll(c, maker.MallocMany(c, 64));
  ASSERT_EQ(freer.front().ahead, HZ4_NOWHERE);
}

TEST_F(Tcache, NewestFreedIsHandedOutFirst) {
  Cache cache;
  const uint32_t c = ClassOf(64);
  const std::vector<void *> objects = cache.MallocMany(c, 3);
  EXPECT_LT(objects[0], objects[1]);
  EXPECT_LT(objects[1], objects[2]);
  cache.FreeAll(c, objects);
  EXPECT_EQ(cache.Malloc(c), objects[2]);
  EXPECT_EQ(cache.Malloc(c), objects[1]);
  EXPECT_EQ(cache.Malloc(c), objects[0]);
  cache.FreeAll(c, objects);
}

// ---- the size of bins ----

TEST_F(Tcache, BinsGrowWithUseToTheirLimit) {
  for (size_t bytes : {size_t{16}, size_t{2048}, size_t{32768}, HZ4_CLASS_MAX_BYTES}) {
    Cache cache;
    const uint32_t c = ClassOf(bytes), most = hz4_class_table[c].bin_slots_max - kNoObjects;
    const std::vector<void *> held = cache.MallocMany(c, most * 6);  // so that the waves are no declines
    for (int i = 0; i < 60; ++i) {
      PassBy(c);
      cache.FreeAll(c, cache.MallocMany(c, most * 3));
      ASSERT_LE(cache.Capacity(c), most);
      cache.Check();
    }
    EXPECT_GT(cache.Capacity(c) * 2 + kNoObjects, most) << bytes << ": it could have doubled";
    EXPECT_GT(cache.Count(HZ4_COUNT_bin_grow), 1u);
    cache.FreeAll(c, held);
  }
}

TEST_F(Tcache, AThreadThatOnlyAllocatesHoldsLittle) {
  for (size_t bytes : {size_t{16}, size_t{2048}, size_t{32768}, HZ4_CLASS_MAX_BYTES}) {
    Cache allocates, frees;
    const uint32_t c = ClassOf(bytes);
    const std::vector<void *> objects = allocates.MallocMany(c, 1000);
    frees.FreeAll(c, objects);
    for (Cache *cache : {&allocates, &frees}) {
      const size_t most = bytes <= HZ4_BIN_ONE_WAY_OBJECT_MAX ? HZ4_BIN_ONE_WAY_BYTES : HZ4_BIN_FIRST_BYTES;
      EXPECT_LE(cache->Capacity(c) * bytes, std::max(most, bytes)) << bytes;
      EXPECT_GE(cache->Capacity(c), 1u);
    }
  }
}

// Beyond its first bytes it grows after HZ4_BIN_ONE_WAY_AFTER overflows each time.
TEST_F(Tcache, ABinThatOnlyOverflowsGrowsSlowly) {
  Cache allocates, frees;
  const uint32_t c = ClassOf(16384);
  std::vector<uint64_t> grown;  // overflows until then
  size_t room = 0;
  std::vector<void *> objects = allocates.MallocMany(c, 4000);
  for (; objects.size() > 3000; objects.pop_back()) {  // no decline yet
    frees.Free(c, objects.back());
    if (frees.Capacity(c) != room) grown.push_back(frees.Count(HZ4_COUNT_flush_calls));
    room = frees.Capacity(c);
  }
  const uint64_t after = HZ4_BIN_ONE_WAY_AFTER;
  EXPECT_EQ(grown, (std::vector<uint64_t>{1, 1 + after, 1 + 2 * after})) << "7, 15, 31";
  EXPECT_EQ(room, HZ4_BIN_ONE_WAY_BYTES / hz4_class_bytes(c) - kNoObjects);
  frees.FreeAll(c, objects);
}

// Until it is found empty: then half stays.
TEST_F(Tcache, WhoOnlyFreesGivesWholeBatches) {
  for (size_t bytes : {1024, 512, 256}) {
    Cache allocates, frees;
    const uint32_t c = ClassOf(bytes);
    std::vector<void *> objects = allocates.MallocMany(c, 6000);
    // What leaves with the next overflow.
    auto leaving = [&] {
      const uint64_t before = frees.Count(HZ4_COUNT_flush_objects);
      for (; frees.Count(HZ4_COUNT_flush_objects) == before; objects.pop_back()) frees.Free(c, objects.back());
      return frees.Count(HZ4_COUNT_flush_objects) - before;
    };
    while (frees.Capacity(c) < hz4_class_table[c].bin_slots_max - kNoObjects) leaving();
    const size_t room = frees.Capacity(c), batches = std::min<size_t>(room, HZ4_MOVE_OBJECTS) / HZ4_BATCH_OBJECTS;
    ASSERT_GT(batches, 0u);
    EXPECT_EQ(leaving(), batches * HZ4_BATCH_OBJECTS) << bytes;
    EXPECT_EQ(leaving(), batches * HZ4_BATCH_OBJECTS) << bytes;
    const std::vector<void *> taken = frees.MallocMany(c, room + 1);
    EXPECT_EQ(leaving(), room - room / 2);
    EXPECT_EQ(frees.Capacity(c), room);
    EXPECT_GT(objects.size(), 3000u) << "no decline had a part in it";
    frees.FreeAll(c, objects);
    frees.FreeAll(c, taken);
  }
}

TEST_F(Tcache, BudgetBoundsTheBins) {
  for (size_t budget : {size_t{64} << 10, size_t{256} << 10, size_t{1} << 20}) {
    hz4_tcache_set_budget(budget);
    Cache cache;
    std::mt19937_64 random(11);
    for (int i = 0; i < 300; ++i) {
      const auto c = static_cast<uint32_t>(random() % ClassOf(4096) + 1);
      cache.FreeAll(c, cache.MallocMany(c, random() % 300));
    }
    cache.Check();
    // The first few slots of each class are free of charge.
    size_t first = 0;
    for (uint32_t c = 1; c <= ClassOf(4096); ++c) first += (HZ4_BIN_SLOTS_MIN - kNoObjects) * hz4_class_bytes(c);
    EXPECT_LE(cache.get()->capacity_bytes, budget + first);
  }
}

// However many CPUs there are, HZ4_TCACHE_KIB is for all of their caches together.
TEST_F(Tcache, CachesOfCpusShareTheBudget) {
  const uint64_t kib = ::hz4_option.tcache_kib;
  const size_t share = size_t{1} << 20;
  const uint32_t from = ClassOf(1024), to = ClassOf(8192);
  size_t first = 0;  // free of charge
  for (uint32_t c = from; c <= to; ++c) first += (HZ4_BIN_SLOTS_MIN - kNoObjects) * hz4_class_bytes(c);
  constexpr int kCpus = 4;
  {
    Cpus cpus(kCpus);
    for (int id = 0; id < kCpus; ++id) cpus.Do(id, [&] { FreeHere(from, MallocHere(from)); });  // now all are listed
    ::hz4_option.tcache_kib = share * hz4_cache_count() >> 10;
    for (int id = 0; id < kCpus; ++id) {
      cpus.Do(id, [&] {
        for (int wave = 0; wave < 20; ++wave) {
          for (uint32_t c = from; c <= to; ++c) {
            std::vector<void *> objects(70);
            for (void *&object : objects) object = MallocHere(c);
            FreeSome(c, objects);
          }
        }
      });
      EXPECT_LE(cpus.cache(id)->capacity_bytes, share + first);
      EXPECT_GE(cpus.cache(id)->capacity_bytes, share / 2);
    }
  }
  ::hz4_option.tcache_kib = kib;
}

TEST_F(Tcache, ABinGrowsToTheLastByteOfTheBudget) {
  hz4_tcache_set_budget(0);
  Cache cache;
  const uint32_t c = ClassOf(256);
  const std::vector<void *> held = cache.MallocMany(c, 1000);  // so that the waves are no declines
  const auto use = [&] {
    for (int i = 0; i < 10; ++i) cache.FreeAll(c, cache.MallocMany(c, 300));
  };
  ASSERT_LT(cache.Capacity(c), 50u);
  for (size_t room = cache.Capacity(c); room < 100; room = cache.Capacity(c)) {
    const size_t needed = (2 * room + kNoObjects) * hz4_class_bytes(c);
    hz4_tcache_set_budget(needed - 1);
    use();
    ASSERT_EQ(cache.Capacity(c), room);
    hz4_tcache_set_budget(needed);
    use();
    ASSERT_EQ(cache.Capacity(c), 2 * room + kNoObjects);
  }
  cache.FreeAll(c, held);
}

TEST_F(Tcache, BinsInNeedTakeRoomFromIdleOnes) {
  Cache cache;
  const uint32_t idle = ClassOf(128), busy = ClassOf(256);
  for (int i = 0; i < 40; ++i) cache.FreeAll(idle, cache.MallocMany(idle, 400));
  const size_t before = cache.Capacity(idle);
  ASSERT_GT(before, 100u);
  hz4_tcache_set_budget(cache.get()->capacity_bytes + 2500);
  const std::vector<void *> held = cache.MallocMany(busy, 1000);  // so that the waves are no declines
  for (int i = 0; i < 400; ++i) cache.FreeAll(busy, cache.MallocMany(busy, 400));
  EXPECT_GT(cache.Count(HZ4_COUNT_bin_shrink), 0u);
  EXPECT_LT(cache.Capacity(idle), before);
  EXPECT_GT(cache.Capacity(busy), 14u);
  cache.Check();
  cache.FreeAll(busy, held);
}

// What the idle bin gave up is enough to the last byte, at the next want.
TEST_F(Tcache, ABinGrowsByWhatWasTakenFromAnother) {
  Cache cache;
  const uint32_t idle = ClassOf(128), busy = ClassOf(256);
  for (int i = 0; i < 40; ++i) cache.FreeAll(idle, cache.MallocMany(idle, 400));
  hz4_tcache_set_budget(0);
  const std::vector<void *> held = cache.MallocMany(busy, 300);  // so that the waves are no declines
  const uint64_t shrunk = cache.Count(HZ4_COUNT_bin_shrink);
  const size_t room = cache.Capacity(busy), half = cache.Capacity(idle) - cache.Capacity(idle) / 2;
  const size_t more = (room + kNoObjects) * hz4_class_bytes(busy), less = half * hz4_class_bytes(idle);
  hz4_tcache_set_budget(cache.get()->capacity_bytes - less + more);
  std::vector<void *> objects;
  for (bool allocate = true; cache.Count(HZ4_COUNT_bin_shrink) == shrunk;) {
    ASSERT_EQ(cache.Capacity(busy), room);
    if (objects.empty() || objects.size() == 200) allocate = objects.empty();
    if (allocate) {
      objects.push_back(cache.Malloc(busy));
    } else {
      cache.Free(busy, objects.back());
      objects.pop_back();
    }
  }
  ASSERT_EQ(cache.Capacity(busy), room);
  cache.FreeAll(busy, cache.MallocMany(busy, cache.Held(busy) + 1));
  EXPECT_EQ(cache.Capacity(busy), 2 * room + kNoObjects);
  cache.FreeAll(busy, objects);
  cache.FreeAll(busy, held);
}

// Each HZ4_BIN_SHRINK_AFTER wants that are denied make one look for room, at HZ4_BIN_SHRINK_TRIES bins.
TEST_F(Tcache, LooksForRoomAreRare) {
  Cache cache;
  const uint32_t idle = ClassOf(128), busy = ClassOf(256);
  for (int i = 0; i < 40; ++i) cache.FreeAll(idle, cache.MallocMany(idle, 400));
  hz4_tcache_set_budget(cache.get()->capacity_bytes);
  const std::vector<void *> held = cache.MallocMany(busy, 1000);  // so that the waves are no declines
  std::vector<void *> objects;
  for (int round = 0; round < 4; ++round) {
    const auto wants = [&] { return cache.Count(HZ4_COUNT_refill_calls) + cache.Count(HZ4_COUNT_flush_calls); };
    const uint64_t shrunk = cache.Count(HZ4_COUNT_bin_shrink), before = wants();
    hz4_tcache_set_budget(cache.get()->capacity_bytes);
    for (bool allocate = true; cache.Count(HZ4_COUNT_bin_shrink) == shrunk;) {
      if (objects.empty() || objects.size() == 300) allocate = objects.empty();
      if (allocate) {
        objects.push_back(cache.Malloc(busy));
      } else {
        cache.Free(busy, objects.back());
        objects.pop_back();
      }
    }
    EXPECT_TRUE(round == 0 || (wants() - before) % HZ4_BIN_SHRINK_AFTER == 0) << wants() - before;
  }
  cache.FreeAll(busy, objects);
  cache.FreeAll(busy, held);
}

// Who shares a class with nobody has, after HZ4_BIN_SWINGS, a bin for as much as left it and was wanted again: the second wave finds
// room for all, within bounds. Until somebody comes.
TEST_F(Tcache, WhoIsAloneHasALargerBin) {
  for (size_t bytes : {size_t{64}, size_t{4096}, size_t{32768}, HZ4_CLASS_MAX_BYTES}) {
    Cache cache, other;
    const uint32_t c = ClassOf(bytes);
    const size_t usual = hz4_class_table[c].bin_slots_max - kNoObjects;
    const size_t most = std::min<size_t>(HZ4_BIN_SLOTS_ALONE - kNoObjects, HZ4_BIN_ALONE_BYTES / bytes);
    const auto wave = [&](size_t objects) { cache.FreeAll(c, cache.MallocMany(c, objects)); };
    for (int i = 0; i < HZ4_MID_ALONE_VISITS; ++i) wave(usual + kNoObjects);
    for (size_t objects : {most / 4, most / 2, 4 * most}) {
      for (int i = 0; i < 2; ++i) wave(objects);
      const uint64_t refills = cache.Count(HZ4_COUNT_refill_calls);
      wave(objects);
      ASSERT_LE(cache.Capacity(c), most);
      ASSERT_EQ(cache.Count(HZ4_COUNT_refill_calls) == refills, objects <= most) << objects << " of " << bytes;
      cache.Check();
    }
    const std::vector<void *> objects = cache.MallocMany(c, 3 * most), others = other.MallocMany(c, 1);
    const std::vector<void *> own = cache.MallocMany(c, cache.Held(c) + 1);  // with this miss it hears that it is alone no more
    cache.FreeAll(c, objects);
    EXPECT_LE(cache.Capacity(c), usual) << bytes;
    cache.Check();
    cache.FreeAll(c, own);
    other.FreeAll(c, others);
  }
}

// What such a bin holds, and nobody needs, goes back as memory is taken for others.
TEST_F(Tcache, WhoIsAloneKeepsALargerBinForNothingNoLonger) {
  Cache cache;
  const uint32_t c = ClassOf(32768), other = ClassOf(1024), usual = hz4_class_table[c].bin_slots_max - kNoObjects;
  const auto wave = [&](size_t objects) { cache.FreeAll(c, cache.MallocMany(c, objects)); };
  while (cache.Capacity(c) < 500) wave(500);
  std::vector<void *> others;
  const size_t spans_a_turn = HZ4_CLASS_SLOTS / HZ4_BIN_SHRINK_TRIES + 1;  // in which each bin is looked at
  while (cache.Capacity(c) > usual) {
    ASSERT_LE(others.size(), 6 * spans_a_turn * hz4_class_table[other].span_objects);
    others.push_back(cache.Malloc(other));
  }
  EXPECT_LE(cache.Held(c), usual);
  cache.Check();
  cache.FreeAll(other, others);
}

// A bin is halved by as much as is moved at a time, for no call is to take long.
TEST_F(Tcache, ALargeBinIsHalvedByParts) {
  hz4_sys_fake_later();
  for (int swing = 0; swing < HZ4_THRASHING_SWINGS; ++swing) {  // or each wave would be a decline
    hz4_policy_purged();
    hz4_policy_wanted(SIZE_MAX / 2 / HZ4_THRASHING_SWINGS);
  }
  Cache cache, other;
  const uint32_t c = ClassOf(64);
  const size_t most = HZ4_BIN_SLOTS_ALONE - kNoObjects;
  static_assert(HZ4_BIN_SLOTS_ALONE / 2 > 2 * HZ4_MOVE_OBJECTS, "it takes several moves");
  std::vector<void *> objects = cache.MallocMany(c, 2 * most);
  for (int wave = 0; wave < 300; ++wave) cache.FreeAll(c, cache.MallocMany(c, most));
  ASSERT_EQ(cache.Capacity(c), most);
  // With this miss it hears that it is alone no more.
  const std::vector<void *> others = other.MallocMany(c, 1), own = cache.MallocMany(c, cache.Held(c) + 1);
  objects.insert(objects.end(), own.begin(), own.end());
  ASSERT_EQ(cache.Capacity(c), most);
  const uint64_t shrunk = cache.Count(HZ4_COUNT_bin_shrink);
  for (; cache.Capacity(c) == most; objects.pop_back()) {
    ASSERT_FALSE(objects.empty());
    cache.Free(c, objects.back());
  }
  EXPECT_EQ(cache.Capacity(c), most - HZ4_MOVE_OBJECTS + 1) << "with room for the one that is freed";
  EXPECT_EQ(cache.Count(HZ4_COUNT_bin_shrink), shrunk + 1);
  cache.Check();
  cache.FreeAll(c, objects);
  EXPECT_LE(cache.Capacity(c), most / 2);
  other.FreeAll(c, others);
}

// Who is alone, but only allocates, or only frees, has no more than others.
TEST_F(Tcache, WhoIsAloneAndOnlyAllocatesHasTheUsualBin) {
  Cache cache;
  const uint32_t c = ClassOf(64);
  const std::vector<void *> objects = cache.MallocMany(c, 200 * HZ4_MID_ALONE_VISITS);
  EXPECT_EQ(cache.Capacity(c), hz4_class_table[c].bin_slots_max - kNoObjects);
  cache.FreeAll(c, objects);
}

TEST_F(Tcache, ADeclineShrinksTheBin) {
  Cache cache;
  const uint32_t c = ClassOf(1024);
  for (int i = 0; i < 40; ++i) cache.FreeAll(c, cache.MallocMany(c, 600));
  const std::vector<void *> objects = cache.MallocMany(c, 20000);
  const uint64_t shrunk = cache.Count(HZ4_COUNT_bin_shrink);
  cache.FreeAll(c, objects);
  EXPECT_GT(cache.Count(HZ4_COUNT_bin_shrink), shrunk);
  EXPECT_LT(cache.Capacity(c), hz4_class_table[c].bin_slots_max / 2);
  cache.Check();
}

// While the decline goes on, overflows leave the bin as small as it made it. A miss makes it larger, and so does an overflow
// when twice as much is out again.
TEST_F(Tcache, ABinStaysSmallWhileItDeclines) {
  for (bool by_miss : {true, false}) {
    Cache cache, other;
    const uint32_t c = ClassOf(1024);
    std::vector<void *> objects = cache.MallocMany(c, 20000);
    std::vector<void *> taken;
    size_t grown = 0;
    for (uint64_t shrunk = 0; shrunk < 3; shrunk = cache.Count(HZ4_COUNT_bin_shrink)) {
      const size_t room = cache.Capacity(c);
      cache.Free(c, objects.back());
      objects.pop_back();
      if (shrunk == 0) {
        grown = std::max(room, cache.Capacity(c));
      } else {
        ASSERT_LE(cache.Capacity(c), room);
      }
    }
    ASSERT_EQ(cache.Capacity(c), grown / 8);
    if (by_miss) {
      taken = cache.MallocMany(c, grown);
    } else {
      taken = other.MallocMany(c, 3 * objects.size());
      for (size_t i = 0; i < grown; ++i, objects.pop_back()) cache.Free(c, objects.back());
    }
    EXPECT_GT(cache.Capacity(c), grown / 8) << by_miss;
    cache.FreeAll(c, objects);
    cache.FreeAll(c, taken);
  }
}

// A decline that a refill hears of shrinks nothing: who allocates need not hold less.
TEST_F(Tcache, ADeclineBeforeARefillLeavesTheBin) {
  Cache cache, other;
  const uint32_t c = ClassOf(1024);
  cache.Free(c, cache.Malloc(c));
  const uint32_t before = hz4_mid_declines(c);
  other.FreeAll(c, other.MallocMany(c, 20000));
  const uint32_t declines = hz4_mid_declines(c);
  ASSERT_GT(declines, before);
  std::vector<void *> objects = cache.MallocMany(c, 20000);
  for (int i = 0; i < 6000; ++i, objects.pop_back()) cache.Free(c, objects.back());
  ASSERT_EQ(hz4_mid_declines(c), declines);
  EXPECT_GT(cache.Count(HZ4_COUNT_flush_objects), 0u);
  EXPECT_EQ(cache.Count(HZ4_COUNT_bin_shrink), 0u);
  cache.FreeAll(c, objects);
}

// Each time that the bin's room falls is one that is counted.
TEST_F(Tcache, EveryShrinkIsCountedOnce) {
  Cache cache;
  const uint32_t c = ClassOf(1024);
  for (int i = 0; i < 40; ++i) cache.FreeAll(c, cache.MallocMany(c, 600));
  const uint64_t before = cache.Count(HZ4_COUNT_bin_shrink);
  uint64_t falls = 0;
  for (void *object : cache.MallocMany(c, 20000)) {
    const size_t room = cache.Capacity(c);
    cache.Free(c, object);
    falls += cache.Capacity(c) < room;
  }
  EXPECT_GT(falls, 0u);
  EXPECT_EQ(cache.Count(HZ4_COUNT_bin_shrink) - before, falls);
}

// What the first class of the upper range does is not counted in the lower one.
TEST_F(Tcache, CountersAreThoseOfTheRange) {
  Cache owner, cache;
  const uint32_t c = ClassOf(HZ4_SMALL_MAX_BYTES + 1);
  ASSERT_EQ(hz4_range_of(hz4_class_bytes(c - 1)), HZ4_RANGE_SMALL);
  cache.FreeAll(c, owner.MallocMany(c, 3000));
  const std::vector<void *> objects = owner.MallocMany(c, 3000), more = owner.MallocMany(c, 900);
  cache.FreeAll(c, more);
  std::vector<void *> rest;
  // One search looks at some of the caches, of which other tests may have made many.
  for (int searches = 0; cache.Count(HZ4_COUNT_refill_steal) == 0; ++searches) {
    ASSERT_LT(searches, 100);
    cache.Empty();
    const std::vector<void *> some = DrainMid(c);
    rest.insert(rest.end(), some.begin(), some.end());
    rest.push_back(cache.Malloc(c));
  }
  cache.FreeAll(c, objects);
  GiveToMid(c, rest);
  for (Cache *one : {&owner, &cache}) {
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      EXPECT_EQ(one->get()->counters.value[HZ4_RANGE_SMALL][id], 0u) << id;
    }
  }
  EXPECT_GT(owner.Count(HZ4_COUNT_refill_calls), 0u);
  EXPECT_GT(cache.Count(HZ4_COUNT_flush_calls), 0u);
}

// Pages of spans that closed are dirty; who freed the last object purges what is too much.
TEST_F(Tcache, SpansThatCloseLeaveBoundedDirt) {
  Cache cache;
  const uint32_t c = ClassOf(1024);
  cache.FreeAll(c, cache.MallocMany(c, size_t{64} << 10));
  struct hz4_segment_stats stats;
  hz4_segment_stats(&stats);
  EXPECT_GE(stats.peak_used_bytes, uint64_t{64} << 20);
  EXPECT_LE(stats.dirty_bytes, (uint64_t{4} << 20) + stats.used_bytes / 16) << "the bound of segment.c";
}

// ---- tiny objects ----

class TcacheTiny : public Tcache {
 protected:
  // Lists a cache, and the second one parts tiny objects. Returns what its tiny bin of this size is refilled with.
  static uint32_t Home(Cache *cache, uint32_t bin) {
    cache->Free(ClassOf(128), cache->Malloc(ClassOf(128)));
    return hz4_class_at_home(bin, cache->get()->number);
  }
  static uint32_t BinOf(size_t bytes) { return HZ4_TINY_BIN + ClassOf(bytes) - 1; }
  // All that the cache finds before it opens a span, or steals.
  static std::vector<void *> MallocAll(Cache *cache, uint32_t bin, uint32_t home) {
    std::vector<void *> objects = cache->PopAll(bin);
    cache->Do([&] {
      for (hz4_batch *b = hz4_inbox_take(&cache->get()->inbox[home]), *next; b != nullptr; b = next) {
        next = b->next;
        objects.insert(objects.end(), b->objects, b->objects + b->count);
        hz4_meta_free(b, sizeof(*b));
      }
    });
    const std::vector<void *> own = cache->PopAll(home), rest = DrainMid(home);
    objects.insert(objects.end(), own.begin(), own.end());
    objects.insert(objects.end(), rest.begin(), rest.end());
    return objects;
  }
};

TEST_F(TcacheTiny, MallocTakesThemFromTinyBins) {
  Cache a, b;
  Home(&a, BinOf(16)), Home(&b, BinOf(16));
  for (size_t bytes : {16, 32, 48}) EXPECT_EQ(hz4_class_of_malloc(bytes), BinOf(bytes));
  EXPECT_EQ(hz4_class_of_malloc(49), ClassOf(64));
}

// What another frees it does not get itself: its home gets it.
TEST_F(TcacheTiny, TheyGoHome) {
  for (size_t bytes : {16, 32, 48}) {
    Cache a, b;
    const uint32_t bin = BinOf(bytes), home = Home(&a, bin), others = Home(&b, bin);
    ASSERT_NE(home, others);
    const std::vector<void *> objects = a.MallocMany(bin, 1000);
    const std::set<void *> all(objects.begin(), objects.end());
    ASSERT_EQ(all.size(), objects.size());
    for (void *object : objects) ASSERT_EQ(hz4_pagemap_class(object), home);
    b.FreeAll(home, objects);
    EXPECT_GT(b.Held(home), 0u) << "it is in a bin, as everything that is freed";
    EXPECT_GT(a.Waiting(home), 0u) << "or waits for its owner";
    const std::vector<void *> fresh = b.MallocMany(bin, 3000);
    for (void *object : fresh) {
      ASSERT_EQ(hz4_pagemap_class(object), others);
      ASSERT_EQ(all.count(object), 0u);
    }
    EXPECT_EQ(b.Count(HZ4_COUNT_refill_steal), 0u);
    a.Check();
    b.Check();
    // The owner finds all but what b's bin holds.
    const size_t kept = b.Held(home);
    std::vector<void *> found = MallocAll(&a, bin, home);
    const auto is_one = [&](void *object) { return all.count(object) != 0; };
    EXPECT_EQ(static_cast<size_t>(std::count_if(found.begin(), found.end(), is_one)), objects.size() - kept) << bytes;
    b.Empty();
    const std::vector<void *> rest = MallocAll(&a, bin, home);
    EXPECT_EQ(static_cast<size_t>(std::count_if(rest.begin(), rest.end(), is_one)), kept) << bytes;
    found.insert(found.end(), rest.begin(), rest.end());
    EXPECT_EQ(std::set<void *>(found.begin(), found.end()).size(), found.size());
    a.FreeAll(home, found);
    b.FreeAll(others, fresh);
  }
}

// Each frees what the other allocated, in turn: never are two of one line in the hands of both.
TEST_F(TcacheTiny, NoLineIsShared) {
  Cache caches[2];
  const uint32_t bin = BinOf(16), homes[] = {Home(&caches[0], bin), Home(&caches[1], bin)};
  ASSERT_NE(homes[0], homes[1]);
  std::vector<void *> live[2];
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    for (int i : {0, 1}) {
      const std::vector<void *> more = caches[i].MallocMany(bin, random() % 200);
      for (void *object : more) ASSERT_EQ(hz4_pagemap_class(object), homes[i]);
      live[i].insert(live[i].end(), more.begin(), more.end());
      std::shuffle(live[i].begin(), live[i].end(), random);
    }
    std::set<uintptr_t> lines;
    for (void *object : live[0]) lines.insert(reinterpret_cast<uintptr_t>(object) / HZ4_CACHE_LINE);
    for (void *object : live[1]) ASSERT_EQ(lines.count(reinterpret_cast<uintptr_t>(object) / HZ4_CACHE_LINE), 0u);
    for (int i : {0, 1}) {
      for (size_t n = random() % 200; n > 0 && !live[i].empty(); --n, live[i].pop_back()) {
        caches[round % 3 == 0 ? i : 1 - i].Free(homes[i], live[i].back());
      }
    }
    if (round % 30 == 0) caches[0].Check(), caches[1].Check();
  }
  for (int i : {0, 1}) caches[1 - i].FreeAll(homes[i], live[i]);
}

// What it freed of its own comes back to it, in the order of age, without Mid.
TEST_F(TcacheTiny, WhoFreesHisOwnHasThemAgain) {
  Cache a, b;
  const uint32_t bin = BinOf(32), home = Home(&a, bin);
  Home(&b, bin);
  for (int i = 0; i < 10; ++i) a.FreeAll(home, a.MallocMany(bin, 600));  // both bins grow
  const std::vector<void *> popped = a.PopAll(bin), own = a.PopAll(home), some = a.MallocMany(bin, 100);
  GiveToMid(home, a.PopAll(bin));
  a.FreeAll(home, some);
  ASSERT_EQ(a.Held(home), some.size());
  const uint64_t locked = a.Count(HZ4_COUNT_refill_lock);
  EXPECT_EQ(a.MallocMany(bin, some.size()), std::vector<void *>(some.rbegin(), some.rend()));
  EXPECT_EQ(a.Count(HZ4_COUNT_refill_lock), locked);
  EXPECT_EQ(a.Held(home), 0u);
  a.FreeAll(home, some);
  a.FreeAll(home, popped);
  a.FreeAll(home, own);
}

// A bin that was filled on two CPUs has objects of two homes; they leave it for both.
TEST_F(TcacheTiny, OfSeveralHomesInOneBin) {
  Cpus cpus(2);
  const uint32_t bin = BinOf(48), homes[] = {HZ4_TINY_HOME + 2, HZ4_TINY_HOME + HZ4_TINY_CLASSES + 2};
  std::vector<void *> objects[2];
  for (int i : {0, 1}) {
    objects[i].resize(300);
    for (void *&object : objects[i]) ASSERT_EQ(hz4_mid_take(homes[i], &object, 1, 1, nullptr, false).objects, 1u);
  }
  cpus.Do(0, [&] {
    FreeSome(ClassOf(128), MallocSome(ClassOf(128), 1));
    const std::vector<void *> own = MallocSome(bin, 300);  // so that it has room
    while (void *object = hz4_sequence_pop(bin)) FreeHere(static_cast<uint32_t>(hz4_pagemap_class(object)), object);
    size_t pushed = 0;
    for (int n : {1, 2, 3, 1, 5, 2}) {
      for (int i = 0; i < n; ++i, ++pushed) {
        ASSERT_TRUE(hz4_sequence_push(bin, objects[n % 2].back()));
        objects[n % 2].pop_back();
      }
    }
    hz4_tcache_check();
    EXPECT_EQ(Objects(cpus.cache(0), bin), pushed);
    hz4_tcache_empty_here();
    EXPECT_EQ(Objects(cpus.cache(0), bin), 0u);
    for (void *object : own) FreeHere(static_cast<uint32_t>(hz4_pagemap_class(object)), object);
  });
  for (int i : {0, 1}) GiveToMid(homes[i], objects[i]);
}

// Those from before there was a second cache lie in the bin by size, and come home from there.
TEST_F(TcacheTiny, FromBeforeTheyWereParted) {
  Cache a, b;
  const std::vector<void *> objects = a.MallocMany(ClassOf(16), 1000);
  Home(&a, BinOf(16)), Home(&b, BinOf(16));
  b.FreeAll(ClassOf(16), objects);
  EXPECT_GT(b.Held(ClassOf(16)), 0u);
  for (Cache *cache : {&a, &b}) {
    const std::vector<void *> fresh = cache->MallocMany(BinOf(16), 100);
    for (void *object : fresh) ASSERT_GE(hz4_pagemap_class(object), uint32_t{HZ4_TINY_HOME});
    cache->FreeAll(static_cast<uint32_t>(hz4_pagemap_class(fresh[0])), fresh);
  }
}

// While fork is on they are held back by the class that they are of.
TEST_F(TcacheTiny, HeldBackByTheirHome) {
  Cache a, b;
  const uint32_t bin = BinOf(16), home = Home(&a, bin);
  Home(&b, bin);
  const std::vector<void *> objects = a.MallocMany(bin, 1000);
  hz4_mid_fork(hz4_lock_fork_acquire);
  b.FreeAll(home, objects);
  a.Empty();  // of a tiny bin too
  EXPECT_EQ(a.Held(bin), 0u);
  hz4_mid_fork(hz4_lock_fork_release);
  hz4_transfer_settle();
}

// ---- fork, and no memory ----

TEST_F(Tcache, WhatIsFreedWhileForkIsHeldBack) {
  Cache cache;
  const uint32_t c = ClassOf(128);
  const std::vector<void *> objects = cache.MallocMany(c, 500);
  hz4_mid_fork(hz4_lock_fork_acquire);
  cache.FreeAll(c, objects);
  const std::vector<void *> kept = cache.PopAll(c);
  EXPECT_LT(kept.size(), 500u);
  EXPECT_EQ(cache.Malloc(c), nullptr) << "Mid is fork's";
  cache.FreeAll(c, kept);
  hz4_mid_fork(hz4_lock_fork_release);
  hz4_mid_trim();
  EXPECT_GT(MidNow().spans, 0u);
  hz4_transfer_settle();  // and TearDown finds every span at home
}

// Nobody claims a bin then: what does not fit is held back one by one, and there is nothing for who finds it empty.
TEST_F(Tcache, NoBinIsClaimedWhileForkIsOn) {
  Cache cache;
  const uint32_t c = ClassOf(128);
  const std::vector<void *> objects = cache.MallocMany(c, 500);
  const size_t room = cache.Capacity(c), held = cache.Held(c);
  cache.Do(hz4_bin_fork_begin);
  hz4_mid_fork(hz4_lock_fork_acquire);
  cache.FreeAll(c, objects);
  EXPECT_EQ(cache.Capacity(c), room);
  EXPECT_EQ(cache.Held(c), room);
  EXPECT_EQ(cache.Count(HZ4_COUNT_flush_calls), 500 - (room - held));
  cache.Empty();
  EXPECT_EQ(cache.Held(c), room) << "nor is it emptied";
  const std::vector<void *> kept = cache.PopAll(c);
  EXPECT_EQ(kept.size(), room) << "sequences go on";
  EXPECT_EQ(cache.Malloc(c), nullptr);
  cache.FreeAll(c, kept);
  hz4_mid_fork(hz4_lock_fork_release);
  hz4_bin_fork_parent();
  hz4_transfer_settle();
  cache.Check();
}

// What a cache's bin holds when its thread ends, and what waits for it, is Mid's.
TEST_F(Tcache, AClosedCacheGivesEverything) {
  Cache owner, other;
  const uint32_t c = ClassOf(HZ4_INBOX_OBJECT_MAX);
  const std::vector<void *> objects = owner.MallocMany(c, 400);
  other.FreeAll(c, {objects.begin(), objects.begin() + 160});
  owner.FreeAll(c, {objects.begin() + 160, objects.begin() + 200});
  ASSERT_GT(owner.Waiting(c), 0u);
  ASSERT_GT(owner.Held(c), 0u);
  owner.Close();
  other.FreeAll(c, {objects.begin() + 200, objects.end()});
  EXPECT_FALSE(hz4_is_attached()) << "it was closed by a thread that has none";
}

TEST_F(Tcache, NoMemory) {
  std::vector<std::pair<void *, size_t>> meta;
  Cache cache, empty;
  std::vector<void *> objects = cache.MallocMany(40, 300);
  GiveToMid(40, {objects.back()});
  objects.pop_back();
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  for (size_t bytes = HZ4_META_MAX_BYTES; bytes > 0; bytes -= HZ4_META_UNIT) {
    while (void *block = hz4_meta_alloc(bytes)) meta.emplace_back(block, bytes);
  }
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    void *object = empty.Malloc(c);
    EXPECT_EQ(object != nullptr, c == 40) << c << ": what Mid has needs no bin";
    if (object != nullptr) empty.Free(c, object);
    empty.Check();
  }
  empty.FreeAll(40, objects);  // without a bin, without a batch node: straight to Mid
  EXPECT_EQ(empty.Capacity(40), 0u);
  EXPECT_EQ(empty.Count(HZ4_COUNT_bin_grow), 0u);
  for (auto &[block, bytes] : meta) hz4_meta_free(block, bytes);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  empty.FreeAll(1, empty.MallocMany(1, 10));
  EXPECT_GT(empty.Capacity(1), 0u);
}

// ---- random traffic ----

TEST_F(Tcache, RandomTrafficOfThreeCaches) {
  std::mt19937_64 random(12);
  for (uint64_t n : {0, 2, 5}) {
    hz4_tcache_set_budget(n == 2 ? 100000 : HZ4_TCACHE_BYTES_MAX);
    for (int call = 0; call < HZ4_SYS_CALLS; ++call) hz4_sys_fake.fail_every[call] = n;
    std::array<Cache, 3> caches;
    const uint32_t classes[] = {1, 9, ClassOf(300), ClassOf(3000), ClassOf(50000), HZ4_CLASS_COUNT, HZ4_TINY_BIN + 1};
    constexpr size_t kClasses = std::size(classes);
    const auto free_to = [](Cache *cache, void *object) {
      cache->Free(static_cast<uint32_t>(hz4_pagemap_class(object)), object);
    };
    std::vector<void *> live[kClasses];
    std::set<void *> all;
    for (int i = 0; i < 3000; ++i) {
      Cache &cache = caches[random() % 3];
      const size_t k = random() % kClasses, many = random() % 100 + 1;
      const bool full = all.size() > 5000 || live[k].size() * hz4_class_bytes(classes[k]) > (8u << 20);
      for (size_t j = 0; j < many; ++j) {
        if (!full && i % 7 < 4) {
          void *object = cache.Malloc(classes[k]);
          if (object == nullptr) continue;
          ASSERT_TRUE(all.insert(object).second) << "handed out twice";
          live[k].push_back(object);
        } else if (!live[k].empty()) {
          std::swap(live[k][random() % live[k].size()], live[k].back());
          all.erase(live[k].back());
          free_to(&cache, live[k].back());
          live[k].pop_back();
        }
      }
      if (random() % 200 == 0) cache.Empty();
      if (random() % 200 == 0) hz4_transfer_empty(cache.get(), false);
      if (i % 50 == 0) {
        for (Cache &each : caches) each.Check();
        hz4_mid_check();
      }
    }
    for (size_t k = 0; k < kClasses; ++k) {
      for (void *object : live[k]) free_to(&caches[k % 3], object);
    }
  }
}

}  // namespace
