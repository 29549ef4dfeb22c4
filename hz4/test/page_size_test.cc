// The whole API on a system whose pages are PAGE_BYTES large. The fake refuses, loudly, any call that is not in such pages.
#include <gtest/gtest.h>
#include <string.h>
#include <sys/mman.h>

#include <thread>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/test/hostile.h"
#include "hz4/test/sys_fake.h"

namespace {

using namespace hz4_test;

constexpr size_t kPage = PAGE_BYTES, kMiB = size_t{1} << 20;

class PageSize : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (hz4_sys_fake.page_bytes == kPage) return;
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

// A kernel with 57 bits of address, 53 of them used: what the page map does not cover is refused, and unmapped.
TEST_F(PageSize, AddressesAbove48BitsAreRefused) {
  auto *kept = static_cast<char *>(hz4_malloc(kMiB));
  kept[0] = kept[kMiB - 1] = 'k';
  hz4_sys_fake.high_bytes = 3 * kMiB / 2;  // more than hz4 maps for itself
  hz4_free(hz4_malloc(100));
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  const auto refused = [mapped](auto call) {
    const uint64_t high_maps = hz4_sys_fake.high_maps;
    errno = kErrno;
    EXPECT_EQ(Checked(call()), nullptr);
    EXPECT_GT(hz4_sys_fake.high_maps, high_maps) << "the kernel gave no such address";
    EXPECT_LE(hz4_sys_fake.mapped_bytes, mapped) << "it is still mapped";
  };
  for (size_t bytes : {80 * kMiB, 300 * kMiB, 5000 * kMiB}) {  // more than is ever kept for reuse
    refused([=] { return hz4_malloc(bytes); });
    refused([=] { return hz4_calloc(1, bytes); });
    refused([=] { return hz4_aligned_alloc(8 * kMiB, bytes); });
    refused([=] { return hz4_realloc(nullptr, bytes); });
    refused([=] { return hz4_realloc(kept, bytes); });
    EXPECT_TRUE(kept[0] == 'k' && kept[kMiB - 1] == 'k');
    errno = kErrno;
    void *out = nullptr;
    EXPECT_EQ(hz4_posix_memalign(&out, kPage, bytes), ENOMEM);
    EXPECT_EQ(out, nullptr);
  }
  hz4_free(kept);
  hz4_check();
}

// The same in the midst of work, with failures of other kinds too. Small blocks live on smaller segments.
TEST_F(PageSize, RandomWorkAbove48Bits) {
  for (uint64_t n : {0, 3, 20}) {
    hz4_malloc_trim(0);
    hz4_sys_fake_reset();
    hz4_sys_fake.high_bytes = 3 * kMiB / 2;
    for (auto &every : hz4_sys_fake.fail_every) every = n;
    HostileWork work(n, 16 * kMiB);
    for (int i = 0; i < 3000; ++i) work.Step();
    EXPECT_GT(hz4_sys_fake.high_maps, 20u);
    EXPECT_GT(work.refused(), 0u);
    EXPECT_GT(work.granted(), 100u);
    work.FreeAll();
    hz4_check();
  }
}

// Where a sanitizer's shadow lies, nothing else can.
bool KernelGrants(uintptr_t address) {
  void *hint = reinterpret_cast<void *>(address);
  void *given = mmap(hint, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (given != MAP_FAILED) munmap(given, PAGE_BYTES);
  return given == hint;
}

TEST_F(PageSize, AddressesOf39Bits) {
  if (!KernelGrants(uintptr_t{1} << 38)) GTEST_SKIP() << "SKIPPED: there is no memory at these addresses";
  hz4_malloc_trim(0);
  hz4_sys_fake.low_places = true;
  for (size_t bytes : {5 * kMiB, 100 * kMiB}) {
    void *block = hz4_malloc(bytes);
    EXPECT_LT(reinterpret_cast<uintptr_t>(block), uintptr_t{1} << 39);
    hz4_free(block);
  }
  HostileWork work(39, 16 * kMiB);
  for (int i = 0; i < 5000; ++i) work.Step();
  EXPECT_EQ(work.refused(), 0u);
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
