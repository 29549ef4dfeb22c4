// The whole API on a system whose pages are PAGE_BYTES large. The fake refuses, loudly, any call that is not in such pages.
#include <gtest/gtest.h>
#include <string.h>

#include <thread>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/sys_fake.h"
#include "hz4/test_hostile.h"

namespace {

using namespace hz4_test;

constexpr size_t kPage = PAGE_BYTES, kMiB = size_t{1} << 20;

class PageSize : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], 0u) << "too late to choose a page size";
    hz4_sys_fake.page_bytes = kPage;
  }
  void SetUp() override { hz4_sys_fake_reset(); }
  void TearDown() override { DemandRecovery(); }
};

TEST_F(PageSize, RandomWork) {
  for (bool odd : {false, true}) {
    hz4_sys_fake.odd_places = odd;
    HostileWork work(1, 16 * kMiB);
    for (int i = 0; i < 10000; ++i) work.Step();
    EXPECT_EQ(work.refused(), 0u);
    work.FreeAll();
    hz4_check();
  }
}

TEST_F(PageSize, RandomWorkUnderFailures) {
  for (uint64_t n : {1, 2, 3, 7, 20}) {
    for (auto &every : hz4_sys_fake.fail_every) every = n;
    HostileWork work(n, 8 * kMiB);
    for (int i = 0; i < 2000; ++i) work.Step();
    work.FreeAll();
    hz4_check();
  }
}

TEST_F(PageSize, ThreadsWork) {
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([t] {
      HostileWork work(t, 4 * kMiB);
      for (int i = 0; i < 3000; ++i) work.Step();
    });
  }
  for (std::thread &thread : threads) thread.join();
}

TEST_F(PageSize, PageAlignedBlocksFollowTheSystem) {
  for (size_t size : {size_t{1}, kPage - 1, kPage, kPage + 1, 300000ul, 5 * kMiB}) {
    void *block = hz4_valloc(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % kPage, 0u);
    EXPECT_GE(hz4_malloc_usable_size(block), size);
    hz4_free(block);
    block = hz4_pvalloc(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % kPage, 0u);
    EXPECT_GE(hz4_malloc_usable_size(block), (size + kPage - 1) / kPage * kPage);
    memset(block, 1, (size + kPage - 1) / kPage * kPage);
    hz4_free(block);
  }
  void *block = hz4_pvalloc(0);
  EXPECT_GE(hz4_malloc_usable_size(block), kPage);
  hz4_free(block);
}

TEST_F(PageSize, EveryAlignment) {
  for (size_t alignment = 16; alignment <= 64 * kMiB; alignment *= 2) {
    for (size_t size : {size_t{1}, size_t{70000}, 2 * kMiB}) {
      auto *block = static_cast<char *>(hz4_aligned_alloc(alignment, size));
      ASSERT_NE(block, nullptr) << alignment;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % alignment, 0u);
      block[0] = block[size - 1] = 1;
      hz4_free(block);
    }
  }
}

TEST_F(PageSize, LargeBlocksGrowAndShrink) {
  for (bool in_place : {true, false}) {
    hz4_sys_fake.never_in_place = !in_place;
    auto *block = static_cast<char *>(hz4_malloc(kMiB + 1));
    block[0] = 'a';
    block[kMiB] = 'z';
    for (size_t size : {3 * kMiB + 5, 20 * kMiB, 7 * kMiB, 30 * kMiB, 2 * kMiB}) {
      block = static_cast<char *>(hz4_realloc(block, size));
      ASSERT_NE(block, nullptr);
      EXPECT_EQ(block[0], 'a');
      EXPECT_EQ(block[kMiB], 'z');
      block[size - 1] = 'e';
    }
    EXPECT_GT(hz4_sys_fake.calls[HZ4_SYS_MREMAP], 0u);
    hz4_free(block);
  }
}

// What is purged inside spans, between objects that stay, is in whole pages too, and nobody else's.
TEST_F(PageSize, TrimLeavesNeighboursAlone) {
  for (size_t size : {size_t{24}, size_t{700}, size_t{5000}, size_t{20000}, size_t{36000}, size_t{70000}, 200000ul}) {
    const size_t count = 8 * kMiB / size;
    std::vector<unsigned char *> blocks;
    for (size_t i = 0; i < count; ++i) {
      blocks.push_back(static_cast<unsigned char *>(hz4_malloc(size)));
      memset(blocks.back(), static_cast<int>(i), size);
    }
    const auto gone = [size](size_t i) { return i / (200000 / size + 1) % 3 != 0; };
    for (size_t i = 0; i < count; ++i) {
      if (gone(i)) hz4_free(blocks[i]);
    }
    const uint64_t purges = hz4_sys_fake.calls[HZ4_SYS_PURGE];
    hz4_malloc_trim(0);
    EXPECT_GT(hz4_sys_fake.calls[HZ4_SYS_PURGE], purges);
    for (size_t i = 0; i < count; ++i) {
      if (gone(i)) continue;
      for (size_t at = 0; at < size; ++at) ASSERT_EQ(blocks[i][at], static_cast<unsigned char>(i)) << size;
      hz4_free(blocks[i]);
    }
  }
}

}  // namespace
