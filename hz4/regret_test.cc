// When purging was a mistake.
#include "hz4/regret.h"

#include <gtest/gtest.h>

#include "hz4/options.h"
#include "hz4/sys_fake.h"

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
  void TearDown() override { hz4_options.regret_ms = 100; }
  static void Pass(uint64_t ns) { hz4_sys_fake.now_ns += ns; }

  const uint64_t soon_ = hz4_options.regret_ms * 1000000;
};

TEST_F(Regret, MoreWantedSoonThanWasEverInUse) {
  hz4_regret_purged();
  EXPECT_FALSE(hz4_regret_lasts()) << "nobody has wanted it yet";
  Pass(soon_ - 1);
  EXPECT_FALSE(hz4_regret_wanted(100)) << "each page once, as when sizes shift";
  EXPECT_FALSE(hz4_regret_lasts());
  EXPECT_TRUE(hz4_regret_wanted(1));
  EXPECT_TRUE(hz4_regret_lasts());
  hz4_regret_peak(101);
  EXPECT_FALSE(hz4_regret_lasts());
}

TEST_F(Regret, WantedLater) {
  hz4_regret_purged();
  Pass(soon_);
  EXPECT_FALSE(hz4_regret_wanted(1000));
  EXPECT_FALSE(hz4_regret_lasts());
}

TEST_F(Regret, LastsTenTimesAsLongAndNoLonger) {
  hz4_regret_purged();
  ASSERT_TRUE(hz4_regret_wanted(101));
  Pass(10 * soon_ - 1);
  EXPECT_TRUE(hz4_regret_lasts());
  EXPECT_FALSE(hz4_regret_wanted(101)) << "that is long after, and renews nothing";
  Pass(1);
  EXPECT_FALSE(hz4_regret_lasts());
  hz4_regret_purged();
  EXPECT_FALSE(hz4_regret_wanted(100)) << "the sum begins anew";
}

TEST_F(Regret, IsRenewed) {
  hz4_regret_purged();
  ASSERT_TRUE(hz4_regret_wanted(101));
  Pass(9 * soon_);
  hz4_regret_purged();
  ASSERT_TRUE(hz4_regret_wanted(1));
  Pass(9 * soon_);
  EXPECT_TRUE(hz4_regret_lasts());
}

TEST_F(Regret, NeverWhereTheOptionSaysSo) {
  hz4_options.regret_ms = 0;
  hz4_regret_purged();
  EXPECT_FALSE(hz4_regret_wanted(1000));
  EXPECT_FALSE(hz4_regret_lasts());
}

TEST_F(Regret, NeverWithoutAClock) {
  hz4_sys_fake.now_ns = 0;
  hz4_regret_purged();
  EXPECT_FALSE(hz4_regret_wanted(1000));
  EXPECT_FALSE(hz4_regret_lasts());
}

}  // namespace
