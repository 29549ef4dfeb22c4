// When what is free is kept, and when it goes back.
#include "hz4/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

#include "hz4/options.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kMiB = 1 << 20;

class Thrashing : public testing::Test {
 protected:
  void SetUp() override {
    // Each test begins when nothing is recent any more.
    static uint64_t start = 0;
    start += 1000 * soon_;
    hz4_sys_fake.now_ns = start;
    SetPeak(100);
  }
  void TearDown() override { hz4_option.refault_ms = 100; }
  static void SetPeak(size_t bytes) {
    AddPeak(bytes - peak);
    peak = bytes;
  }
  // Of a shard that nobody has used yet. What is less is that modulo 2^64.
  static void AddPeak(size_t bytes) {
    hz4_policy_pages pages = {};
    hz4_policy_pages_taken(&pages, bytes, 0);
  }
  static void Pass(uint64_t ns) { hz4_sys_fake.now_ns += ns; }
  // Purges and wants so many times; what the last answered.
  static bool Swing(int times, size_t bytes) {
    bool refaulted = false;
    for (int i = 0; i < times; ++i) {
      hz4_policy_purged();
      refaulted = hz4_policy_wanted(bytes);
    }
    return refaulted;
  }

  const uint64_t soon_ = hz4_option.refault_ms * 1000000;
  static inline size_t peak = 0;  // of all
};

TEST_F(Thrashing, MoreWantedSoonThanAQuarterOfWhatWasEverInUse) {
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS, 3));
  EXPECT_FALSE(hz4_policy_is_thrashing()) << "24 is less than a quarter of 100";
  Pass(soon_ - 1);
  EXPECT_FALSE(hz4_policy_wanted(1));
  EXPECT_FALSE(hz4_policy_is_thrashing());
  EXPECT_TRUE(hz4_policy_wanted(1));
  EXPECT_TRUE(hz4_policy_is_thrashing());
  SetPeak(104);
  EXPECT_FALSE(hz4_policy_is_thrashing());
}

TEST_F(Thrashing, WhatWasEverInUseIsThatOfAllShards) {
  AddPeak(60);
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS, 5)) << "as much as a quarter of both";
  EXPECT_TRUE(hz4_policy_wanted(1));
  AddPeak(-size_t{60});
}

TEST_F(Thrashing, InManySwings) {
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS - 1, 1000)) << "as when a heap is filled and emptied now and then";
  EXPECT_FALSE(hz4_policy_wanted(1000)) << "the same swing";
  hz4_policy_purged();
  hz4_policy_purged();
  EXPECT_FALSE(hz4_policy_is_thrashing()) << "nobody has wanted it yet";
  EXPECT_TRUE(hz4_policy_wanted(1));
  EXPECT_TRUE(hz4_policy_is_thrashing());
}

TEST_F(Thrashing, WantedLater) {
  for (int i = 0; i < 2 * HZ4_THRASHING_SWINGS; ++i) {
    hz4_policy_purged();
    Pass(soon_);
    EXPECT_FALSE(hz4_policy_wanted(1000));
  }
  EXPECT_FALSE(hz4_policy_is_thrashing());
}

TEST_F(Thrashing, LastsTenTimesAsLongAndNoLonger) {
  ASSERT_TRUE(Swing(HZ4_THRASHING_SWINGS, 101));
  Pass(10 * soon_ - 1);
  EXPECT_TRUE(hz4_policy_is_thrashing());
  EXPECT_FALSE(hz4_policy_wanted(101)) << "that is long after, and renews nothing";
  Pass(1);
  EXPECT_FALSE(hz4_policy_is_thrashing());
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS, 3)) << "the sum begins anew";
  EXPECT_TRUE(hz4_policy_wanted(2));
  Pass(10 * soon_);
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS - 1, 101)) << "and so do the swings";
}

TEST_F(Thrashing, IsRenewed) {
  ASSERT_TRUE(Swing(HZ4_THRASHING_SWINGS, 101));
  Pass(9 * soon_);
  ASSERT_TRUE(Swing(1, 1));
  Pass(9 * soon_);
  EXPECT_TRUE(hz4_policy_is_thrashing());
}

TEST_F(Thrashing, NeverWhereTheOptionSaysSo) {
  hz4_option.refault_ms = 0;
  EXPECT_FALSE(Swing(2 * HZ4_THRASHING_SWINGS, 1000));
  EXPECT_FALSE(hz4_policy_is_thrashing());
}

TEST_F(Thrashing, NeverWithoutAClock) {
  hz4_sys_fake.now_ns = 0;
  EXPECT_FALSE(Swing(2 * HZ4_THRASHING_SWINGS, 1000));
  EXPECT_FALSE(hz4_policy_is_thrashing());
}

// ---- the whole, over what real lanes did ----
//
// Recorded on two CPUs: where use turned, in pages of 64 KiB or in objects, and when, by a clock of 4 ms.

struct Point {
  uint64_t ms;
  uint64_t amount;
};

// //bench:server, whose cache of requests is dropped.
constexpr Point kServer[] = {{0, 9}, {140, 1445}, {160, 604}};
// //bench:footprint: a heap is filled, thinned, filled with other sizes, and emptied.
constexpr Point kForGood[] = {{0, 1}, {96, 2184}, {120, 1991}, {424, 3996}, {448, 507}};
// A collector of garbage: lua makes and drops tables.
constexpr Point kSawTooth[] = {{0, 1}, {32, 148}, {32, 89}, {40, 147}, {40, 90}, {64, 203}, {68, 87}, {88, 191},
    {96, 141}, {112, 224}, {120, 118}, {132, 168}, {140, 118}, {144, 170}, {152, 120}, {160, 174}, {160, 125},
    {172, 167}, {172, 117}, {180, 167}, {180, 117}, {192, 167}, {196, 117}, {204, 167}, {204, 117}, {212, 167},
    {212, 117}, {224, 167}, {224, 117}, {236, 167}, {244, 117}, {252, 167}, {252, 117}, {256, 167}, {260, 117},
    {272, 167}, {272, 117}, {280, 167}, {280, 116}, {292, 167}, {292, 116}, {304, 167}, {304, 116}, {312, 167},
    {320, 116}, {324, 167}, {328, 116}, {332, 167}, {336, 116}, {348, 167}, {348, 116}, {356, 167}, {356, 116},
    {368, 167}, {372, 116}, {380, 167}, {380, 116}, {392, 167}, {392, 116}, {400, 167}};
// //bench:large, 30 blocks of 1 to 16 MiB that come and go at random.
constexpr Point kLarge[] = {{32, 319}, {140, 1740}, {164, 941}, {196, 1662}, {196, 1097}, {240, 2097}, {248, 1136},
    {260, 1838}, {268, 871}, {296, 1860}, {296, 1460}, {324, 2519}, {328, 1392}, {332, 1968}, {336, 811},
    {344, 2018}, {348, 1109}, {352, 1775}, {356, 1047}, {376, 2329}, {376, 1518}, {376, 2183}, {380, 1178},
    {388, 2209}, {392, 1045}, {392, 1596}, {392, 1149}, {396, 1905}, {404, 1144}, {404, 1644}, {408, 1269},
    {408, 1626}, {408, 1223}, {412, 1661}, {416, 809}, {420, 1459}, {420, 956}, {424, 1462}, {424, 998}, {432, 2050},
    {440, 679}, {460, 1935}, {464, 676}, {468, 1763}, {472, 995}, {472, 1379}, {472, 798}, {476, 1234}, {476, 845},
    {476, 1252}, {476, 686}, {484, 1354}, {488, 732}, {496, 1781}, {496, 1451}, {500, 1926}, {500, 1246},
    {504, 2301}, {504, 1511}, {508, 2328}};
// //bench:prodcons, two producers and two consumers of up to 32 KiB: rings that fill and drain.
constexpr Point kRings[] = {{0, 9}, {12, 700}, {16, 202}, {24, 861}, {28, 331}, {28, 872}, {32, 322}, {32, 905},
    {36, 324}, {36, 840}, {40, 320}, {40, 850}, {44, 322}, {44, 1002}, {48, 342}, {48, 976}, {52, 454}, {56, 1765},
    {56, 725}, {60, 1813}, {64, 877}, {64, 1890}, {68, 807}, {68, 1854}, {72, 858}, {76, 1961}, {76, 1088},
    {76, 1829}, {76, 1091}, {80, 1954}, {80, 1505}, {80, 2022}, {80, 1396}, {80, 2094}, {84, 1558}, {84, 2164},
    {84, 1392}, {88, 2233}, {92, 1600}, {92, 2301}, {92, 1451}, {92, 2320}, {92, 1371}, {96, 2096}, {96, 1563},
    {100, 2380}, {100, 1746}, {100, 2418}};
// And of the last but one, objects of 32 KiB.
constexpr Point kRingsObjects[] = {{8, 0}, {12, 131}, {16, 3}, {16, 136}, {20, 4}, {24, 184}, {28, 3}, {28, 187},
    {32, 4}, {32, 200}, {36, 4}, {36, 192}, {40, 3}, {40, 176}, {44, 5}, {44, 208}, {48, 4}, {48, 216}, {52, 16},
    {56, 360}, {56, 50}, {60, 376}, {64, 56}, {64, 432}, {68, 48}, {68, 416}, {72, 64}, {72, 448}, {76, 50},
    {76, 368}, {76, 67}, {80, 326}, {80, 90}, {80, 440}, {80, 101}, {80, 432}, {80, 80}, {84, 455}, {84, 183},
    {84, 384}, {84, 96}, {84, 440}, {84, 88}, {88, 472}, {92, 108}, {92, 483}, {92, 67}, {92, 472}, {96, 88},
    {96, 432}, {96, 93}, {96, 528}, {100, 87}, {100, 512}, {100, 64}, {104, 528}, {104, 177}, {104, 544}, {104, 140},
    {104, 592}};

// Free pages as a segment has them: what falls free is dirty, and is taken first; what exceeds the bound is purged.
class Pages {
 public:
  ~Pages() {
    hz4_policy_pages pages = {};
    hz4_policy_pages_taken(&pages, -policy_.peak_bytes, 0);
  }
  void Follow(const Point *first, const Point *end) {
    for (const Point *p = first; p != end; ++p) To(p->ms, p->amount << HZ4_PAGE_SHIFT);
  }
  void To(uint64_t ms, size_t target) {
    hz4_sys_fake.now_ns = start_ + ms * 1000000;
    while (used != target) {
      if (used < target) Take(std::min(kRun, target - used));
      else Free(std::min(kRun, used - target));
    }
  }
  size_t Bound() { return hz4_policy_pages_dirty(&policy_, 1, used, dirty); }

  size_t used = 0, dirty = 0, clean = 0;
  size_t purged = 0, refaulted = 0;  // so far

 private:
  static constexpr size_t kRun = 4 * HZ4_PAGE_BYTES;
  void Take(size_t bytes) {
    const size_t warm = std::min(bytes, dirty), again = std::min(bytes - warm, clean);
    dirty -= warm;
    clean -= again;
    used += bytes;
    refaulted += again;
    hz4_policy_pages_taken(&policy_, used, again);
  }
  void Free(size_t bytes) {
    used -= bytes;
    dirty += bytes;
    const size_t bound = Bound();
    if (dirty <= bound) return;
    hz4_policy_purged();
    purged += dirty - bound;
    clean += dirty - bound;
    dirty = bound;
  }
  const uint64_t start_ = hz4_sys_fake.now_ns;
  hz4_policy_pages policy_ = {};
};

class Swings : public Thrashing {
 protected:
  static size_t Usual(size_t used) { return (hz4_option.dirty_kib << 10) + (used >> hz4_option.dirty_shift); }
};

TEST_F(Swings, ACacheThatIsDroppedGoesBack) {
  Pages pages;
  pages.Follow(std::begin(kServer), std::end(kServer));
  EXPECT_LE(pages.dirty, Usual(pages.used));
  EXPECT_LT(pages.refaulted, pages.purged / 4);
}

TEST_F(Swings, AHeapThatIsEmptiedForGoodGoesBack) {
  Pages pages;
  pages.Follow(std::begin(kForGood), std::end(kForGood));
  pages.To(1000, 0);
  EXPECT_LE(pages.dirty, Usual(0));
}

TEST_F(Swings, ACollectorsSawToothIsHardlyPurged) {
  Pages pages;
  pages.Follow(std::begin(kSawTooth), std::end(kSawTooth));
  EXPECT_LT(pages.refaulted, 4 * kMiB);
}

// What rings need is kept once it is known, and goes when they have stopped for a second, with the next free.
TEST_F(Swings, RingsThatFillAndDrainAreKept) {
  Pages pages;
  const Point *half = kRings + std::size(kRings) / 2;
  pages.Follow(kRings, half);
  const size_t refaulted = pages.refaulted;
  EXPECT_TRUE(hz4_policy_is_thrashing());
  pages.Follow(half, std::end(kRings));
  EXPECT_LT(pages.refaulted - refaulted, refaulted / 4);
  pages.To(2000, 0);
  EXPECT_LE(pages.dirty, Usual(0));
}

TEST_F(Swings, AndPurgedEachTimeWhereTheOptionSaysSo) {
  hz4_option.refault_ms = 0;
  Pages pages;
  for (const Point &p : kRings) {
    pages.To(p.ms, p.amount << HZ4_PAGE_SHIFT);
    ASSERT_LE(pages.dirty, Usual(pages.used) + 4 * HZ4_PAGE_BYTES);
  }
}

// Free ranges as large has them, and one block after the other.
TEST_F(Swings, LargeBlocksThatComeAndGoAreKept) {
  hz4_policy_large policy = {};
  size_t live = 0, dirty = 0, purged = 0, early = 0;
  auto to = [&](size_t target) {
    constexpr size_t kBlock = 4 << 20;
    while (live != target) {
      size_t bytes = std::min(kBlock, live < target ? target - live : live - target);
      if (live < target) {
        const bool from_dirty = bytes <= dirty;
        if (from_dirty) dirty -= bytes;
        hz4_policy_large_taken(&policy, bytes, from_dirty, dirty);
        live += bytes;
        continue;
      }
      hz4_policy_large_freed(&policy, live);
      live -= bytes;
      dirty += bytes;
      const size_t bound = hz4_policy_large_dirty(&policy, live, dirty);
      if (dirty <= bound) continue;
      purged += dirty - bound;
      hz4_policy_large_purged(&policy, dirty - bound);
      dirty = bound;
    }
  };
  for (size_t i = 0; i < std::size(kLarge); ++i) {
    to(kLarge[i].amount << HZ4_PAGE_SHIFT);
    if (i == std::size(kLarge) / 2) early = purged;
  }
  EXPECT_LT(purged - early, early / 4);
  const size_t kept = hz4_policy_large_keep(&policy);
  EXPECT_GT(kept, hz4_option.dirty_kib << 10);
  // What is freed block after block lowers it, by a third of what goes back.
  to(0);
  EXPECT_LT(dirty, kept - kept / 8);
}

// Objects of 32 KiB, of which caches keep none here.
class Class {
 public:
  static constexpr size_t kBytes = 32 << 10;
  void To(uint64_t target) {
    for (; out_ < target; ++out_) hz4_policy_rose(&policy_, out_ + 1, kBytes);
    for (; out_ > target; --out_) {
      const hz4_policy_fall fall = hz4_policy_fell(&policy_, out_ - 1, kBytes);
      declines += fall != HZ4_FALL_NONE;
      purges += fall == HZ4_FALL_PURGE;
    }
  }
  int declines = 0, purges = 0;

 private:
  hz4_policy_class policy_ = {};
  uint64_t out_ = 0;
};

TEST_F(Swings, AClassDeclinesWithEachHalfAndPurgesFromTheSecondOn) {
  Class c;
  c.To(4096);
  c.To(2048);
  EXPECT_EQ(c.declines, 1);
  EXPECT_EQ(c.purges, 0);
  c.To(1024);
  EXPECT_EQ(c.declines, 2);
  EXPECT_EQ(c.purges, 1);
  c.To(2047);
  c.To(1023);
  EXPECT_EQ(c.purges, 2);
  c.To(2046);  // twice of what there was
  c.To(1023);
  EXPECT_EQ(c.declines, 4);
  EXPECT_EQ(c.purges, 2) << "a run of declines begins anew";
}

TEST_F(Swings, WhileThereIsThrashingRingsAreNoDeclines) {
  Class before, during;
  for (const Point &p : kRingsObjects) before.To(p.amount);
  EXPECT_GT(before.declines, 20);
  Pages pages;
  pages.Follow(kRings, std::end(kRings));
  for (const Point &p : kRingsObjects) during.To(p.amount);
  EXPECT_EQ(during.declines, 0);
}

}  // namespace
