// The thread cache over the hostile kernel: bins that grow and shrink, fork, no memory, and not an object lost.
#include "hz4/tcache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <vector>

#include "hz4/regret.h"
#include "hz4/test_tcache.h"

namespace {

using namespace hz4_test;

TEST_F(Tcache, NoCacheIsEmptyAndFull) {
  int object;
  for (hz4_tcache *none : {&hz4_tcache_none, &hz4_tcache_ended}) {
    EXPECT_FALSE(hz4_tcache_is_real(none));
    for (size_t c = 0; c <= HZ4_CLASS_COUNT; ++c) {
      EXPECT_EQ(hz4_tcache_pop(none, c), nullptr);
      EXPECT_FALSE(hz4_tcache_push(none, c, &object));
    }
  }
  EXPECT_EQ(hz4_tcache_current, &hz4_tcache_none);
  Cache cache;
  EXPECT_TRUE(hz4_tcache_is_real(cache.get()));
  EXPECT_FALSE(hz4_tcache_push(cache.get(), 0, &object)) << "bin 0 is for what is no object";
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
    const uint64_t rest = 1000 / (hz4_class_table[c].bin_slots_max - 1);
    EXPECT_LE(cache.Count(HZ4_COUNT_refill_calls), 10 + 2 * rest) << "1, 2, 4 and so on, up to the bin's room at once";
  }
}

// Of a fresh span a refill takes so many bytes, or a quarter of what it wants.
TEST_F(Tcache, RefillsFromFreshSpans) {
  for (size_t bytes : {size_t{256}, size_t{2048}, size_t{32768}}) {
    Cache cache;
    const uint32_t c = ClassOf(bytes);
    std::vector<void *> objects = cache.MallocMany(c, 2000);
    void *object;
    do {  // until none is left that is not fresh
      while ((object = hz4_tcache_pop(cache.get(), c)) != nullptr) objects.push_back(object);
      object = hz4_tcache_refill(cache.get(), c, false);
      if (object != nullptr) objects.push_back(object);
    } while (object != nullptr);
    objects.push_back(cache.Malloc(c));
    const size_t room = cache.Capacity(c), most = std::max(HZ4_REFILL_FRESH_BYTES / bytes, room / 4 + 1);
    EXPECT_EQ(cache.Held(c) + 1, std::min({room, most, size_t{hz4_class_table[c].span_objects}})) << bytes;
    cache.FreeAll(c, objects);
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
    ASSERT_EQ(freer.get()->ahead, one_way ? HZ4_NOWHERE : 0) << freer.Count(HZ4_COUNT_flush_calls);
  }
  ASSERT_EQ(freer.get()->ahead, HZ4_NOWHERE);
  EXPECT_EQ(maker.get()->ahead, 0u);
  const std::vector<void *> own = freer.MallocMany(c, freer.Held(c) + 1);
  EXPECT_EQ(freer.get()->ahead, 0u) << "it allocates too";
  freer.FreeAll(c, own);
  for (int i = 0; i < 2 * HZ4_AHEAD_OVERFLOWS; ++i) freer.FreeAll(c, maker.MallocMany(c, 64));
  ASSERT_EQ(freer.get()->ahead, HZ4_NOWHERE);
  freer.Close();
  hz4_tcache_open(freer.get());
  EXPECT_EQ(freer.get()->ahead, 0u) << "of the thread before";
  for (int i = 0; i < HZ4_AHEAD_OVERFLOWS - 1; ++i) hz4_tcache_overflow(freer.get(), c, maker.Malloc(c));
  EXPECT_EQ(freer.get()->ahead, 0u);
  freer.Close();
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
    const uint32_t c = ClassOf(bytes), most = hz4_class_table[c].bin_slots_max - 1;
    const std::vector<void *> held = cache.MallocMany(c, most * 6);  // so that the waves are no ebbs
    for (int i = 0; i < 60; ++i) {
      cache.FreeAll(c, cache.MallocMany(c, most * 3));
      ASSERT_LE(cache.Capacity(c), most);
      cache.Check();
    }
    EXPECT_GE(cache.Capacity(c) * 2 + 1, most + 1) << bytes << ": it could have doubled";
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
  for (; objects.size() > 3000; objects.pop_back()) {  // no ebb yet
    frees.Free(c, objects.back());
    if (frees.Capacity(c) != room) grown.push_back(frees.Count(HZ4_COUNT_flush_calls));
    room = frees.Capacity(c);
  }
  const uint64_t after = HZ4_BIN_ONE_WAY_AFTER;
  EXPECT_EQ(grown, (std::vector<uint64_t>{1, 1 + after, 1 + 2 * after})) << "7, 15, 31";
  EXPECT_EQ(room, HZ4_BIN_ONE_WAY_BYTES / hz4_class_bytes(c) - 1);
  frees.FreeAll(c, objects);
}

// Until it is found empty: then half stays.
TEST_F(Tcache, WhoOnlyFreesGivesWholeBatches) {
  Cache allocates, frees;
  const uint32_t c = ClassOf(1024);
  std::vector<void *> objects = allocates.MallocMany(c, 2000);
  // What leaves with the next overflow.
  auto leaving = [&] {
    const uint64_t before = frees.Count(HZ4_COUNT_flush_objects);
    for (; frees.Count(HZ4_COUNT_flush_objects) == before; objects.pop_back()) frees.Free(c, objects.back());
    return frees.Count(HZ4_COUNT_flush_objects) - before;
  };
  while (frees.Capacity(c) < HZ4_BATCH_OBJECTS) leaving();
  const size_t room = frees.Capacity(c);
  EXPECT_EQ(leaving(), uint64_t{HZ4_BATCH_OBJECTS});
  EXPECT_EQ(leaving(), uint64_t{HZ4_BATCH_OBJECTS});
  const std::vector<void *> taken = frees.MallocMany(c, room + 1);
  EXPECT_EQ(leaving(), room - room / 2);
  EXPECT_EQ(frees.Capacity(c), room);
  EXPECT_GT(objects.size(), 1000u) << "no ebb had a part in it";
  frees.FreeAll(c, objects);
  frees.FreeAll(c, taken);
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
    for (uint32_t c = 1; c <= ClassOf(4096); ++c) first += (HZ4_BIN_SLOTS_MIN - 1) * hz4_class_bytes(c);
    EXPECT_LE(cache.get()->capacity_bytes, budget + first);
  }
}

TEST_F(Tcache, ABinGrowsToTheLastByteOfTheBudget) {
  hz4_tcache_set_budget(0);
  Cache cache;
  const uint32_t c = ClassOf(256);
  const std::vector<void *> held = cache.MallocMany(c, 1000);  // so that the waves are no ebbs
  const auto use = [&] {
    for (int i = 0; i < 10; ++i) cache.FreeAll(c, cache.MallocMany(c, 300));
  };
  ASSERT_LT(cache.Capacity(c), 50u);
  for (size_t room = cache.Capacity(c); room < 100; room = cache.Capacity(c)) {
    const size_t needed = (2 * room + 1) * hz4_class_bytes(c);
    hz4_tcache_set_budget(needed - 1);
    use();
    ASSERT_EQ(cache.Capacity(c), room);
    hz4_tcache_set_budget(needed);
    use();
    ASSERT_EQ(cache.Capacity(c), 2 * room + 1);
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
  const std::vector<void *> held = cache.MallocMany(busy, 1000);  // so that the waves are no ebbs
  for (int i = 0; i < 400; ++i) cache.FreeAll(busy, cache.MallocMany(busy, 400));
  EXPECT_GT(cache.Count(HZ4_COUNT_bin_shrink), 0u);
  EXPECT_LT(cache.Capacity(idle), before);
  EXPECT_GT(cache.Capacity(busy), 15u);
  cache.Check();
  cache.FreeAll(busy, held);
}

// What the idle bin gave up is enough to the last byte.
TEST_F(Tcache, ABinGrowsByWhatWasTakenFromAnother) {
  Cache cache;
  const uint32_t idle = ClassOf(128), busy = ClassOf(256);
  for (int i = 0; i < 40; ++i) cache.FreeAll(idle, cache.MallocMany(idle, 400));
  hz4_tcache_set_budget(0);
  const std::vector<void *> held = cache.MallocMany(busy, 300);  // so that the waves are no ebbs
  ASSERT_EQ(cache.Count(HZ4_COUNT_bin_shrink), 0u);
  const size_t room = cache.Capacity(busy), half = cache.Capacity(idle) - cache.Capacity(idle) / 2;
  const size_t more = (room + 1) * hz4_class_bytes(busy), less = half * hz4_class_bytes(idle);
  hz4_tcache_set_budget(cache.get()->capacity_bytes - less + more);
  std::vector<void *> objects;
  for (bool allocate = true; cache.Count(HZ4_COUNT_bin_shrink) == 0;) {
    ASSERT_EQ(cache.Capacity(busy), room);
    if (objects.empty() || objects.size() == 200) allocate = objects.empty();
    if (allocate) {
      objects.push_back(cache.Malloc(busy));
    } else {
      cache.Free(busy, objects.back());
      objects.pop_back();
    }
  }
  EXPECT_EQ(cache.Capacity(busy), 2 * room + 1);
  cache.FreeAll(busy, objects);
  cache.FreeAll(busy, held);
}

// Each HZ4_BIN_SHRINK_AFTER wants that are denied make one look for room, at HZ4_BIN_SHRINK_TRIES bins.
TEST_F(Tcache, LooksForRoomAreRare) {
  Cache cache;
  const uint32_t idle = ClassOf(128), busy = ClassOf(256);
  for (int i = 0; i < 40; ++i) cache.FreeAll(idle, cache.MallocMany(idle, 400));
  hz4_tcache_set_budget(cache.get()->capacity_bytes);
  const std::vector<void *> held = cache.MallocMany(busy, 1000);  // so that the waves are no ebbs
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

// Who shares a class with nobody, and needs it for malloc and for free, has a bin for more objects, until somebody comes.
TEST_F(Tcache, WhoIsAloneHasALargerBin) {
  hz4_sys_fake.now_ns = uint64_t{1} << 60;
  for (int swing = 0; swing < HZ4_REGRET_SWINGS; ++swing) {  // or each wave would be an ebb
    hz4_regret_purged();
    hz4_regret_wanted(SIZE_MAX / 2 / HZ4_REGRET_SWINGS);
  }
  for (size_t bytes : {64, 1024, 4096, 32768}) {
    Cache cache, other;
    const uint32_t c = ClassOf(bytes);
    const size_t usual = hz4_class_table[c].bin_slots_max - 1;
    const size_t most = std::max(usual, std::min<size_t>(HZ4_BIN_SLOTS_ALONE, HZ4_BIN_MAX_BYTES / bytes) - 1);
    hz4_tcache_current = cache.get();
    size_t reached = 0;
    for (int wave = 0; wave < 300; ++wave) {
      cache.FreeAll(c, cache.MallocMany(c, most));
      reached = std::max(reached, cache.Capacity(c));
    }
    EXPECT_EQ(reached, most) << bytes;
    const std::vector<void *> others = other.MallocMany(c, 1);
    cache.FreeAll(c, cache.MallocMany(c, 3 * most));
    EXPECT_LE(cache.Capacity(c), usual) << bytes;
    cache.Check();
    hz4_tcache_current = &hz4_tcache_none;
    other.FreeAll(c, others);
  }
}

// Who is alone, but only allocates, or only frees, has no more than others.
TEST_F(Tcache, WhoIsAloneAndOnlyAllocatesHasTheUsualBin) {
  Cache cache;
  const uint32_t c = ClassOf(64);
  hz4_tcache_current = cache.get();
  const std::vector<void *> objects = cache.MallocMany(c, 200 * HZ4_MID_ALONE_VISITS);
  EXPECT_EQ(cache.Capacity(c), hz4_class_table[c].bin_slots_max - 1);
  cache.FreeAll(c, objects);
  hz4_tcache_current = &hz4_tcache_none;
}

TEST_F(Tcache, AnEbbShrinksTheBin) {
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

// While the ebb goes on, overflows leave the bin as small as it made it. A miss makes it larger, and so does an overflow
// when twice as much is out again.
TEST_F(Tcache, ABinStaysSmallWhileItEbbs) {
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

// An ebb that a refill hears of shrinks nothing: who allocates need not hold less.
TEST_F(Tcache, AnEbbBeforeARefillLeavesTheBin) {
  Cache cache, other;
  const uint32_t c = ClassOf(1024);
  cache.Free(c, cache.Malloc(c));
  const uint32_t before = hz4_mid_ebbs(c);
  other.FreeAll(c, other.MallocMany(c, 20000));
  const uint32_t ebbs = hz4_mid_ebbs(c);
  ASSERT_GT(ebbs, before);
  std::vector<void *> objects = cache.MallocMany(c, 20000);
  for (int i = 0; i < 6000; ++i, objects.pop_back()) cache.Free(c, objects.back());
  ASSERT_EQ(hz4_mid_ebbs(c), ebbs);
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
  hz4_tcache_trim(cache.get());
  EXPECT_TRUE(hz4_tcache_steal(cache.get(), owner.get(), c));
  cache.FreeAll(c, objects);
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
  EXPECT_GT(stats.peak_used_bytes, uint64_t{64} << 20);
  EXPECT_LE(stats.dirty_bytes, (uint64_t{4} << 20) + stats.used_bytes / 16) << "the bound of segment.c";
}

// ---- fork, and no memory ----

TEST_F(Tcache, WhatIsFreedWhileForkIsHeldBack) {
  Cache cache;
  const uint32_t c = ClassOf(128);
  const std::vector<void *> objects = cache.MallocMany(c, 500);
  hz4_mid_fork_prepare();
  cache.FreeAll(c, objects);
  std::vector<void *> kept;
  while (void *object = hz4_tcache_pop(cache.get(), c)) kept.push_back(object);
  EXPECT_LT(kept.size(), 500u);
  EXPECT_EQ(cache.Malloc(c), nullptr) << "Mid is fork's";
  cache.FreeAll(c, kept);
  hz4_mid_fork_parent();
  hz4_mid_trim();
  EXPECT_GT(MidNow().spans, 0u);
  hz4_tcache_settle();  // and TearDown finds every span at home
}

TEST_F(Tcache, AnAbandonedCacheLosesItsBinsButNotItsInbox) {
  Cache owner, other;
  const uint32_t c = ClassOf(HZ4_INBOX_OBJECT_MAX);
  const std::vector<void *> objects = owner.MallocMany(c, 400);
  other.FreeAll(c, {objects.begin(), objects.begin() + 160});
  ASSERT_GT(owner.Waiting(c), 0u);
  hz4_tcache_trim(owner.get());  // so that nothing is lost: TearDown counts
  owner.Abandon();
  EXPECT_EQ(owner.get()->inbox[c].word, HZ4_INBOX_CLOSED);
  EXPECT_EQ(owner.Capacity(c), 0u);
  other.FreeAll(c, {objects.begin() + 160, objects.end()});
}

TEST_F(Tcache, NoMemory) {
  std::vector<std::pair<void *, size_t>> meta;
  Cache cache, empty;
  const std::vector<void *> objects = cache.MallocMany(40, 300);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  for (size_t bytes = HZ4_META_MAX_BYTES; bytes > 0; bytes -= HZ4_META_UNIT) {
    while (void *block = hz4_meta_alloc(bytes)) meta.emplace_back(block, bytes);
  }
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    EXPECT_TRUE(c == 40 || empty.Malloc(c) == nullptr) << c;
    empty.Check();
  }
  empty.FreeAll(40, objects);  // without a bin, without a batch node: straight to Mid
  EXPECT_EQ(empty.Capacity(40), 0u);
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
    const uint32_t classes[] = {1, 9, ClassOf(300), ClassOf(3000), ClassOf(50000), HZ4_CLASS_COUNT};
    std::vector<void *> live[6];
    std::set<void *> all;
    for (int i = 0; i < 3000; ++i) {
      Cache &cache = caches[random() % 3];
      const size_t k = random() % 6, many = random() % 100 + 1;
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
          cache.Free(classes[k], live[k].back());
          live[k].pop_back();
        }
      }
      if (cache.Held(classes[k]) == 0) hz4_tcache_steal(cache.get(), caches[random() % 3].get(), classes[k]);
      if (random() % 200 == 0) hz4_tcache_trim(cache.get());
      if (i % 50 == 0) {
        for (Cache &each : caches) each.Check();
        hz4_mid_check();
      }
    }
    for (size_t k = 0; k < 6; ++k) caches[k % 3].FreeAll(classes[k], live[k]);
  }
}

}  // namespace
