// Which CPUs share what, as a made-up /sys tells it.
#include "hz4/shard.h"

#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <string>
#include <vector>

namespace {

// A directory of its own; CPU i's caches are shared by `lists[i]`. Empty: it is offline.
class Machine {
 public:
  Machine(const std::string &present, const std::vector<std::string> &lists) {
    const char *tmp = getenv("TEST_TMPDIR");
    root_ = std::string(tmp != nullptr ? tmp : "/tmp") + "/machineXXXXXX";
    EXPECT_NE(mkdtemp(&root_[0]), nullptr);
    if (!present.empty()) Write(root_ + "/present", present);
    for (size_t cpu = 0; cpu < lists.size(); ++cpu) {
      std::string path = root_ + "/cpu" + std::to_string(cpu);
      for (const char *more : {"", "/cache", "/cache/index3"}) EXPECT_EQ(mkdir((path + more).c_str(), 0700), 0);
      if (!lists[cpu].empty()) Write(path + "/cache/index3/shared_cpu_list", lists[cpu]);
    }
  }
  // The shards of so many CPUs, and before them how many there are.
  std::vector<int> Find(uint32_t split, size_t cpus) const {
    for (auto &shard : hz4_shards.of_cpu) shard = 0;
    hz4_shards.count = 0;
    EXPECT_EQ(hz4_shard_count(), 1u);
    EXPECT_FALSE(hz4_shard_is_known());
    hz4_shard_find(split, root_.c_str());
    EXPECT_TRUE(hz4_shard_is_known());
    std::vector<int> shards = {static_cast<int>(hz4_shard_count())};
    for (size_t cpu = 0; cpu < cpus; ++cpu) shards.push_back(hz4_shards.of_cpu[cpu]);
    return shards;
  }

 private:
  static void Write(const std::string &path, const std::string &text) {
    FILE *file = fopen(path.c_str(), "w");
    ASSERT_NE(file, nullptr);
    fprintf(file, "%s\n", text.c_str());
    ASSERT_EQ(fclose(file), 0);
  }
  std::string root_;
};

using Shards = std::vector<int>;

TEST(ShardTest, OneCacheForAll) {
  EXPECT_EQ(Machine("0-3", {"0-3", "0-3", "0-3", "0-3"}).Find(0, 4), (Shards{1, 0, 0, 0, 0}));
}

TEST(ShardTest, TwoThreadsOfACoreAndSocketsInTurn) {
  EXPECT_EQ(Machine("0-7", {"0-1,4-5", "0-1,4-5", "2-3,6-7", "2-3,6-7", "0-1,4-5", "0-1,4-5", "2-3,6-7", "2-3,6-7"})
                .Find(0, 8),
            (Shards{2, 0, 0, 1, 1, 0, 0, 1, 1}));
  EXPECT_EQ(Machine("0-3", {"0,2", "1,3", "0,2", "1,3"}).Find(0, 4), (Shards{2, 0, 1, 0, 1}));
}

TEST(ShardTest, WhatIsOfflineIsWithTheFirst) {
  EXPECT_EQ(Machine("0-3", {"0", "", "2-3", "2-3"}).Find(0, 4), (Shards{2, 0, 0, 1, 1}));
}

TEST(ShardTest, WhereItCannotBeKnownThereIsOne) {
  EXPECT_EQ(Machine("", {"0", "1"}).Find(0, 2), (Shards{1, 0, 0}));
  EXPECT_EQ(Machine("0-1", {}).Find(0, 2), (Shards{1, 0, 0})) << "no third level";
  EXPECT_EQ(Machine("none", {"0", "1"}).Find(0, 2), (Shards{1, 0, 0}));
  EXPECT_EQ(Machine("0-1", {"nonsense", "1"}).Find(0, 2)[0], 2);
}

TEST(ShardTest, MoreThanThereIsRoomForAreCountedModulo) {
  std::vector<std::string> each;
  for (int cpu = 0; cpu < HZ4_SHARDS_MAX + 2; ++cpu) each.push_back(std::to_string(cpu));
  const Shards found = Machine("0-" + std::to_string(HZ4_SHARDS_MAX + 1), each).Find(0, each.size());
  EXPECT_EQ(found[0], HZ4_SHARDS_MAX);
  EXPECT_EQ(found[1 + HZ4_SHARDS_MAX - 1], HZ4_SHARDS_MAX - 1);
  EXPECT_EQ(found[1 + HZ4_SHARDS_MAX + 1], 1);
  EXPECT_EQ(Machine("0-99999999999", {"0-4294967295"}).Find(0, 0), (Shards{HZ4_SHARDS_MAX}));
}

TEST(ShardTest, ManyCpusOfACacheAreSeveral) {
  std::string all = "0-" + std::to_string(2 * HZ4_SHARD_CPUS);
  const Shards found = Machine(all, {all}).Find(0, 2 * HZ4_SHARD_CPUS + 1);
  EXPECT_EQ(found[0], 3);
  EXPECT_EQ(found[HZ4_SHARD_CPUS], 0);
  EXPECT_EQ(found[1 + HZ4_SHARD_CPUS], 1);
  EXPECT_EQ(found[2 * HZ4_SHARD_CPUS], 1);
  EXPECT_EQ(found[1 + 2 * HZ4_SHARD_CPUS], 2);
}

TEST(ShardTest, SplitByTheCpusNumber) {
  EXPECT_EQ(Machine("", {}).Find(1, 4), (Shards{1, 0, 0, 0, 0}));
  EXPECT_EQ(Machine("", {}).Find(4, 6), (Shards{4, 0, 1, 2, 3, 0, 1}));
}

TEST(ShardTest, HereIsWhereTheAreaSays) {
  Machine("", {}).Find(4, 0);
  EXPECT_EQ(hz4_shard_here(), 0u) << "not known";
  struct hz4_area area = {}, *before = hz4_front.area;
  hz4_front.area = &area;
  for (uint32_t cpu : {0u, 1u, 6u, 1025u, UINT32_MAX}) {
    area.cpu_id = cpu;
    EXPECT_EQ(hz4_shard_here(), cpu % 1024 % 4) << cpu;
  }
  hz4_front.area = before;
}

TEST(ShardTest, ThisMachineIsRead) {
  hz4_shards.count = 0;
  hz4_shard_find(0, HZ4_SHARD_ROOT);
  EXPECT_GE(hz4_shard_count(), 1u);
  EXPECT_LE(hz4_shard_count(), static_cast<uint32_t>(HZ4_SHARDS_MAX));
}

}  // namespace
