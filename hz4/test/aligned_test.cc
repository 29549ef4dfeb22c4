// The aligned entries: every power of two from 8 bytes to 64 MiB, and the rules of each entry for bad arguments.
#include <errno.h>
#include <unistd.h>

#include "gtest/gtest.h"
#include "hz4/test/heap.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kAlignmentMax = 64 * kMiB;
constexpr size_t kTooMuch = size_t{PTRDIFF_MAX} + 1;

void *PosixMemalign(size_t alignment, size_t size) {
  void *ptr = nullptr;
  return hz4_posix_memalign(&ptr, alignment, size) == 0 ? ptr : nullptr;
}

struct Entry {
  const char *name;
  void *(*allocate)(size_t alignment, size_t size);
};
void PrintTo(const Entry &one, std::ostream *out) { *out << one.name; }

class AlignedTest : public ::testing::TestWithParam<Entry> {};

// Fills what is small enough; of larger blocks every page, the first byte and the last.
void Touch(const Block &block) {
  if (block.usable <= kMiB) {
    FillPattern(block);
    return;
  }
  for (size_t i = 0; i < block.usable; i += 4096) block.ptr[i] = static_cast<unsigned char>(block.seed);
  block.ptr[block.usable - 1] = static_cast<unsigned char>(block.seed);
}
void CheckTouched(const Block &block) {
  if (block.usable <= kMiB) {
    CheckBlock(block);
    return;
  }
  for (size_t i = 0; i < block.usable; i += 4096) {
    if (block.ptr[i] != static_cast<unsigned char>(block.seed)) Broken(block, "the content changed", i);
  }
  if (block.ptr[block.usable - 1] != static_cast<unsigned char>(block.seed)) Broken(block, "the last byte changed", 0);
}

TEST_P(AlignedTest, EveryPowerOfTwo) {
  uint64_t seed = 1;
  for (size_t alignment = 8; alignment <= kAlignmentMax; alignment *= 2) {
    std::vector<Block> blocks;
    for (size_t size : {size_t{0}, size_t{1}, alignment / 2, alignment - 1, alignment, alignment + 1, 3 * alignment}) {
      errno = 1234;
      auto *ptr = static_cast<unsigned char *>(GetParam().allocate(alignment, size));
      ASSERT_NE(ptr, nullptr) << "alignment " << alignment << ", size " << size;
      EXPECT_EQ(errno, 1234) << "alignment " << alignment << ", size " << size;
      ASSERT_EQ(reinterpret_cast<uintptr_t>(ptr) % alignment, 0u) << "alignment " << alignment << ", size " << size;
      ASSERT_EQ(reinterpret_cast<uintptr_t>(ptr) % 16, 0u) << "alignment " << alignment << ", size " << size;
      const Block block = {ptr, size, hz4_malloc_usable_size(ptr), alignment, seed++};
      ASSERT_GE(block.usable, size);
      Touch(block);
      blocks.push_back(block);
    }
    for (const Block &block : blocks) CheckTouched(block);
    for (const Block &block : blocks) hz4_free(block.ptr);
  }
  hz4_check();
}

TEST_P(AlignedTest, RandomMixWithOrdinaryBlocks) {
  Random random(TestSeed());
  std::vector<Block> blocks;
  for (size_t step = 0; step < 60000; step++) {
    if (blocks.size() < 500 && random.OneIn(2)) {
      const size_t alignment = random.OneIn(100) ? size_t{8} << random.Below(18) : size_t{8} << random.Below(10);
      const size_t size = MixedSizes(random);
      const uint64_t seed = random.Next();
      blocks.push_back(random.OneIn(3) ? NewBlock(size, seed)
                                       : Adopt(GetParam().allocate(alignment, size), size, alignment, seed));
    } else if (!blocks.empty()) {
      std::swap(blocks[random.Below(blocks.size())], blocks.back());
      CheckAndFree(blocks.back());
      blocks.pop_back();
    }
  }
  for (const Block &block : blocks) CheckAndFree(block);
  hz4_check();
}

// What lies between small blocks of a large alignment is address space, and not memory.
TEST_P(AlignedTest, LargeAlignmentsCostNoMemory) {
  HZ4_TEST_SKIP_UNLESS_RESIDENT_IS_OURS();
  const size_t before = ResidentBytes();
  std::vector<void *> blocks;
  for (size_t i = 0; i < 32; i++) {
    blocks.push_back(GetParam().allocate(kAlignmentMax, 100));
    ASSERT_NE(blocks.back(), nullptr);
    memset(blocks.back(), 1, 100);
  }
  EXPECT_LE(ResidentBytes(), before + 8 * kMiB);
  for (void *ptr : blocks) hz4_free(ptr);
}

// The kernel allows a process 65,530 mappings, its threads' stacks among them.
TEST_P(AlignedTest, LargeAlignmentsShareMappings) {
  if (kSanitized) GTEST_SKIP() << "mappings are the sanitizer's";
  PointerTable blocks(2000);
  for (size_t alignment = 128 * kKiB; alignment <= 4 * kMiB; alignment *= 2) {
    const size_t before = Mappings();
    for (size_t i = 0; i < blocks.capacity(); i++) {
      blocks[i] = GetParam().allocate(alignment, i % 2 == 0 ? 1 : 64 * kKiB);
      ASSERT_NE(blocks[i], nullptr);
      *static_cast<char *>(blocks[i]) = 1;
    }
    EXPECT_LE(Mappings(), before + 64) << "alignment " << alignment;
    for (size_t i = 0; i < blocks.capacity(); i++) hz4_free(blocks[i]);
    hz4_malloc_trim(0);
  }
}

TEST_P(AlignedTest, TooLargeFails) {
  for (size_t alignment = 8; alignment != 0; alignment *= 2) {
    for (size_t size :
         {size_t{PTRDIFF_MAX}, kTooMuch, SIZE_MAX - 65535, SIZE_MAX - alignment + 1, SIZE_MAX - 15, SIZE_MAX}) {
      EXPECT_EQ(GetParam().allocate(alignment, size), nullptr) << "alignment " << alignment << ", size " << size;
    }
  }
  // No address below 2^56 but 0 is aligned to these.
  for (size_t alignment : {size_t{1} << 60, size_t{1} << 62, size_t{1} << 63}) {
    EXPECT_EQ(GetParam().allocate(alignment, 1), nullptr) << "alignment " << alignment;
  }
  hz4_check();
}

INSTANTIATE_TEST_SUITE_P(Entries, AlignedTest,
                         ::testing::Values(Entry{"aligned_alloc", hz4_aligned_alloc}, Entry{"memalign", hz4_memalign},
                                           Entry{"posix_memalign", PosixMemalign}),
                         [](const auto &info) { return info.param.name; });

TEST(AlignedAllocTest, ArgumentRules) {
  for (size_t alignment : {size_t{0}, size_t{3}, size_t{24}, size_t{48}, size_t{4095}, size_t{65537}, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(hz4_aligned_alloc(alignment, 64), nullptr) << alignment;
    EXPECT_EQ(errno, EINVAL) << alignment;
  }
  for (size_t alignment : {1, 2, 4, 8, 16}) CheckAndFree(Adopt(hz4_aligned_alloc(alignment, 33), 33, 16, 1));
  CheckAndFree(Adopt(hz4_aligned_alloc(4096, 1), 1, 4096, 1));  // the size is no multiple of the alignment
  errno = 0;
  EXPECT_EQ(hz4_aligned_alloc(64, kTooMuch), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  errno = 0;
  EXPECT_EQ(hz4_aligned_alloc(64 * kMiB, SIZE_MAX - 100), nullptr);
  EXPECT_EQ(errno, ENOMEM);
}

TEST(MemalignTest, RoundsTheAlignmentUp) {
  const struct {
    size_t asked;
    size_t given;
  } cases[] = {{0, 16},  {1, 16},  {3, 16},      {17, 32},     {24, 32},
               {33, 64}, {48, 64}, {4095, 4096}, {4097, 8192}, {100000, 131072}};
  for (const auto &one : cases) {
    std::vector<Block> blocks;
    for (size_t i = 0; i < 8; i++) blocks.push_back(Adopt(hz4_memalign(one.asked, 100), 100, one.given, i));
    for (const Block &block : blocks) CheckAndFree(block);
  }
  EXPECT_EQ(hz4_memalign(SIZE_MAX, 1), nullptr);
  EXPECT_EQ(hz4_memalign(SIZE_MAX / 2 + 2, 1), nullptr);
  errno = 0;
  EXPECT_EQ(hz4_memalign(64, kTooMuch), nullptr);
  EXPECT_EQ(errno, ENOMEM);
}

TEST(PosixMemalignTest, ReportsByItsResultAndOnlyThat) {
  void *const untouched = &errno;
  void *ptr = untouched;
  for (size_t alignment : {size_t{0}, size_t{1}, size_t{2}, size_t{4}, size_t{12}, size_t{24}, size_t{40}, SIZE_MAX}) {
    errno = 1234;
    EXPECT_EQ(hz4_posix_memalign(&ptr, alignment, 64), EINVAL) << alignment;
    EXPECT_EQ(errno, 1234) << alignment;
    EXPECT_EQ(ptr, untouched) << alignment;
  }
  for (size_t alignment : {size_t{8}, size_t{64}, size_t{4096}, kMiB}) {
    for (size_t size : {size_t{PTRDIFF_MAX}, kTooMuch, SIZE_MAX - alignment, SIZE_MAX}) {
      errno = 1234;
      EXPECT_EQ(hz4_posix_memalign(&ptr, alignment, size), ENOMEM) << alignment;
      EXPECT_EQ(errno, 1234) << alignment;
      EXPECT_EQ(ptr, untouched) << alignment;
    }
  }
  errno = 1234;
  ASSERT_EQ(hz4_posix_memalign(&ptr, 8, 0), 0);
  EXPECT_EQ(errno, 1234);
  CheckAndFree(Adopt(ptr, 0, 8, 1));
}

TEST(VallocTest, PageAlignment) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (size_t size : {size_t{0}, size_t{1}, page - 1, page, page + 1, 7 * page + 5, kMiB + 1, 9 * kMiB + 5}) {
    errno = 1234;
    CheckAndFree(Adopt(hz4_valloc(size), size, page, 1));
    EXPECT_EQ(errno, 1234);
    const Block block = Adopt(hz4_pvalloc(size), size, page, 1);
    EXPECT_EQ(errno, 1234);
    const size_t whole_pages = size == 0 ? page : (size + page - 1) / page * page;
    EXPECT_GE(block.usable, whole_pages) << size;
    CheckAndFree(block);
  }
  // PTRDIFF_MAX is allowed by itself, but not once it is rounded up to pages; the last ones wrap to 0 when rounded.
  for (size_t size : {size_t{PTRDIFF_MAX}, kTooMuch, SIZE_MAX - page + 1, SIZE_MAX - page + 2, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(hz4_valloc(size), nullptr) << size;
    EXPECT_EQ(errno, ENOMEM) << size;
    errno = 0;
    EXPECT_EQ(hz4_pvalloc(size), nullptr) << size;
    EXPECT_EQ(errno, ENOMEM) << size;
  }
}

// free_aligned_sized gives everything back: a leak would be 100,000 times the size.
TEST(FreeAlignedSizedTest, FreesWhatAlignedAllocGave) {
  hz4_free_aligned_sized(nullptr, 64, 100);
  const size_t before = ResidentBytes();
  for (size_t alignment : {8, 64, 4096, 131072}) {
    for (size_t i = 0; i < 25000; i++) {
      auto *ptr = static_cast<unsigned char *>(hz4_aligned_alloc(alignment, 3000));
      ASSERT_NE(ptr, nullptr);
      ptr[0] = 1;
      errno = 1234;
      hz4_free_aligned_sized(ptr, alignment, 3000);
      ASSERT_EQ(errno, 1234);
    }
  }
  if (ResidentIsOurs()) {
    EXPECT_LE(ResidentBytes(), before + 8 * kMiB);
  }
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
