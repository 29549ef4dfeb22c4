// What counts against the limit, when more is refused, and when what is free has to go back.
#include "hz4/limit.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kNone = SIZE_MAX, kSoft = 1600, kNear = 1500, kOver = 1200;

struct hz4_limit_stats Stats() {
  struct hz4_limit_stats stats;
  hz4_limit_stats(&stats);
  return stats;
}

class Limit : public testing::Test {
 protected:
  void SetUp() override { hz4_sys_fake.now_ns = now_ += 1000000000; }
  void TearDown() override {
    hz4_limit_configure(kNone, kNone);
    hz4_limit_set_container(kNone);
    hz4_limit_give(Stats().used_bytes);
  }
  static void Pass(uint64_t ns) { hz4_sys_fake.now_ns = now_ += ns; }
  // Whether a trim may begin, which then gives back so much.
  static bool Trim(size_t bytes) {
    size_t used;
    if (!hz4_limit_begin_trim(&used)) return false;
    hz4_limit_give(bytes);
    hz4_limit_end_trim(used);
    return true;
  }

  static uint64_t now_;
};

uint64_t Limit::now_;

TEST_F(Limit, WithoutOneAllIsCountedAndNothingRefused) {
  EXPECT_TRUE(hz4_limit_take(size_t{1} << 62));
  hz4_limit_take_anyway(10);
  EXPECT_EQ(Stats().used_bytes, (size_t{1} << 62) + 10);
  EXPECT_FALSE(hz4_limit_is_due());
  EXPECT_FALSE(Trim(0));
  EXPECT_EQ(Stats().soft_bytes, 0u);
  EXPECT_EQ(Stats().hard_bytes, 0u);
}

TEST_F(Limit, HardRefusesWhatWouldExceedIt) {
  const uint64_t refused = Stats().refused;
  hz4_limit_configure(kNone, 1000);
  EXPECT_TRUE(hz4_limit_take(600));
  EXPECT_FALSE(hz4_limit_take(401));
  EXPECT_FALSE(hz4_limit_take(SIZE_MAX)) << "a sum that overflows";
  EXPECT_EQ(Stats().used_bytes, 600u);
  EXPECT_EQ(Stats().refused - refused, 2u);
  EXPECT_TRUE(hz4_limit_take(400));
  EXPECT_FALSE(hz4_limit_take(1));
  EXPECT_TRUE(hz4_limit_take(0));
  hz4_limit_take_anyway(50);  // metadata
  EXPECT_FALSE(hz4_limit_take(0)) << "nothing more until it is below again";
  hz4_limit_give(51);
  EXPECT_TRUE(hz4_limit_take(1));
}

TEST_F(Limit, HardIsExactHoweverManyThreadsAsk) {
  static constexpr size_t kHard = 1000;
  hz4_limit_configure(kNone, kHard);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 20000; ++i) {
        const size_t bytes = 1 + i % 400;
        if (!hz4_limit_take(bytes)) continue;
        EXPECT_LE(Stats().used_bytes, kHard);
        hz4_limit_give(bytes);
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(Stats().used_bytes, 0u);
}

TEST_F(Limit, DueFromASixteenthBelowAnewAfterItWasAQuarterBelow) {
  hz4_limit_configure(kSoft, kNone);
  hz4_limit_take(kNear);
  EXPECT_FALSE(hz4_limit_is_due());
  hz4_limit_take(1);
  EXPECT_TRUE(hz4_limit_is_due());
  EXPECT_TRUE(hz4_limit_take(10000)) << "soft refuses nothing";
  EXPECT_TRUE(Trim(0)) << "in vain";
  Pass(10 * HZ4_LIMIT_PAUSE_NS);
  hz4_limit_give(10000 + kNear - kOver);
  hz4_limit_take(kNear - kOver);
  EXPECT_FALSE(hz4_limit_is_due());
  hz4_limit_give(kNear - kOver + 1);
  hz4_limit_take(kNear - kOver + 1);
  EXPECT_TRUE(hz4_limit_is_due());
}

TEST_F(Limit, HardAloneIsSoftToo) {
  hz4_limit_configure(kNone, kSoft);
  hz4_limit_take(kNear + 1);
  EXPECT_TRUE(hz4_limit_is_due());
}

TEST_F(Limit, TheNextTrimIsDueWhenASixteenthMoreIsUsed) {
  hz4_limit_configure(kSoft, kNone);
  hz4_limit_take(2000);
  EXPECT_TRUE(Trim(0)) << "in vain";
  EXPECT_FALSE(hz4_limit_is_due());
  Pass(10 * HZ4_LIMIT_PAUSE_NS);
  hz4_limit_take(100);
  EXPECT_FALSE(hz4_limit_is_due());
  hz4_limit_take(1);
  EXPECT_TRUE(Trim(1000));
  Pass(10 * HZ4_LIMIT_PAUSE_NS);
  hz4_limit_take(kNear - 1101);
  EXPECT_FALSE(hz4_limit_is_due());
  hz4_limit_take(1);
  EXPECT_TRUE(Trim(0));
}

TEST_F(Limit, AndWhenAPauseIsOver) {
  hz4_limit_configure(kSoft, kNone);
  hz4_limit_take(kNear + 1);
  EXPECT_TRUE(Trim(1));
  hz4_limit_take(1000);
  EXPECT_TRUE(hz4_limit_is_due());
  Pass(HZ4_LIMIT_PAUSE_NS - 1);
  EXPECT_FALSE(Trim(0));
  EXPECT_FALSE(hz4_limit_is_due()) << "nobody asks the clock again until more is taken";
  Pass(1);
  hz4_limit_take(1);
  EXPECT_TRUE(Trim(0));
}

TEST_F(Limit, ThePauseIsLongerTheMoreWentBack) {
  constexpr size_t kMuch = size_t{1} << 30;
  hz4_limit_configure(kMuch, kNone);
  hz4_limit_take(kMuch);
  EXPECT_TRUE(Trim(kMuch));
  hz4_limit_take(kMuch);
  Pass(kMuch * HZ4_LIMIT_PAUSE_NS_PER_BYTE - 1);
  EXPECT_FALSE(Trim(0));
  Pass(1);
  hz4_limit_take(1);
  EXPECT_TRUE(Trim(0));
}

TEST_F(Limit, WithoutAClockOnlyWhatIsUsedCounts) {
  hz4_sys_fake.now_ns = 0;
  hz4_limit_configure(kSoft, kNone);
  for (int i = 0; i < 3; ++i) {
    hz4_limit_take(kSoft);
    EXPECT_TRUE(Trim(kSoft)) << i;
  }
}

// A thread that trims does not come back in a child of fork.
TEST_F(Limit, WhoBeginsATrimAndNeverEndsItStopsNobody) {
  hz4_limit_configure(kSoft, kNone);
  hz4_limit_take(kSoft);
  size_t used;
  ASSERT_TRUE(hz4_limit_begin_trim(&used));
  hz4_limit_take(1);
  EXPECT_FALSE(Trim(0)) << "one at a time";
  Pass(HZ4_LIMIT_PAUSE_NS);
  hz4_limit_take(1);
  EXPECT_TRUE(Trim(0));
}

TEST_F(Limit, ALimitBelowWhatIsUsedIsNearAtOnce) {
  hz4_limit_take(5000);
  hz4_limit_configure(kSoft, 2000);
  EXPECT_TRUE(hz4_limit_is_due());
  EXPECT_TRUE(Trim(4000));
  hz4_limit_configure(kNone, kNone);
  hz4_limit_take(5000);
  EXPECT_FALSE(hz4_limit_is_due());
}

TEST_F(Limit, CachesHaveAShareOfTheLeast) {
  EXPECT_EQ(hz4_limit_of_caches(5000), 5000u);
  hz4_limit_set_container(16000);
  EXPECT_EQ(hz4_limit_of_caches(5000), 16000u >> HZ4_LIMIT_CONTAINER_SHIFT);
  EXPECT_EQ(hz4_limit_of_caches(10), 10u);
  hz4_limit_configure(4000, kNone);
  EXPECT_EQ(hz4_limit_of_caches(5000), 4000u >> HZ4_LIMIT_CACHES_SHIFT);
  hz4_limit_configure(32000, kNone);
  EXPECT_EQ(hz4_limit_of_caches(5000), 16000u >> HZ4_LIMIT_CONTAINER_SHIFT);
}

}  // namespace
