// When purging was a mistake.
#include "hz4/refault.h"

#include <gtest/gtest.h>

#include "hz4/options.h"
#include "hz4/test/sys_fake.h"

namespace {

class Thrashing : public testing::Test {
 protected:
  void SetUp() override {
    // Each test begins when nothing is recent any more.
    static uint64_t start = 0;
    start += 1000 * soon_;
    hz4_sys_fake.now_ns = start;
    hz4_refault_peak(100);
  }
  void TearDown() override { hz4_option.refault_ms = 100; }
  static void Pass(uint64_t ns) { hz4_sys_fake.now_ns += ns; }
  // Purges and wants so many times; what the last answered.
  static bool Swing(int times, size_t bytes) {
    bool refaulted = false;
    for (int i = 0; i < times; ++i) {
      hz4_refault_purged();
      refaulted = hz4_refault_wanted(bytes);
    }
    return refaulted;
  }

  const uint64_t soon_ = hz4_option.refault_ms * 1000000;
};

TEST_F(Thrashing, MoreWantedSoonThanAQuarterOfWhatWasEverInUse) {
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS, 3));
  EXPECT_FALSE(hz4_refault_is_thrashing()) << "24 is less than a quarter of 100";
  Pass(soon_ - 1);
  EXPECT_FALSE(hz4_refault_wanted(1));
  EXPECT_FALSE(hz4_refault_is_thrashing());
  EXPECT_TRUE(hz4_refault_wanted(1));
  EXPECT_TRUE(hz4_refault_is_thrashing());
  hz4_refault_peak(104);
  EXPECT_FALSE(hz4_refault_is_thrashing());
}

TEST_F(Thrashing, InManySwings) {
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS - 1, 1000)) << "as when a heap is filled and emptied now and then";
  EXPECT_FALSE(hz4_refault_wanted(1000)) << "the same swing";
  hz4_refault_purged();
  hz4_refault_purged();
  EXPECT_FALSE(hz4_refault_is_thrashing()) << "nobody has wanted it yet";
  EXPECT_TRUE(hz4_refault_wanted(1));
  EXPECT_TRUE(hz4_refault_is_thrashing());
}

TEST_F(Thrashing, WantedLater) {
  for (int i = 0; i < 2 * HZ4_THRASHING_SWINGS; ++i) {
    hz4_refault_purged();
    Pass(soon_);
    EXPECT_FALSE(hz4_refault_wanted(1000));
  }
  EXPECT_FALSE(hz4_refault_is_thrashing());
}

TEST_F(Thrashing, LastsTenTimesAsLongAndNoLonger) {
  ASSERT_TRUE(Swing(HZ4_THRASHING_SWINGS, 101));
  Pass(10 * soon_ - 1);
  EXPECT_TRUE(hz4_refault_is_thrashing());
  EXPECT_FALSE(hz4_refault_wanted(101)) << "that is long after, and renews nothing";
  Pass(1);
  EXPECT_FALSE(hz4_refault_is_thrashing());
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS, 3)) << "the sum begins anew";
  EXPECT_TRUE(hz4_refault_wanted(2));
  Pass(10 * soon_);
  EXPECT_FALSE(Swing(HZ4_THRASHING_SWINGS - 1, 101)) << "and so do the swings";
}

TEST_F(Thrashing, IsRenewed) {
  ASSERT_TRUE(Swing(HZ4_THRASHING_SWINGS, 101));
  Pass(9 * soon_);
  ASSERT_TRUE(Swing(1, 1));
  Pass(9 * soon_);
  EXPECT_TRUE(hz4_refault_is_thrashing());
}

TEST_F(Thrashing, NeverWhereTheOptionSaysSo) {
  hz4_option.refault_ms = 0;
  EXPECT_FALSE(Swing(2 * HZ4_THRASHING_SWINGS, 1000));
  EXPECT_FALSE(hz4_refault_is_thrashing());
}

TEST_F(Thrashing, NeverWithoutAClock) {
  hz4_sys_fake.now_ns = 0;
  EXPECT_FALSE(Swing(2 * HZ4_THRASHING_SWINGS, 1000));
  EXPECT_FALSE(hz4_refault_is_thrashing());
}

}  // namespace
