// meta over the hostile kernel: zeroed and aligned blocks, reuse, accounting, no memory, and the fork gate.
#include "hz4/meta.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "hz4/lock.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kSizes[] = {1, 63, 64, 65, 512, 1000, 4096, 8128, 8191, 8192};
constexpr size_t kLargeSizes[] = {8193, 65536, 1000000};

bool IsAll(const void *block, int byte, size_t bytes) {
  const auto *at = static_cast<const unsigned char *>(block);
  for (size_t i = 0; i < bytes; ++i) {
    if (at[i] != byte) return false;
  }
  return true;
}

class Meta : public testing::Test {
 protected:
  void SetUp() override { hz4_sys_fake_reset(); }
  void TearDown() override {
    hz4_meta_check();
    hz4_sys_fake_reset();
  }
  static uint64_t Used() {
    struct hz4_meta_stats stats;
    hz4_meta_stats(&stats);
    EXPECT_LE(stats.used_bytes, stats.mapped_bytes);
    return stats.used_bytes;
  }
  static uint64_t Mapped() {
    struct hz4_meta_stats stats;
    hz4_meta_stats(&stats);
    return stats.mapped_bytes;
  }
  // Takes all that is free, so that the next allocation of any size asks the system.
  static void Exhaust(std::vector<std::pair<void *, size_t>> *held) {
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
    for (size_t bytes = HZ4_META_MAX_BYTES; bytes > 0; bytes -= HZ4_META_UNIT) {
      while (void *block = hz4_meta_alloc(bytes)) held->emplace_back(block, bytes);
    }
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  }
  static void FreeAll(std::vector<std::pair<void *, size_t>> *held) {
    for (auto &[block, bytes] : *held) hz4_meta_free(block, bytes);
    held->clear();
  }
};

TEST_F(Meta, BlocksAreZeroedAndAlignedAndStayApart) {
  const uint64_t used = Used();
  std::vector<std::pair<void *, size_t>> blocks;
  int value = 0;
  for (size_t bytes : kSizes) {
    for (int i = 0; i < 3; ++i) {
      void *block = hz4_meta_alloc(bytes);
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(hz4_is_aligned(block, HZ4_META_UNIT)) << bytes;
      EXPECT_TRUE(IsAll(block, 0, bytes)) << bytes;
      memset(block, ++value, bytes);
      blocks.emplace_back(block, bytes);
    }
  }
  hz4_meta_check();
  value = 0;
  for (auto &[block, bytes] : blocks) EXPECT_TRUE(IsAll(block, ++value, bytes)) << bytes;
  FreeAll(&blocks);
  EXPECT_EQ(Used(), used);
}

TEST_F(Meta, ChunksDoubleUpToTheirBound) {
  std::vector<std::pair<void *, size_t>> blocks;
  std::vector<uint64_t> chunks;
  while (chunks.size() < 8) {
    const uint64_t mapped = Mapped();
    blocks.emplace_back(hz4_meta_alloc(HZ4_META_MAX_BYTES), HZ4_META_MAX_BYTES);
    ASSERT_NE(blocks.back().first, nullptr);
    if (Mapped() != mapped) chunks.push_back(Mapped() - mapped);
  }
  for (size_t i = 1; i < chunks.size(); ++i) {
    EXPECT_EQ(chunks[i], std::min<uint64_t>(2 * chunks[i - 1], HZ4_META_CHUNK_MAX));
  }
  EXPECT_EQ(chunks.back(), HZ4_META_CHUNK_MAX);
  FreeAll(&blocks);
}

TEST_F(Meta, FreedBlocksComeBackZeroed) {
  for (size_t bytes : kSizes) {
    void *block = hz4_meta_alloc(bytes);
    ASSERT_NE(block, nullptr);
    memset(block, 0xff, bytes);
    hz4_meta_free(block, bytes);
    const uint64_t mapped = Mapped();
    void *again = hz4_meta_alloc(bytes);
    EXPECT_EQ(again, block) << bytes;
    EXPECT_EQ(Mapped(), mapped);
    EXPECT_TRUE(IsAll(again, 0, bytes)) << bytes;
    hz4_meta_free(again, bytes);
  }
}

TEST_F(Meta, LargeBlocksAreMappingsAndGoBack) {
  for (size_t bytes : kLargeSizes) {
    const uint64_t mapped = hz4_sys_fake.mapped_bytes;
    void *block = hz4_meta_alloc(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_GE(hz4_sys_fake.mapped_bytes, mapped + bytes);
    EXPECT_TRUE(IsAll(block, 0, bytes));
    memset(block, 0xff, bytes);
    hz4_meta_free(block, bytes);
    EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped);
  }
}

TEST_F(Meta, SmallBlocksNeverLeaveTheProcess) {
  std::vector<std::pair<void *, size_t>> blocks;
  for (int i = 0; i < 500; ++i) blocks.emplace_back(hz4_meta_alloc(4096), 4096);
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  FreeAll(&blocks);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], 0u);
}

TEST_F(Meta, NoMemoryIsNullAndNothingBreaks) {
  std::vector<std::pair<void *, size_t>> held;
  Exhaust(&held);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  const uint64_t used = Used();
  errno = 4321;
  for (size_t bytes : kSizes) EXPECT_EQ(hz4_meta_alloc(bytes), nullptr) << bytes;
  for (size_t bytes : kLargeSizes) EXPECT_EQ(hz4_meta_alloc(bytes), nullptr) << bytes;
  EXPECT_EQ(errno, 4321);
  EXPECT_EQ(Used(), used);
  hz4_meta_check();
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  for (size_t bytes : kSizes) {
    void *block = hz4_meta_alloc(bytes);
    EXPECT_NE(block, nullptr) << bytes;
    held.emplace_back(block, bytes);
  }
  hz4_meta_check();
  FreeAll(&held);
}

// When the system has no whole chunk left, a smaller one does.
TEST_F(Meta, LastBytesOfTheSystemServe) {
  std::vector<std::pair<void *, size_t>> held;
  Exhaust(&held);
  const size_t room = 2 * HZ4_META_MAX_BYTES;
  hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes + room;
  void *block = hz4_meta_alloc(4096);
  EXPECT_NE(block, nullptr);
  if (block != nullptr) held.emplace_back(block, 4096);
  hz4_meta_check();
  FreeAll(&held);
}

TEST_F(Meta, EveryNthMmapFails) {
  std::mt19937_64 random(1);
  for (uint64_t n : {2, 3, 5}) {
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = n;
    std::vector<std::pair<void *, size_t>> blocks;
    size_t refused = 0;
    for (int i = 0; i < 2000; ++i) {
      const size_t bytes = random() % 9000 + 1;
      void *block = hz4_meta_alloc(bytes);
      if (block == nullptr) {
        ++refused;
        continue;
      }
      EXPECT_TRUE(IsAll(block, 0, bytes));
      memset(block, 0xa5, bytes);
      blocks.emplace_back(block, bytes);
    }
    EXPECT_GT(refused, 0u);
    EXPECT_GT(blocks.size(), 500u);
    hz4_meta_check();
    FreeAll(&blocks);
    hz4_meta_check();
  }
}

TEST_F(Meta, RandomBlocksKeepTheirContent) {
  std::mt19937_64 random(2);
  struct Block {
    void *at;
    size_t bytes;
    int value;
  };
  std::vector<Block> blocks;
  const uint64_t used = Used();
  for (int i = 0; i < 20000; ++i) {
    if (blocks.size() < 200 && random() % 2 == 0) {
      const size_t bytes = random() % 4 == 0 ? random() % 8192 + 1 : random() % 600 + 1;
      Block block = {hz4_meta_alloc(bytes), bytes, static_cast<int>(random() % 256)};
      ASSERT_NE(block.at, nullptr);
      ASSERT_TRUE(IsAll(block.at, 0, bytes));
      memset(block.at, block.value, bytes);
      blocks.push_back(block);
    } else if (!blocks.empty()) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      ASSERT_TRUE(IsAll(blocks.back().at, blocks.back().value, blocks.back().bytes));
      hz4_meta_free(blocks.back().at, blocks.back().bytes);
      blocks.pop_back();
    }
    if (i % 500 == 0) hz4_meta_check();
  }
  for (const Block &block : blocks) hz4_meta_free(block.at, block.bytes);
  EXPECT_EQ(Used(), used);
}

TEST_F(Meta, ThreadsShareIt) {
  const uint64_t used = Used();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      std::mt19937_64 random(10 + t);
      std::vector<std::pair<void *, size_t>> mine;
      for (int i = 0; i < 5000; ++i) {
        if (mine.size() < 50 && random() % 2 == 0) {
          const size_t bytes = random() % 1500 + 1;
          void *block = hz4_meta_alloc(bytes);
          ASSERT_NE(block, nullptr);
          ASSERT_TRUE(IsAll(block, 0, bytes));
          memset(block, 't' + t, bytes);
          mine.emplace_back(block, bytes);
        } else if (!mine.empty()) {
          auto [block, bytes] = mine.back();
          mine.pop_back();
          ASSERT_TRUE(IsAll(block, 't' + t, bytes));
          hz4_meta_free(block, bytes);
        }
        if (i % 1000 == 0) hz4_meta_check();
      }
      for (auto &[block, bytes] : mine) hz4_meta_free(block, bytes);
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(Used(), used);
}

// ---- while fork holds the lock ----

TEST_F(Meta, ForkGateAllocatesWithoutTheLock) {
  hz4_meta_fork_prepare();
  std::vector<std::pair<void *, size_t>> blocks;
  for (int round = 0; round < 3; ++round) {
    for (size_t bytes : kSizes) {
      void *block = hz4_meta_alloc(bytes);
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(hz4_is_aligned(block, HZ4_META_UNIT));
      EXPECT_TRUE(IsAll(block, 0, bytes)) << bytes;
      memset(block, 0xff, bytes);
      blocks.emplace_back(block, bytes);
    }
  }
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  while (void *block = hz4_meta_alloc(HZ4_META_MAX_BYTES)) blocks.emplace_back(block, HZ4_META_MAX_BYTES);
  while (void *block = hz4_meta_alloc(64)) blocks.emplace_back(block, 64);
  EXPECT_LT(blocks.size(), 2000u);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  hz4_meta_fork_parent();
  hz4_meta_check();
  uint64_t bytes = 0;
  for (const auto &block : blocks) bytes += block.second;
  EXPECT_GE(Used(), bytes);
  FreeAll(&blocks);
}

TEST_F(Meta, ThreadsAllocateTogetherWhileFork) {
  constexpr int kThreads = 4, kEach = 400;
  for (int round = 0; round < 10; ++round) {
    const uint64_t mapped = Mapped();
    std::vector<std::pair<void *, size_t>> blocks[kThreads];
    hz4_meta_fork_prepare();
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&blocks, t] {
        for (int i = 0; i < kEach; ++i) {
          const size_t bytes = 64 * (i % 10 + 1);
          void *block = hz4_meta_alloc(bytes);
          ASSERT_NE(block, nullptr);
          ASSERT_TRUE(IsAll(block, 0, bytes));
          memset(block, t + 1, bytes);
          blocks[t].emplace_back(block, bytes);
        }
      });
    }
    for (std::thread &thread : threads) thread.join();
    hz4_meta_fork_parent();
    hz4_meta_check();
    EXPECT_LE(Mapped() - mapped, 2 * kThreads * kEach * 352u) << "chunks are used up before the next is mapped";
    for (int t = 0; t < kThreads; ++t) {
      for (auto &[block, bytes] : blocks[t]) ASSERT_TRUE(IsAll(block, t + 1, bytes)) << "two threads share a block";
      FreeAll(&blocks[t]);
    }
  }
}

// What one fork took without the lock and gave back, the next one takes again.
TEST_F(Meta, ManyForksTakeNoMoreThanOne) {
  uint64_t mapped = 0;
  for (int i = 0; i < 1000; ++i) {
    hz4_lock_fork_begin();  // or else each allocation waits
    hz4_meta_fork_prepare();
    std::vector<std::pair<void *, size_t>> blocks;
    for (int k = 0; k < 40; ++k) {
      const size_t bytes = k % 2 == 0 ? 128 : 512;
      void *block = hz4_meta_alloc(bytes);
      ASSERT_NE(block, nullptr);
      ASSERT_TRUE(IsAll(block, 0, bytes));
      memset(block, 0xff, bytes);
      blocks.emplace_back(block, bytes);
    }
    hz4_meta_fork_parent();
    hz4_lock_fork_end();
    FreeAll(&blocks);
    hz4_meta_check();
    if (i == 0) mapped = Mapped();
  }
  EXPECT_LE(Mapped(), mapped + 2 * HZ4_META_CHUNK_MIN);
}

TEST_F(Meta, ForkGateDefersFrees) {
  std::vector<std::pair<void *, size_t>> blocks;
  for (int i = 0; i < 20; ++i) blocks.emplace_back(hz4_meta_alloc(640), 640);
  hz4_meta_fork_prepare();
  const uint64_t used = Used();
  FreeAll(&blocks);
  EXPECT_EQ(Used(), used) << "nothing moves while fork copies";
  hz4_meta_fork_parent();
  hz4_meta_check();
  // The next allocation takes care of them.
  void *block = hz4_meta_alloc(640);
  EXPECT_EQ(Used(), used - 19 * 640);
  hz4_meta_check();
  hz4_meta_free(block, 640);
}

TEST_F(Meta, ForkGateOpensInTheChild) {
  void *block = hz4_meta_alloc(640);
  hz4_meta_fork_prepare();
  hz4_meta_free(block, 640);
  hz4_meta_fork_child();
  EXPECT_EQ(hz4_meta_alloc(640), block) << "the deferred block is the newest";
  hz4_meta_free(block, 640);
}

TEST_F(Meta, ThreadsFreeAndAllocateWhileFork) {
  hz4_meta_fork_prepare();  // takes into stock, which counts as in use, what forks have needed so far
  hz4_meta_fork_parent();
  const uint64_t used = Used(), mapped = Mapped();
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 2000; ++i) {
        const size_t bytes = 64 * (1 + i % 8);
        void *block = hz4_meta_alloc(bytes);
        ASSERT_NE(block, nullptr);
        ASSERT_TRUE(IsAll(block, 0, bytes));
        memset(block, t + 1, bytes);
        ASSERT_TRUE(IsAll(block, t + 1, bytes));
        hz4_meta_free(block, bytes);
      }
    });
  }
  for (int i = 0; i < 300; ++i) {
    hz4_meta_fork_prepare();
    hz4_meta_fork_parent();
  }
  for (std::thread &thread : threads) thread.join();
  hz4_meta_free(hz4_meta_alloc(64), 64);  // brings home what was deferred
  // What is left of the chunks for the time of a fork counts as in use.
  EXPECT_LE(Used(), used + (Mapped() - mapped));
}

using MetaDeathTest = Meta;

TEST_F(MetaDeathTest, CheckFindsAWriteAfterFree) {
  auto *block = static_cast<size_t *>(hz4_meta_alloc(192));
  hz4_meta_free(block, 192);
  EXPECT_DEATH(
      {
        block[1] = 4711;
        hz4_meta_check();
      },
      "hz4: meta: broken free list\n");
}

}  // namespace
