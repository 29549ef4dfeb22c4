// What HZ4_LIMIT may say.
#include "hz4/limit_option.h"

#include <gtest/gtest.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <utility>

#include "hz4/cgroup.h"
#include "hz4/limit.h"

namespace {

constexpr size_t kMiB = size_t{1} << 20;

class LimitOption : public testing::Test {
 protected:
  void SetUp() override { hz4_limit_configure(1, 2); }
  // 0: no limit, as in the text.
  static void Expect(const char *text, uint64_t soft, uint64_t hard) {
    ASSERT_TRUE(hz4_limit_option_read(text)) << text;
    struct hz4_limit_stats stats;
    hz4_limit_stats(&stats);
    EXPECT_EQ(stats.soft_bytes, soft) << text;
    EXPECT_EQ(stats.hard_bytes, hard) << text;
  }
  static uint64_t Machine(unsigned percent) {
    struct sysinfo info;
    EXPECT_EQ(sysinfo(&info), 0);
    return uint64_t{info.totalram} * info.mem_unit / 100 * percent;
  }
};

TEST_F(LimitOption, Amounts) {
  Expect("64M", 64 * kMiB, 0);
  Expect("1000000:2000000", 1000000, 2000000);
  Expect("1G:1G", 1024 * kMiB, 1024 * kMiB);
  Expect("0:3G", 0, 3072 * kMiB);
  Expect("3G:0", 3072 * kMiB, 0);
  Expect("0", 0, 0);
}

TEST_F(LimitOption, PercentOfTheMachine) {
  Expect("80%", Machine(80), 0);
  Expect("1%:100%", Machine(1), Machine(100));
  Expect("1M:50%", kMiB, Machine(50));
}

TEST_F(LimitOption, EmptyLeavesTheLimitsAlone) {
  Expect("", 1, 2);
}

TEST_F(LimitOption, OthersAreRefusedAndChangeNothing) {
  for (const char *text : {" ", "-1", "x", "64M ", "64M:", ":64M", "64M:32M", "80%:10%", "0%", "101%", "80%%", "1M:2M:3M",
                           "cgroups", "cgroup:", "cgroup:0%", "cgroup:101%", "cgroup:90", "cgroup:90%x", "cgroup:90%:95%",
                           "64Q", "99999999999999999999", "18446744073709551615K"}) {
    EXPECT_FALSE(hz4_limit_option_read(text)) << text;
    Expect("", 1, 2);
  }
}

TEST_F(LimitOption, SharesOfTheGroups) {
  const hz4_cgroup_limits limits = hz4_cgroup_read(HZ4_CGROUP_OF_PROCESS, HZ4_CGROUP_ROOT);
  const uint64_t least = std::min(limits.high, limits.max);
  for (const auto &[text, percent] : {std::pair("cgroup", HZ4_LIMIT_CGROUP_PERCENT), std::pair("cgroup:50%", 50)}) {
    Expect(text, least == UINT64_MAX ? 0 : least / 100 * percent, limits.max == UINT64_MAX ? 0 : limits.max / 100 * percent);
  }
}

}  // namespace
