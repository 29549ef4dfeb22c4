// When purging was a mistake.
#include "hz4/regret.h"

#include <gtest/gtest.h>

#include "hz4/options.h"
#include "hz4/test/sys_fake.h"

namespace {

class Regret : public testing::Test {
 protected:
  void SetUp() override {
    // Each test begins when nothing is recent any more.
    static uint64_t start = 0;
    start += 1000 * soon_;
    hz4_sys_fake.now_ns = start;
    hz4_regret_peak(100);
  }
  void TearDown() override { hz4_option.regret_ms = 100; }
  static void Pass(uint64_t ns) { hz4_sys_fake.now_ns += ns; }
  // Purges and wants so many times; what the last answered.
  static bool Swing(int times, size_t bytes) {
    bool regretted = false;
    for (int i = 0; i < times; ++i) {
      hz4_regret_purged();
      regretted = hz4_regret_wanted(bytes);
    }
    return regretted;
  }

  const uint64_t soon_ = hz4_option.regret_ms * 1000000;
};

TEST_F(Regret, MoreWantedSoonThanAQuarterOfWhatWasEverInUse) {
  EXPECT_FALSE(Swing(HZ4_REGRET_SWINGS, 3));
  EXPECT_FALSE(hz4_regret_lasts()) << "24 is less than a quarter of 100";
  Pass(soon_ - 1);
  EXPECT_FALSE(hz4_regret_wanted(1));
  EXPECT_FALSE(hz4_regret_lasts());
  EXPECT_TRUE(hz4_regret_wanted(1));
  EXPECT_TRUE(hz4_regret_lasts());
  hz4_regret_peak(104);
  EXPECT_FALSE(hz4_regret_lasts());
}

TEST_F(Regret, InManySwings) {
  EXPECT_FALSE(Swing(HZ4_REGRET_SWINGS - 1, 1000)) << "as when a heap is filled and emptied now and then";
  EXPECT_FALSE(hz4_regret_wanted(1000)) << "the same swing";
  hz4_regret_purged();
  hz4_regret_purged();
  EXPECT_FALSE(hz4_regret_lasts()) << "nobody has wanted it yet";
  EXPECT_TRUE(hz4_regret_wanted(1));
  EXPECT_TRUE(hz4_regret_lasts());
}

TEST_F(Regret, WantedLater) {
  for (int i = 0; i < 2 * HZ4_REGRET_SWINGS; ++i) {
    hz4_regret_purged();
    Pass(soon_);
    EXPECT_FALSE(hz4_regret_wanted(1000));
  }
  EXPECT_FALSE(hz4_regret_lasts());
}

TEST_F(Regret, LastsTenTimesAsLongAndNoLonger) {
  ASSERT_TRUE(Swing(HZ4_REGRET_SWINGS, 101));
  Pass(10 * soon_ - 1);
  EXPECT_TRUE(hz4_regret_lasts());
  EXPECT_FALSE(hz4_regret_wanted(101)) << "that is long after, and renews nothing";
  Pass(1);
  EXPECT_FALSE(hz4_regret_lasts());
  EXPECT_FALSE(Swing(HZ4_REGRET_SWINGS, 3)) << "the sum begins anew";
  EXPECT_TRUE(hz4_regret_wanted(2));
  Pass(10 * soon_);
  EXPECT_FALSE(Swing(HZ4_REGRET_SWINGS - 1, 101)) << "and so do the swings";
}

TEST_F(Regret, IsRenewed) {
  ASSERT_TRUE(Swing(HZ4_REGRET_SWINGS, 101));
  Pass(9 * soon_);
  ASSERT_TRUE(Swing(1, 1));
  Pass(9 * soon_);
  EXPECT_TRUE(hz4_regret_lasts());
}

TEST_F(Regret, NeverWhereTheOptionSaysSo) {
  hz4_option.regret_ms = 0;
  EXPECT_FALSE(Swing(2 * HZ4_REGRET_SWINGS, 1000));
  EXPECT_FALSE(hz4_regret_lasts());
}

TEST_F(Regret, NeverWithoutAClock) {
  hz4_sys_fake.now_ns = 0;
  EXPECT_FALSE(Swing(2 * HZ4_REGRET_SWINGS, 1000));
  EXPECT_FALSE(hz4_regret_lasts());
}

}  // namespace
