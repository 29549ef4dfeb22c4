// free_sized and free_aligned_sized (C23): whatever a block has been through, what it was asked for with is accepted;
// what it cannot have been asked for with is not. Sizes of blocks up to 256 KiB are checked with HZ4_HARDEN=1 only, so
// sized_harden_test is this test run so.
#include <stdint.h>
#include <stdlib.h>

#include <algorithm>

#include "gtest/gtest.h"
#include "hz4/test/heap.h"
#include "hz4/test/qemu.h"

namespace hz4_test {
namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB, kClassMax = 256 * kKiB, kPage = 64 * kKiB;

bool Hardened() { return getenv("HZ4_HARDEN") != nullptr; }

// The usable size of each class and, above, of some large blocks; of some sizes where that is what was asked for.
std::vector<size_t> UsableSizes() {
  std::vector<size_t> all;
  for (size_t size = 16; size <= 8 * kMiB;) {
    void *ptr = hz4_malloc(size);
    all.push_back(hz4_malloc_usable_size(ptr));
    hz4_free(ptr);
    size_t step = all.back() == size ? size / 8 + 1 : 1;
    size = all.back() + std::max(step, size / 4 / kPage * kPage);
  }
  return all;
}

TEST(SizedTest, EverySizeOfMalloc) {
  for (size_t size = 0; size <= kClassMax + 2 * kPage; size++) hz4_free_sized(hz4_malloc(size), size);
  for (size_t usable : UsableSizes()) {
    for (size_t size : {usable - 1, usable, usable + 1}) {
      hz4_free_sized(hz4_malloc(size), size);
      hz4_free_sized(hz4_calloc(1, size), size);
      hz4_free_aligned_sized(hz4_aligned_alloc(8, size), 8, size);
    }
  }
  hz4_check();
}

TEST(SizedTest, EverySizeOfARealloc) {
  size_t stayed = 0;
  for (size_t usable : UsableSizes()) {
    std::vector<size_t> sizes = {1, usable / 4, usable / 2 - 1, usable / 2, usable / 2 + 1, usable / 2 + 2,
                                 usable * 3 / 4, usable - 1, usable, usable + 1, usable * 2, usable * 5};
    for (size_t size : sizes) {
      for (size_t alignment : {16, 128, 4096}) {
        void *ptr = hz4_aligned_alloc(alignment, usable);
        void *resized = hz4_realloc(ptr, size);
        ASSERT_NE(resized, nullptr);
        stayed += resized == ptr;
        hz4_free_sized(resized, size);
      }
    }
  }
  EXPECT_GT(stayed, 500u) << "reallocs that leave the block where it is";
  hz4_check();
}

TEST(SizedTest, EveryAlignment) {
  for (size_t alignment = 1; alignment <= 64 * kMiB; alignment *= 2) {
    std::vector<size_t> sizes = UsableSizes();
    for (size_t size : {size_t{0}, size_t{1}, alignment / 2, alignment - 1, alignment, alignment + 1, alignment * 3}) {
      sizes.push_back(size);
    }
    for (size_t around : sizes) {
      for (size_t size : {around, around + 1, around + around / 2}) {
        void *ptr = hz4_aligned_alloc(alignment, size);
        ASSERT_NE(ptr, nullptr);
        hz4_free_aligned_sized(ptr, alignment, size);
      }
    }
  }
  hz4_check();
}

// ---- the other side ----

void ExpectDeath(void *ptr, size_t alignment, size_t size) {
  const char *message = "^hz4: sized free with a wrong size or alignment: 0x[0-9a-f]{16}" HZ4_TEST_LAST_LINE_END;
  if (alignment == 16) {
    EXPECT_EXIT(hz4_free_sized(ptr, size), ::testing::KilledBySignal(SIGABRT), message) << size;
  } else {
    EXPECT_EXIT(hz4_free_aligned_sized(ptr, alignment, size), ::testing::KilledBySignal(SIGABRT), message) << size;
  }
}

TEST(SizedDeathTest, SizesThatCannotBe) {
  for (size_t usable : UsableSizes()) {
    if (usable <= kClassMax && !Hardened()) continue;
    void *ptr = hz4_malloc(usable);
    ExpectDeath(ptr, 16, usable + 1);
    if (usable > 16 && usable <= kClassMax) ExpectDeath(ptr, 16, usable / 2);
    if (usable > kClassMax && usable <= kMiB) ExpectDeath(ptr, 16, usable / 2 - kPage);
    if (usable > kMiB) ExpectDeath(ptr, 16, kClassMax);
    hz4_free_sized(ptr, usable);
  }
  for (size_t size : {SIZE_MAX, size_t{PTRDIFF_MAX} + 1}) {
    void *ptr = hz4_malloc(Hardened() ? 100 : kMiB);
    ExpectDeath(ptr, 16, size);
    hz4_free(ptr);
  }
}

TEST(SizedDeathTest, AlignmentsThatCannotBe) {
  const size_t size = Hardened() ? 3000 : 3 * kMiB;
  auto *ptr = static_cast<char *>(hz4_aligned_alloc(1024, size));
  const size_t top_bit = size_t{1} << 63;
  for (size_t alignment : {size_t{0}, size_t{3}, size_t{48}, size_t{1000}, top_bit, top_bit / 2 * 3, SIZE_MAX}) {
    ExpectDeath(ptr, alignment, size);
  }
  hz4_free(ptr);
  if (!Hardened()) return;
  ptr = static_cast<char *>(hz4_malloc(100));
  for (size_t alignment : {256, 65536, 131072}) ExpectDeath(ptr, alignment, 100);
  hz4_free(ptr);
  ptr = static_cast<char *>(hz4_aligned_alloc(256, 100));
  ExpectDeath(ptr, 16, 100);
  ExpectDeath(ptr, 64, 100);
  hz4_free_aligned_sized(ptr, 256, 100);
}

// Without HZ4_HARDEN=1 a wrong size harms nobody.
TEST(SizedTest, WrongSizesPassWhenNotHardened) {
  if (Hardened()) GTEST_SKIP() << "they are found";
  for (size_t i = 0; i < 1000; i++) hz4_free_sized(hz4_malloc(100), i);
  std::vector<void *> blocks(1000);
  for (void *&ptr : blocks) ptr = hz4_malloc(100);
  for (void *ptr : blocks) hz4_free_aligned_sized(ptr, 4096, 1);  // bins overflow
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
