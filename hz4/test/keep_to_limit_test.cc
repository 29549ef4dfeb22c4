// The whole API under a limit of its own (limit.h): what is counted adds up, nothing goes beyond, and what is refused is no
// worse than what a kernel refuses.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/poison.h"
#include "hz4/test/hostile.h"
#include "hz4/test/sys_fake.h"

namespace {

using namespace hz4_test;

constexpr size_t kMiB = size_t{1} << 20;

uint64_t Stat(const char *name) {
  return hz4_stats_get(name);
}

uint64_t Used() {
  return Stat("limit_used_bytes");
}

// What each layer knows for itself. pre: nobody else is in hz4.
uint64_t Sum() {
  return Stat("segment_used_bytes") + Stat("segment_dirty_bytes") - Stat("segment_purged_inside_bytes") +
         Stat("large_live_mapped_bytes") + Stat("large_cached_bytes") + Stat("meta_mapped_bytes");
}

class KeepToLimit : public testing::Test {
 protected:
  void SetUp() override {
    hz4_malloc_trim(0);
    hz4_sys_fake_reset();
    hz4_sys_fake.now_ns = now_ += 1000000000;
  }
  void TearDown() override {
    ASSERT_EQ(hz4_limit_set(0, 0), 0);
    DemandRecovery();
    EXPECT_EQ(Used(), Sum());
  }
  static void AllowMore(size_t bytes) { ASSERT_EQ(hz4_limit_set(0, Used() + bytes), 0); }
  static size_t Hard() {
    size_t hard;
    hz4_limit_get(nullptr, &hard);
    return hard;
  }
  // Allocates until there is no more; returns the bytes.
  static size_t Fill(size_t size, std::vector<void *> *blocks) {
    for (size_t bytes = 0;; bytes += size) {
      errno = kErrno;
      auto *block = static_cast<char *>(Checked(hz4_malloc(size)));
      if (block == nullptr) {
        HZ4_DEMAND(Used() <= Hard() + kMiB);  // metadata is never refused
        return bytes;
      }
      block[0] = block[size - 1] = 'x';
      blocks->push_back(block);
    }
  }
  static void FreeAll(std::vector<void *> *blocks) {
    for (void *block : *blocks) hz4_free(block);
    blocks->clear();
  }

  static uint64_t now_;
};

uint64_t KeepToLimit::now_ = 1;

// It is noted meanwhile, and while it is nobody else is heard.
TEST_F(KeepToLimit, WhatATrimFindsIsReportedByWhoTrims) {
  const auto free_twice_and_trim = [] {
    void *volatile block = hz4_malloc(700), *other = hz4_malloc(700);
    hz4_free(block);
    hz4_free(other);
    hz4_free(block);
    hz4_limit_set(1, 0);
    _exit(0);
  };
  EXPECT_DEATH(free_twice_and_trim(), HZ4_POISON ? "AddressSanitizer: use-after-poison" : "hz4: double free: ");
}

TEST_F(KeepToLimit, SetAndGet) {
  size_t soft = 1, hard = 1;
  hz4_limit_get(&soft, &hard);
  EXPECT_EQ(soft, 0u);
  EXPECT_EQ(hard, 0u);
  EXPECT_EQ(hz4_limit_set(3 * kMiB, 9 * kMiB), 0);
  errno = kErrno;
  EXPECT_EQ(hz4_limit_set(9, 8), -1);
  EXPECT_EQ(errno, EINVAL);
  hz4_limit_get(&soft, nullptr);
  hz4_limit_get(nullptr, &hard);
  EXPECT_EQ(soft, 3 * kMiB);
  EXPECT_EQ(hard, 9 * kMiB);
  EXPECT_EQ(Stat("limit_soft_bytes"), soft);
  EXPECT_EQ(Stat("limit_hard_bytes"), hard);
  hz4_limit_refresh();  // HZ4_LIMIT is not set, and has no say
  hz4_limit_get(&soft, &hard);
  EXPECT_EQ(soft, 3 * kMiB);
  EXPECT_EQ(hz4_limit_set(9, 0), 0);
}

// There is room for what a block grows by, once what is free has gone back, but none for a copy. As many failures as other
// tests have brought about go by without a trim before.
TEST_F(KeepToLimit, ABlockGrowsIntoWhatIsFree) {
  AllowMore(70 * kMiB);
  void *block = hz4_malloc(60 * kMiB), *freed = hz4_malloc(4 * kMiB), *between = hz4_malloc(kMiB);
  hz4_free(freed);
  void *grown = nullptr;
  for (int i = 0; i < 1 << HZ4_VAIN_TRIM_DOUBLINGS && grown == nullptr; ++i) {
    errno = kErrno;
    grown = hz4_realloc(block, 67 * kMiB);
  }
  ASSERT_NE(grown, nullptr);
  EXPECT_EQ(errno, kErrno);
  hz4_free(grown);
  hz4_free(between);
}

// Who only grows a large block, which asks nobody for another, gives back what is free as well.
TEST_F(KeepToLimit, AGrowingBlockIsHeldToTheSoftLimit) {
  void *block = hz4_malloc(4 * kMiB), *freed = hz4_malloc(3 * kMiB);
  hz4_free(freed);
  ASSERT_EQ(hz4_limit_set(Used() + kMiB, 0), 0);
  const uint64_t trims = Stat("limit_trims");
  for (const size_t bytes : {12 * kMiB, 20 * kMiB}) {
    EXPECT_EQ(Stat("limit_trims"), trims);
    errno = kErrno;
    ASSERT_NE(block = hz4_realloc(block, bytes), nullptr);
    EXPECT_EQ(errno, kErrno);
  }
  EXPECT_EQ(Stat("limit_trims"), trims + 1);
  EXPECT_EQ(Stat("large_cached_bytes"), 0u);
  hz4_free(block);
}

// It stays where it is, and a large block gives back whole pages: a sized free takes the new size for right.
TEST_F(KeepToLimit, WhatShrinksNeedsNoMemory) {
  const std::pair<size_t, size_t> steps[] = {{10 * kMiB, 100}, {10 * kMiB, 70000}, {300000, 1}, {100000, 20000}, {5000, 16}};
  std::vector<void *> others;
  others.reserve(1000000);
  AllowMore(32 * kMiB);
  std::vector<char *> blocks;
  for (const auto &step : steps) blocks.push_back(static_cast<char *>(Checked(hz4_malloc(step.first))));
  for (char *block : blocks) memset(block, 'y', 16);
  for (size_t size = kMiB; size >= 16; size /= 2) Fill(size, &others);
  // The last ones first: what a large one gives back is memory for others.
  for (size_t i = blocks.size(); i-- != 0;) {
    errno = kErrno;
    blocks[i] = static_cast<char *>(hz4_realloc(blocks[i], steps[i].second));
    ASSERT_NE(blocks[i], nullptr) << steps[i].first;
    EXPECT_EQ(errno, kErrno);
    EXPECT_EQ(blocks[i][0], 'y');
    EXPECT_GE(hz4_malloc_usable_size(blocks[i]), steps[i].second);
    EXPECT_EQ(Used(), Sum());
  }
  EXPECT_LT(hz4_malloc_usable_size(blocks[1]), 2 * 70000u);
  for (size_t i = 0; i < blocks.size(); ++i) hz4_free_sized(blocks[i], steps[i].second);
  FreeAll(&others);
  hz4_check();
}

TEST_F(KeepToLimit, WhatIsCountedAddsUp) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    HostileWork work(seed, 8 * kMiB);
    if (seed % 2 != 0) AllowMore(seed * kMiB / 5);
    for (int i = 0; i < 300; ++i) {
      work.Step();
      ASSERT_EQ(Used(), Sum()) << "seed " << seed << " step " << i;
    }
    ASSERT_EQ(hz4_limit_set(0, 0), 0);
  }
}

TEST_F(KeepToLimit, WhateverTheKernelRefuses) {
  for (uint64_t n = 1; n < 30; ++n) {
    for (auto &every : hz4_sys_fake.fail_every) every = n;
    HostileWork work(n, 8 * kMiB);
    for (int i = 0; i < 200; ++i) work.Step();
    ASSERT_EQ(Used(), Sum()) << n;
  }
}

TEST_F(KeepToLimit, WhatWasFreedCanBeHadAgainByAnySize) {
  const size_t sizes[] = {64, 5000, 40000, 300000, 3000000};
  std::vector<void *> blocks;
  blocks.reserve(1000000);
  AllowMore(48 * kMiB);
  for (size_t one : sizes) {
    for (size_t other : sizes) {
      EXPECT_GT(Fill(one, &blocks), 48 * kMiB * 7 / 10) << one;
      FreeAll(&blocks);
      EXPECT_GT(Fill(other, &blocks), 48 * kMiB * 7 / 10) << one << " then " << other;
      FreeAll(&blocks);
    }
  }
  hz4_check();
}

// Nine of ten are freed, at random: what the others leave free in their spans goes back, and others may have it.
TEST_F(KeepToLimit, WhatIsFreeInsideSpansIsNotLost) {
  std::vector<void *> blocks, others;
  blocks.reserve(1000000);
  others.reserve(1000000);
  Random random(1);
  AllowMore(48 * kMiB);
  Fill(2000, &blocks);
  for (void *&block : blocks) {
    if (random.Below(10) == 0) continue;
    hz4_free(block);
    block = nullptr;
  }
  EXPECT_GT(Fill(300000, &others), 24 * kMiB);
  EXPECT_GT(Stat("segment_purged_inside_bytes"), 24 * kMiB);
  // Its own size has the pages that are not purged, and each refusal leaves what it found as it was.
  const uint64_t refused = Stat("limit_refused");
  Fill(2000, &others);
  EXPECT_GT(Stat("limit_refused"), refused);
  EXPECT_EQ(Used(), Sum());
  hz4_check();
  FreeAll(&others);
  EXPECT_GT(Fill(2000, &others), 24 * kMiB);
  FreeAll(&others);
  FreeAll(&blocks);
}

TEST_F(KeepToLimit, LargeBlocksAreCountedBeforeTheyAreMapped) {
  AllowMore(10 * kMiB);
  const uint64_t maps = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  for (int i = 0; i < 10; ++i) EXPECT_EQ(hz4_malloc(11 * kMiB), nullptr);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], maps);
  void *block = hz4_malloc(6 * kMiB);
  ASSERT_NE(block, nullptr);
  const uint64_t moves = hz4_sys_fake.calls[HZ4_SYS_MREMAP];
  EXPECT_EQ(hz4_realloc(block, 12 * kMiB), nullptr);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MREMAP], moves);
  hz4_free(block);
}

TEST_F(KeepToLimit, HostileWorkIsRefusedCleanly) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    AllowMore(4 * kMiB);
    HostileWork work(seed, 8 * kMiB);
    for (int i = 0; i < 1000; ++i) work.Step();
    EXPECT_GT(work.refused(), 0u);
    EXPECT_GT(work.granted(), 100u);
    work.FreeAll();
    hz4_check();
    ASSERT_EQ(hz4_limit_set(0, 0), 0);
  }
}

TEST_F(KeepToLimit, ThreadsShareIt) {
  AllowMore(6 * kMiB);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([t] {
      HostileWork work(t, 4 * kMiB);
      for (int i = 0; i < 1500; ++i) work.Step();
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(Used(), Sum());
}

TEST_F(KeepToLimit, NearSoftWhatIsFreeGoesBackNowAndThen) {
  std::vector<void *> blocks;
  const size_t live = Used();
  ASSERT_EQ(hz4_limit_set(live + 40 * kMiB, 0), 0);
  const uint64_t before = Stat("limit_trims");
  uint64_t most = 0;
  for (int round = 0; round < 60; ++round) {
    // Sizes change, so that neither caches nor free pages serve the next round.
    const size_t size = 3000 + 2000 * static_cast<size_t>(round % 30);
    for (size_t bytes = 0; bytes < 30 * kMiB; bytes += size) blocks.push_back(hz4_malloc(size));
    most = std::max(most, Used() - live);
    FreeAll(&blocks);
    hz4_sys_fake.now_ns = now_ += 1000000000;
  }
  EXPECT_LE(most, 40 * kMiB);
  EXPECT_GT(Stat("limit_trims"), before);
}

TEST_F(KeepToLimit, BeyondSoftTrimsAreFew) {
  std::vector<void *> blocks;
  ASSERT_EQ(hz4_limit_set(kMiB, 0), 0);
  const uint64_t before = Stat("limit_trims");
  for (int i = 0; i < 640; ++i) blocks.push_back(hz4_malloc(100000));  // the clock stands still
  EXPECT_LE(Stat("limit_trims") - before, 1u);
  EXPECT_GT(Used(), 60 * kMiB);
  FreeAll(&blocks);
}

TEST_F(KeepToLimit, ALowerLimitGivesBackAtOnce) {
  hz4_free(hz4_malloc(4 * kMiB));
  const size_t used = Used();
  ASSERT_EQ(hz4_limit_set(kMiB, 0), 0);
  EXPECT_LT(Used(), used - 3 * kMiB);
}

TEST_F(KeepToLimit, CachesHoldWhatTheLimitThatIsSetAllows) {
  for (const size_t limit : {4 * kMiB, 200 * kMiB, 4 * kMiB}) {
    ASSERT_EQ(hz4_limit_set(limit, 0), 0);
    hz4_malloc_trim(0);
    std::vector<void *> blocks;
    for (int round = 0; round < 20; ++round) {
      for (size_t size = 1000; size < 30000; size += 1000) {
        for (int i = 0; i < 60; ++i) blocks.push_back(hz4_malloc(size));
      }
      FreeAll(&blocks);  // the clock stands still: they stay where they are
    }
    const uint64_t cached = Stat("cached_bin_bytes");
    if (limit == 4 * kMiB) EXPECT_LE(cached, limit / 2);
    else EXPECT_GT(cached, 8 * kMiB);
  }
}

}  // namespace
