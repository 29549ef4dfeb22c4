// Limits of control groups, out of directories that look like the kernel's.
#include "hz4/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace {

class Cgroup : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::current_path(testing::TempDir());  // for the name of the root is short
    std::filesystem::remove_all("root");
    std::filesystem::create_directory("root");
  }
  static void Write(const std::string &path, const std::string &text) {
    if (path.find('/') != std::string::npos) std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
  }
  static hz4_cgroup_limits Read(const std::string &groups) {
    Write("root/groups", groups);
    return hz4_cgroup_read("root/groups", "root");
  }

  static constexpr uint64_t kNone = UINT64_MAX;
};

TEST_F(Cgroup, NothingThereIsNoLimit) {
  for (const char *groups : {"", "\n", "0::/\n", "0::/a/b\n", "4:memory:/a\n", "nonsense", "0:", "::", "0::", "a:b:c:d\n:::"}) {
    EXPECT_EQ(Read(groups).max, kNone) << groups;
    EXPECT_EQ(Read(groups).high, kNone) << groups;
  }
  EXPECT_EQ(hz4_cgroup_read("root/no such file", "root").max, kNone);
  EXPECT_EQ(hz4_cgroup_read(nullptr, "root").max, kNone);
  EXPECT_EQ(hz4_cgroup_read(nullptr, std::string(300, 'r').c_str()).max, kNone);
}

TEST_F(Cgroup, TheLeastOfAllAncestors) {
  Write("root/a/b/c/memory.max", "max\n");
  Write("root/a/b/c/memory.high", "9000\n");
  Write("root/a/b/memory.max", "8000\n");
  Write("root/a/b/memory.high", "max\n");
  Write("root/a/memory.max", "8001\n");
  Write("root/a/memory.high", "7000\n");
  Write("root/a/other/memory.max", "1\n");
  const hz4_cgroup_limits limits = Read("0::/a/b/c\n");
  EXPECT_EQ(limits.max, 8000u);
  EXPECT_EQ(limits.high, 7000u);
  EXPECT_EQ(Read("0::/a\n").max, 8001u);
  EXPECT_EQ(Read("0::/a/gone (deleted)\n").max, 8001u) << "what was removed has ancestors";
  EXPECT_EQ(Read("0::/\n").max, kNone);
}

TEST_F(Cgroup, Version1) {
  Write("root/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  Write("root/memory/a/memory.limit_in_bytes", "5000\n");
  Write("root/memory/memory.limit_in_bytes", "9223372036854771712\n");
  const std::string others = "12:cpu,cpuacct:/x\n11:hugetlb:/a/b\n10:name=memory.max:/y\n9:memoryless:/z\n";
  EXPECT_EQ(Read(others + "4:memory:/a/b\n0::/\n").max, 5000u);
  EXPECT_EQ(Read(others + "4:cpu,memory:/a/b\n").max, 5000u);
  EXPECT_EQ(Read(others + "4:memory,cpu:/a/b").max, 5000u) << "without an end of line";
  EXPECT_EQ(Read(others + "4:memory:/a/b\n").high, kNone);
  EXPECT_EQ(Read(others).max, kNone);
}

// Where the hierarchy that is mounted begins at the process's own group, as that of Docker for version 1.
TEST_F(Cgroup, ANameThatIsNotThereStillHasARoot) {
  Write("root/memory/memory.limit_in_bytes", "6000\n");
  EXPECT_EQ(Read("4:memory:/docker/0123456789abcdef\n").max, 6000u);
}

TEST_F(Cgroup, WhatIsOutsideOfTheNamespace) {
  Write("root/memory.max", "4000\n");
  Write("memory.max", "3\n");
  EXPECT_EQ(Read("0::/..\n").max, 4000u);
  EXPECT_EQ(Read("0::/../../b\n").max, 4000u);
}

TEST_F(Cgroup, AContainersRoot) {
  Write("root/memory.max", "4000\n");
  Write("root/memory.high", "3000\n");
  EXPECT_EQ(hz4_cgroup_read(nullptr, "root").max, 4000u);
  EXPECT_EQ(hz4_cgroup_read(nullptr, "root").high, 3000u);
  std::filesystem::remove("root/memory.max");
  Write("root/memory/memory.limit_in_bytes", "5000\n");
  EXPECT_EQ(hz4_cgroup_read(nullptr, "root").max, 5000u);
}

TEST_F(Cgroup, LongNamesAndManyGroups) {
  std::string path = "/", groups;
  for (int i = 0; i < 20; ++i) path += std::string(100, 'd') + "/";
  path += "last";
  Write("root" + path + "/memory.max", "2000\n");
  for (int i = 0; i < 100; ++i) groups += std::to_string(i) + ":cpu:" + path.substr(0, 300) + "\n";
  EXPECT_EQ(Read(groups + "0::" + path + "\n").max, 2000u);
  Write("root/memory.max", "4000\n");
  EXPECT_EQ(Read("0::/" + std::string(100000, 'd') + "\n").max, 4000u) << "no room for that name";
}

TEST_F(Cgroup, NoFileStaysOpen) {
  Write("root/memory.max", "4000\n");
  const int before = dup(0);
  close(before);
  Read("0::/\n4:memory:/\n");
  hz4_cgroup_read(nullptr, "root");
  const int after = dup(0);
  close(after);
  EXPECT_EQ(after, before);
}

}  // namespace
