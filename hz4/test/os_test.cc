// os over the hostile kernel: alignment, accounting, and every failure, with errno kept.
#include "hz4/os.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>
#include <unistd.h>

#include <vector>

#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr int kErrno = 4321;  // no call sets it

using OsStats = struct hz4_os_stats;

class Os : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    mapped_before_ = Stats().mapped_bytes;
    errno = kErrno;
  }
  void TearDown() override {
    EXPECT_EQ(errno, kErrno);
    EXPECT_EQ(Stats().mapped_bytes, hz4_sys_fake.mapped_bytes.load());
    hz4_sys_fake_reset();
  }
  static OsStats Stats() {
    OsStats stats;
    hz4_os_stats(&stats);
    return stats;
  }
  size_t MappedHere() const { return Stats().mapped_bytes - mapped_before_; }
  static bool IsZero(const char *at, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      if (at[i] != 0) return false;
    }
    return true;
  }

 private:
  size_t mapped_before_ = 0;
};

TEST_F(Os, PageIsTheKernels) {
  EXPECT_EQ(hz4_sys_page_bytes(), static_cast<size_t>(sysconf(_SC_PAGESIZE)));
}

TEST_F(Os, MapsZeroedMemoryAtEveryAlignment) {
  for (bool odd : {false, true}) {
    hz4_sys_fake.odd_places = odd;
    for (size_t align = hz4_sys_page_bytes(); align <= 64 * kMiB; align *= 2) {
      for (size_t bytes : {hz4_sys_page_bytes(), 5 * hz4_sys_page_bytes(), 3 * kMiB}) {
        auto *base = static_cast<char *>(hz4_os_map(bytes, align));
        ASSERT_NE(base, nullptr);
        EXPECT_TRUE(hz4_is_aligned(base, align));
        EXPECT_EQ(MappedHere(), bytes) << "the ends of a larger mapping stayed";
        EXPECT_TRUE(IsZero(base, bytes));
        memset(base, 0x5a, bytes);
        EXPECT_TRUE(hz4_os_unmap(base, bytes));
        EXPECT_EQ(MappedHere(), 0u);
      }
    }
  }
}

TEST_F(Os, MapThatFailsGivesNullAndIsCounted) {
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  const OsStats before = Stats();
  EXPECT_EQ(hz4_os_map(kMiB, 64 * kKiB), nullptr);
  EXPECT_EQ(Stats().failed_calls, before.failed_calls + 1);
  EXPECT_EQ(Stats().map_calls, before.map_calls + 1);
  EXPECT_EQ(MappedHere(), 0u);
}

// One mapping is placed below the other: a single page, and what follows is misplaced.
TEST_F(Os, MisplacedMappingIsTriedJustBelow) {
  const size_t page = hz4_sys_page_bytes();
  if (page == 64 * kKiB) GTEST_SKIP() << "every mapping is well placed";
  EXPECT_TRUE(hz4_os_unmap(hz4_os_map(kMiB, 64 * kKiB), kMiB)) << "the first of a process, which has a hint of its own";
  hz4_sys_fake.low_places = true;
  void *single = hz4_os_map(page, page);
  if (reinterpret_cast<uintptr_t>(single) >> 39 != 0) {
    EXPECT_TRUE(hz4_os_unmap(single, page));
    GTEST_SKIP() << "ASan's shadow is there";
  }
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  void *below = hz4_os_map(kMiB, 64 * kKiB);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], calls + 2) << "a larger one, whose ends are cut off, takes a call more";
  EXPECT_TRUE(hz4_os_unmap(single, page));
  EXPECT_TRUE(hz4_os_unmap(below, kMiB));
}

TEST_F(Os, SecondMapThatFailsLeavesNothingBehind) {
  hz4_sys_fake.odd_places = true;
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 2;  // the first is at an odd place and goes back, the larger one fails
  EXPECT_EQ(hz4_os_map(kMiB, 64 * kKiB), nullptr);
  EXPECT_EQ(MappedHere(), 0u);
}

TEST_F(Os, MisplacedMappingThatCannotGoBackIsForgottenButCounted) {
  hz4_sys_fake.odd_places = true;
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 1;
  void *base = hz4_os_map(kMiB, 64 * kKiB);
  EXPECT_TRUE(hz4_is_aligned(base, 64 * kKiB));  // NULL is
  EXPECT_GE(MappedHere(), kMiB);
}

TEST_F(Os, EndsThatCannotBeCutOffStay) {
  hz4_sys_fake.odd_places = true;
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 3;  // two misplaced mappings go back, one end does not
  auto *base = static_cast<char *>(hz4_os_map(kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  EXPECT_TRUE(hz4_is_aligned(base, 64 * kKiB));
  EXPECT_GT(hz4_sys_fake.failures[HZ4_SYS_MUNMAP].load(), 0u);
  EXPECT_GT(MappedHere(), kMiB);
  EXPECT_LT(MappedHere(), kMiB + 64 * kKiB);
  memset(base, 1, kMiB);
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 0;
  EXPECT_TRUE(hz4_os_unmap(base, kMiB));
}

TEST_F(Os, SizesNearTheEndOfTheAddressSpaceFail) {
  const size_t page = hz4_sys_page_bytes();
  const size_t half = static_cast<size_t>(1) << 63;
  for (size_t bytes : {half - page, half, SIZE_MAX - page + 1}) {
    for (size_t align : {page, 64 * kKiB, static_cast<size_t>(1) << 62, half}) {
      EXPECT_EQ(hz4_os_map(bytes, align), nullptr);
    }
  }
  EXPECT_EQ(hz4_os_map(page, half), nullptr);
  EXPECT_EQ(MappedHere(), 0u);
}

// Nothing is asked for where no huge page fits.
TEST_F(Os, HugePagesAreAskedForWhereTheyAreWanted) {
  const auto wished = [](size_t bytes, size_t align) {
    const uint64_t before = hz4_sys_fake.huge_bytes;
    void *base = hz4_os_map(bytes, align);
    EXPECT_TRUE(hz4_os_unmap(base, bytes));
    return hz4_sys_fake.huge_bytes - before;
  };
  const uint64_t small = hz4_sys_fake.small_bytes;
  hz4_os_configure(HZ4_OS_HUGE_AUTO, nullptr);
  EXPECT_EQ(wished(HZ4_HUGE_LEFT_BYTES - 64 * kKiB, 64 * kKiB), 0u);
  EXPECT_EQ(hz4_sys_fake.small_bytes, small) << "there are none that nobody asked for";
  hz4_sys_fake.huge_always = true;
  hz4_os_configure(HZ4_OS_HUGE_AUTO, nullptr);
  EXPECT_EQ(wished(HZ4_HUGE_LEFT_BYTES, 64 * kKiB), 0u);
  EXPECT_EQ(hz4_sys_fake.small_bytes, small) << "that is left to the system";
  EXPECT_EQ(wished(HZ4_HUGE_LEFT_BYTES - 64 * kKiB, 64 * kKiB), 0u);
  EXPECT_EQ(hz4_sys_fake.small_bytes - small, HZ4_HUGE_LEFT_BYTES - 64 * kKiB);
  hz4_os_configure(HZ4_OS_HUGE_NEVER, nullptr);
  EXPECT_EQ(wished(16 * kMiB, 64 * kKiB), 0u) << "not wanted";
  hz4_os_configure(HZ4_OS_HUGE_ALL, nullptr);
  const uint64_t asked = Stats().huge_bytes;
  EXPECT_EQ(wished(HZ4_HUGE_BYTES, 64 * kKiB), HZ4_HUGE_BYTES);
  EXPECT_EQ(wished(5 * kMiB, 32 * kMiB), 5 * kMiB);
  EXPECT_EQ(wished(HZ4_HUGE_BYTES - hz4_sys_page_bytes(), 64 * kKiB), 0u);
  hz4_sys_fake.limit_bytes = 1;
  EXPECT_EQ(hz4_os_map(4 * kMiB, 64 * kKiB), nullptr);
  hz4_os_configure(HZ4_OS_HUGE_AUTO, nullptr);
  EXPECT_EQ(Stats().huge_bytes - asked, HZ4_HUGE_BYTES + 5 * kMiB);
}

TEST_F(Os, UnmapThatFailsKeepsTheMemory) {
  auto *base = static_cast<char *>(hz4_os_map(kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  memset(base, 7, kMiB);
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 1;
  EXPECT_FALSE(hz4_os_unmap(base, kMiB));
  EXPECT_EQ(MappedHere(), kMiB);
  EXPECT_EQ(base[kMiB - 1], 7);
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 0;
  EXPECT_TRUE(hz4_os_unmap(base, kMiB));
  EXPECT_EQ(MappedHere(), 0u);
}

TEST_F(Os, PurgeGivesThePagesBack) {
  auto *base = static_cast<char *>(hz4_os_map(kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  memset(base, 7, kMiB);
  const OsStats before = Stats();
  EXPECT_TRUE(hz4_os_purge(base, 64 * kKiB));
  EXPECT_EQ(Stats().purge_calls, before.purge_calls + 1);
  EXPECT_EQ(Stats().purged_bytes, before.purged_bytes + 64 * kKiB);
  EXPECT_TRUE(IsZero(base, 64 * kKiB));
  EXPECT_EQ(base[64 * kKiB], 7);
  EXPECT_TRUE(hz4_os_unmap(base, kMiB));
}

TEST_F(Os, PurgeThatFailsSaysSo) {
  auto *base = static_cast<char *>(hz4_os_map(kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  base[0] = 7;
  hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = 1;
  const OsStats before = Stats();
  EXPECT_FALSE(hz4_os_purge(base, kMiB));
  EXPECT_EQ(Stats().failed_calls, before.failed_calls + 1);
  EXPECT_EQ(Stats().purged_bytes, before.purged_bytes);
  EXPECT_EQ(base[0], 7);
  EXPECT_TRUE(hz4_os_unmap(base, kMiB));
}

TEST_F(Os, ManyRunsArePurgedByOneCallWhereThereIsOne) {
  constexpr size_t kRuns = 10;
  const size_t page = hz4_sys_page_bytes();
  // 0: by one call; 1: there is none; 2: it fails half way; 3: and so does what follows.
  for (int kind = 0; kind < 4; ++kind) {
    auto *base = static_cast<char *>(hz4_os_map(2 * kRuns * page, page));
    ASSERT_NE(base, nullptr);
    memset(base, 7, 2 * kRuns * page);
    hz4_sys_run runs[kRuns];
    for (size_t i = 0; i < kRuns; ++i) runs[i] = {base + 2 * i * page, page};
    hz4_sys_fake_reset();
    hz4_sys_fake.no_vectors = kind == 1;
    hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = kind == 3 ? 1 : kind == 2 ? 1000000 : 0;
    if (kind == 2) hz4_sys_fake.calls[HZ4_SYS_PURGE] = 999999;
    const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE];
    EXPECT_TRUE(hz4_os_purge_runs(runs, kRuns));
    const uint64_t made = hz4_sys_fake.calls[HZ4_SYS_PURGE] - calls;
    EXPECT_EQ(made, kind == 0 ? 1u : kind == 1 ? kRuns : 1 + kRuns / 2);
    for (size_t i = 0; i < 2 * kRuns; ++i) {
      const bool gone = i % 2 == 0 && (kind != 3 || i < kRuns);
      EXPECT_EQ(base[i * page], gone ? 0 : 7) << kind << " " << i;
    }
    hz4_sys_fake_reset();
    EXPECT_TRUE(hz4_os_unmap(base, 2 * kRuns * page));
  }
  hz4_sys_run none;
  EXPECT_FALSE(hz4_os_purge_runs(&none, 0));
}

TEST_F(Os, ResizeKeepsTheContentAndGrowsWithZeros) {
  auto *base = static_cast<char *>(hz4_os_map(2 * kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  memset(base, 7, 2 * kMiB);
  ASSERT_TRUE(hz4_os_unmap(base + kMiB, kMiB));  // what it gives back, it can grow into again
  ASSERT_EQ(hz4_os_resize(base, kMiB, 2 * kMiB), HZ4_OS_RESIZED);
  EXPECT_EQ(MappedHere(), 2 * kMiB);
  EXPECT_EQ(base[0], 7);
  EXPECT_EQ(base[kMiB - 1], 7);
  EXPECT_TRUE(IsZero(base + kMiB, kMiB));
  EXPECT_TRUE(hz4_os_unmap(base, 2 * kMiB));
}

TEST_F(Os, ResizeThatFailsChangesNothing) {
  auto *base = static_cast<char *>(hz4_os_map(kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  memset(base, 7, kMiB);
  const OsStats before = Stats();
  hz4_sys_fake.several_mappings = true;
  EXPECT_EQ(hz4_os_resize(base, kMiB, 2 * kMiB), HZ4_OS_REFUSED);
  hz4_sys_fake_reset();
  hz4_sys_fake.refuses_mremap = true;
  EXPECT_EQ(hz4_os_resize(base, kMiB, 2 * kMiB), HZ4_OS_REFUSED);
  hz4_sys_fake_reset();
  hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 1;
  EXPECT_EQ(hz4_os_resize(base, kMiB, 2 * kMiB), HZ4_OS_NO_ROOM);
  EXPECT_EQ(Stats().failed_calls, before.failed_calls + 3);
  EXPECT_EQ(Stats().remap_calls, before.remap_calls + 3);
  EXPECT_EQ(MappedHere(), kMiB);
  EXPECT_EQ(base[kMiB - 1], 7);
  EXPECT_TRUE(hz4_os_unmap(base, kMiB));
}

// What its files say is worth more than a small process has. Until it is known, no mapping is to come in huge pages.
TEST_F(Os, TheSystemIsAskedOnceMuchIsMapped) {
  static int asked;
  hz4_os_configure(HZ4_OS_HUGE_AUTO, [] { ++asked; });
  const uint64_t small = hz4_sys_fake.small_bytes;
  std::vector<void *> blocks = {hz4_os_map(kMiB, 64 * kKiB)};
  EXPECT_EQ(asked, 0);
  EXPECT_EQ(hz4_sys_fake.small_bytes - small, kMiB);
  for (int i = 0; i < 10; ++i) blocks.push_back(hz4_os_map(HZ4_GROWN_BYTES / 8, 64 * kKiB));
  EXPECT_EQ(asked, 1);
  EXPECT_LE(hz4_sys_fake.small_bytes - small, kMiB + HZ4_GROWN_BYTES);
  EXPECT_TRUE(hz4_os_unmap(blocks[0], kMiB));
  for (size_t i = 1; i < blocks.size(); ++i) EXPECT_TRUE(hz4_os_unmap(blocks[i], HZ4_GROWN_BYTES / 8));
  hz4_os_configure(HZ4_OS_HUGE_AUTO, nullptr);
}

TEST_F(Os, TheAddressLimitIsThatOfTheBeginning) {
  EXPECT_EQ(hz4_os_address_limit(), SIZE_MAX);
  hz4_sys_fake.address_limit = 100 * kMiB;
  hz4_os_configure(HZ4_OS_HUGE_AUTO, nullptr);
  hz4_sys_fake.address_limit = 0;
  EXPECT_EQ(hz4_os_address_limit(), 100 * kMiB);
  hz4_os_configure(HZ4_OS_HUGE_AUTO, nullptr);
  EXPECT_EQ(hz4_os_address_limit(), SIZE_MAX);
}

TEST_F(Os, MoveTakesThePagesAlong) {
  auto *base = static_cast<char *>(hz4_os_map(kMiB, 64 * kKiB));
  auto *to = static_cast<char *>(hz4_os_map(3 * kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  ASSERT_NE(to, nullptr);
  memset(base, 7, kMiB);
  memset(to, 9, 3 * kMiB);
  ASSERT_TRUE(hz4_os_move(base, kMiB, to, 3 * kMiB));
  EXPECT_EQ(MappedHere(), 3 * kMiB);
  EXPECT_EQ(to[0], 7);
  EXPECT_EQ(to[kMiB - 1], 7);
  EXPECT_TRUE(IsZero(to + kMiB, 2 * kMiB));
  EXPECT_TRUE(hz4_os_unmap(to, 3 * kMiB));
}

TEST_F(Os, MoveThatFailsKeepsTheBlock) {
  auto *base = static_cast<char *>(hz4_os_map(kMiB, 64 * kKiB));
  auto *to = static_cast<char *>(hz4_os_map(2 * kMiB, 64 * kKiB));
  ASSERT_NE(base, nullptr);
  ASSERT_NE(to, nullptr);
  memset(base, 7, kMiB);
  hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 1;
  EXPECT_FALSE(hz4_os_move(base, kMiB, to, 2 * kMiB));
  EXPECT_EQ(base[kMiB - 1], 7);
  EXPECT_EQ(MappedHere(), kMiB);
  // Where the kernel has unmapped the target, nobody does so again.
  to = static_cast<char *>(hz4_os_map(2 * kMiB, 64 * kKiB));
  hz4_sys_fake.failure_unmaps_to = true;
  EXPECT_FALSE(hz4_os_move(base, kMiB, to, 2 * kMiB));
  EXPECT_EQ(MappedHere(), kMiB);
  EXPECT_TRUE(hz4_os_unmap(base, kMiB));
}

TEST_F(Os, PeakFollowsWhatIsMapped) {
  const uint64_t peak = Stats().peak_bytes;
  const size_t bytes = hz4_round_up(peak - Stats().mapped_bytes + kMiB, 64 * kKiB);
  void *base = hz4_os_map(bytes, 64 * kKiB);
  ASSERT_NE(base, nullptr);
  EXPECT_GE(Stats().peak_bytes, Stats().mapped_bytes);
  EXPECT_GT(Stats().peak_bytes, peak);
  const uint64_t higher = Stats().peak_bytes;
  EXPECT_TRUE(hz4_os_unmap(base, bytes));
  EXPECT_EQ(Stats().peak_bytes, higher);
}

}  // namespace
