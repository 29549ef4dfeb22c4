// realloc: every class border in both directions, large blocks by steps, and what must hold when it fails.
#include <errno.h>

#include <algorithm>

#include "gtest/gtest.h"
#include "hz4/test/heap.h"
#include "hz4/test/qemu.h"

namespace hz4_test {
namespace {

constexpr size_t kKiB = 1 << 10;
constexpr size_t kMiB = 1 << 20;

// The largest sizes of the classes up to `limit`, as malloc_usable_size tells them.
std::vector<size_t> ClassBorders(size_t limit) {
  std::vector<size_t> borders;
  for (size_t size = 1; size <= limit;) {
    void *ptr = hz4_malloc(size);
    const size_t usable = hz4_malloc_usable_size(ptr);
    hz4_free(ptr);
    if (usable < size) {
      ADD_FAILURE() << "usable size " << usable << " of " << size;
      break;
    }
    borders.push_back(usable);
    size = usable + 1;
  }
  return borders;
}

// Reallocates, checks the content that must have survived, and fills the block anew.
Block Resize(const Block &old, size_t size) {
  CheckBlock(old);
  auto *ptr = static_cast<unsigned char *>(hz4_realloc(old.ptr, size));
  if (ptr == nullptr) Broken(old, "realloc failed", size);
  CheckPattern(old, ptr, std::min(old.usable, size));
  return Adopt(ptr, size, 0, old.seed + 1);
}

TEST(ReallocTest, StepsOverEveryBorder) {
  const std::vector<size_t> borders = ClassBorders(300 * kKiB);
  ASSERT_GE(borders.size(), 16u);
  for (size_t border : borders) {
    Block block = NewBlock(border, border);
    for (size_t size : {border + 1, border, border - 1, border + 1, border / 2 + 1, border + 1}) {
      block = Resize(block, size);
    }
    CheckAndFree(block);
  }
  hz4_check();
}

TEST(ReallocTest, FromEveryClassToEveryClass) {
  std::vector<size_t> sizes = ClassBorders(300 * kKiB);
  const size_t stride = sizes.size() / 128 + 1;
  for (size_t i = 0; i * stride < sizes.size(); i++) sizes[i] = sizes[i * stride];
  sizes.resize((sizes.size() + stride - 1) / stride);
  for (size_t from : sizes) {
    for (size_t to : sizes) CheckAndFree(Resize(NewBlock(from, from ^ to), to));
  }
  hz4_check();
}

TEST(ReallocTest, GrowsAndShrinksByOneByte) {
  Block block = NewBlock(1, 1);
  for (size_t size = 2; size <= 5000; size++) block = Resize(block, size);
  for (size_t size = 4999; size >= 1; size--) block = Resize(block, size);
  CheckAndFree(block);
  hz4_check();
}

TEST(ReallocTest, LargeBlocksByARatio) {
  Block block = NewBlock(200 * kKiB, 1);
  for (size_t size = 200 * kKiB; size < 64 * kMiB; size += size / 8 + 1) block = Resize(block, size);
  for (size_t size = block.size; size > 200 * kKiB; size -= size / 8) block = Resize(block, size);
  CheckAndFree(block);
  hz4_check();
}

// A block allocated after each step stands where the large one might want to grow.
TEST(ReallocTest, LargeBlocksByEqualStepsBetweenNeighbours) {
  constexpr size_t kStep = kMiB + 4096 + 1;
  std::vector<Block> neighbours;
  Block block = NewBlock(200 * kKiB, 1);
  for (size_t size = 200 * kKiB + kStep; size < 64 * kMiB; size += kStep) {
    block = Resize(block, size);
    neighbours.push_back(NewBlock(size % 7 == 0 ? 2 * kMiB : 300 * kKiB, size));
  }
  while (block.size > 2 * kStep) block = Resize(block, block.size - kStep);
  CheckAndFree(block);
  for (const Block &neighbour : neighbours) CheckAndFree(neighbour);
  hz4_check();
}

TEST(ReallocTest, SeveralLargeBlocksGrowInTurn) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < 4; i++) blocks.push_back(NewBlock(200 * kKiB, i));
  for (size_t step = 0; blocks[3].size < 16 * kMiB; step++) {
    Block &block = blocks[step % 4];
    block = Resize(block, block.size + block.size / 3 + step);
  }
  for (const Block &block : blocks) CheckAndFree(block);
  hz4_check();
}

// Steps of a half copy every second time. What doubles will double again: it has no more room than malloc gives.
TEST(ReallocTest, AHalfMoreIsRoomForTheNextHalf) {
  void *block = hz4_malloc(kKiB);
  size_t steps = 0, stayed = 0;
  for (size_t size = kKiB; size <= 150 * kKiB; size += size / 2, ++steps) {
    void *grown = hz4_realloc(block, size);
    stayed += grown == block;
    block = grown;
    EXPECT_LT(hz4_malloc_usable_size(block), 2 * size);
  }
  EXPECT_GE(stayed, steps / 2);
  hz4_free(block);
  block = hz4_malloc(kKiB);
  for (size_t size = 2 * kKiB; size <= 128 * kKiB; size *= 2) {
    block = hz4_realloc(block, size);
    EXPECT_EQ(hz4_malloc_usable_size(block), size);
  }
  hz4_free(block);
  hz4_check();
}

// What grows again and again, step by step, costs the system nothing after the first time.
TEST(ReallocTest, WhatGrowsAgainFindsItsMemory) {
  uint64_t calls = 0;
  for (int round = 0; round < 3; ++round) {
    calls = hz4_stats_get("os_mmap_calls") + hz4_stats_get("os_mremap_calls") + hz4_stats_get("os_purge_calls");
    Block block = NewBlock(16, round);
    for (size_t size = 16; size < 3 * kMiB; size += size / 2) block = Resize(block, size);
    CheckAndFree(block);
  }
  EXPECT_EQ(hz4_stats_get("os_mmap_calls") + hz4_stats_get("os_mremap_calls") + hz4_stats_get("os_purge_calls"), calls);
  hz4_check();
}

TEST(ReallocTest, KeepsTheContentOfAlignedBlocks) {
  for (size_t alignment = 32; alignment <= 2 * kMiB; alignment *= 2) {
    for (size_t size : {size_t{1}, alignment - 1, alignment + 1, 3 * alignment}) {
      for (size_t to : {size_t{1}, size / 2 + 1, size + 1, 2 * size + 100, 5 * alignment}) {
        CheckAndFree(Resize(Adopt(hz4_aligned_alloc(alignment, size), size, alignment, size), to));
      }
    }
  }
  hz4_check();
}

TEST(ReallocTest, OfNullIsMalloc) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{1000}, 300 * kKiB, 4 * kMiB}) {
    errno = 1234;
    const Block block = Adopt(hz4_realloc(nullptr, size), size, 0, size);
    EXPECT_EQ(errno, 1234);
    CheckAndFree(block);
  }
}

// That it frees shows in the process's address space, which would run out: 200,000 times 1 GiB.
TEST(ReallocTest, ToZeroFrees) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{1000}, 300 * kKiB, 4 * kMiB}) {
    void *ptr = hz4_malloc(size);
    ASSERT_NE(ptr, nullptr);
    errno = 1234;
    EXPECT_EQ(hz4_realloc(ptr, 0), nullptr);
    EXPECT_EQ(errno, 1234);
  }
  for (size_t i = 0; i < (UnderQemu() ? 100 : 200000); i++) {
    void *ptr = hz4_malloc(1024 * kMiB);
    ASSERT_NE(ptr, nullptr) << "after " << i << " blocks";
    ASSERT_EQ(hz4_realloc(ptr, 0), nullptr);
  }
  hz4_check();
}

TEST(ReallocTest, FailureLeavesTheOldBlock) {
  for (size_t size : {size_t{1}, size_t{100}, 5 * kKiB, 200 * kKiB, 300 * kKiB, 2 * kMiB, 20 * kMiB}) {
    const Block block = NewBlock(size, size);
    for (size_t wanted :
         {size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, SIZE_MAX - 65535, SIZE_MAX - 4095, SIZE_MAX - 15, SIZE_MAX}) {
      errno = 0;
      ASSERT_EQ(hz4_realloc(block.ptr, wanted), nullptr);
      EXPECT_EQ(errno, ENOMEM);
      CheckBlock(block);
    }
    CheckAndFree(block);
  }
  hz4_check();
}

TEST(ReallocTest, SuccessKeepsErrno) {
  Block block = NewBlock(1, 1);
  for (size_t size : {size_t{17}, 5 * kKiB, 300 * kKiB, 5 * kMiB, 33 * kMiB, 2 * kMiB, 300 * kKiB, size_t{8}}) {
    errno = 1234;
    void *ptr = hz4_realloc(block.ptr, size);
    EXPECT_EQ(errno, 1234) << "to " << size;
    block = Adopt(ptr, size, 0, 1);
  }
  CheckAndFree(block);
}

TEST(ReallocTest, RandomWalkOfManyBlocks) {
  Random random(TestSeed());
  std::vector<Block> blocks;
  for (size_t i = 0; i < 200; i++) blocks.push_back(NewBlock(MixedSizes(random), random.Next()));
  for (size_t step = 0; step < 100000; step++) {
    Block &block = blocks[random.Below(blocks.size())];
    const size_t size = random.OneIn(2) ? block.size + 1 + random.Below(64) : MixedSizes(random) + 1;
    block = Resize(block, size);
  }
  for (const Block &block : blocks) CheckAndFree(block);
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
