// What AddressSanitizer reports about hz4's objects, and what it does not. In other builds there is nothing to test.
#include "hz4/poison.h"

#include <gtest/gtest.h>
#include <stdio.h>
#include <string.h>

#include <thread>

#include "hz4/hz4.h"

#if !HZ4_POISON
static void *__asan_region_is_poisoned(void *, size_t) { return nullptr; }
#endif

namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
// Objects of classes, a page run, a mapping that is kept, and one that is unmapped at once.
constexpr size_t kSizes[] = {16, 100, 4 * kKiB, 256 * kKiB, 600 * kKiB, 2 * kMiB, 64 * kMiB};
constexpr size_t kClassSizes[] = {16, 100, 4 * kKiB, 256 * kKiB};
constexpr char kReport[] = "AddressSanitizer: use-after-poison";

class Poison : public testing::Test {
 protected:
  void SetUp() override {
    if (HZ4_POISON) return;
    puts("SKIPPED: only --config=asan poisons");
    GTEST_SKIP();
  }
};

char *Malloc(size_t size) { return static_cast<char *>(hz4_malloc(size)); }

char Read(const char *at) { return *static_cast<const volatile char *>(at); }

void Write(char *at) { *static_cast<volatile char *>(at) = 1; }

TEST_F(Poison, UseAfterFree) {
  for (size_t size : kSizes) {
    if (size == 64 * kMiB) continue;  // unmapped: the machine itself reports it
    char *block = Malloc(size);
    hz4_free(block);
    EXPECT_DEATH(Read(block), kReport) << size;
    EXPECT_DEATH(Write(block + size / 2), kReport) << size;
    EXPECT_DEATH(memset(block, 0, size), kReport) << size;
  }
}

TEST_F(Poison, UseAfterAnotherThreadsFree) {
  char *block = Malloc(100);
  std::thread([block] { hz4_free(block); }).join();
  EXPECT_DEATH(Read(block), kReport);
}

TEST_F(Poison, UseAfterRealloc) {
  for (size_t size : kClassSizes) {
    char *block = Malloc(size), *moved = static_cast<char *>(hz4_realloc(block, 4 * size));
    ASSERT_NE(moved, block);
    EXPECT_DEATH(Read(block), kReport) << size;
    hz4_free(moved);
  }
}

// Beyond the class's size lies an object that nobody has, or the end of a span.
TEST_F(Poison, Overflow) {
  for (size_t size : kClassSizes) {
    char *block = Malloc(size);
    const size_t usable = hz4_malloc_usable_size(block);
    EXPECT_DEATH(Write(block + usable), kReport) << size;
    EXPECT_DEATH(memset(block, 0, usable + 1), kReport) << size;
    hz4_free(block);
  }
}

TEST_F(Poison, MemoryThatWasNeverGiven) {
  char *block = Malloc(3000);
  EXPECT_DEATH(Read(block + 5 * hz4_malloc_usable_size(block)), kReport);
  hz4_free(block);
}

TEST_F(Poison, DoubleFreeOfAnObject) {
  for (size_t size : kClassSizes) {
    char *block = Malloc(size);
    hz4_free(block);
    EXPECT_DEATH(hz4_free(block), kReport) << size;
    EXPECT_DEATH(hz4_free_sized(block, size), kReport) << size;
    EXPECT_DEATH(hz4_realloc(block, size + 1), kReport) << size;
    EXPECT_DEATH(hz4_malloc_usable_size(block), kReport) << size;
  }
}

// hz4 itself knows: in every build.
TEST_F(Poison, DoubleFreeOfALargeBlock) {
  for (size_t size : {600 * kKiB, 2 * kMiB, 64 * kMiB}) {
    char *block = Malloc(size);
    hz4_free(block);
    EXPECT_DEATH(hz4_free(block), "hz4: free of a pointer that is not allocated") << size;
  }
}

TEST_F(Poison, EveryUsableByteMayBeUsed) {
  for (size_t size : kSizes) {
    void *blocks[] = {hz4_malloc(size), hz4_calloc(1, size), hz4_aligned_alloc(4096, size), nullptr};
    blocks[3] = hz4_realloc(hz4_malloc(1), size);
    for (int round = 0; round < 2; ++round) {
      for (void *&block : blocks) {
        memset(block, 1, hz4_malloc_usable_size(block));
        block = hz4_realloc(block, size * 3 / (4 - round));  // shrinks in place, then moves or grows
        EXPECT_EQ(__asan_region_is_poisoned(block, hz4_malloc_usable_size(block)), nullptr) << size;
      }
    }
    for (void *block : blocks) hz4_free(block);
  }
}

// What is unmapped may be anybody's next.
TEST_F(Poison, UnmappedMemoryIsClean) {
  for (size_t size : kSizes) {
    char *block = Malloc(size);
    const size_t usable = hz4_malloc_usable_size(block);
    hz4_free(block);
    EXPECT_TRUE(size == 64 * kMiB || __asan_region_is_poisoned(block, usable) == block) << size;
    hz4_malloc_trim(0);
    EXPECT_EQ(__asan_region_is_poisoned(block, usable), nullptr) << size;
  }
}

}  // namespace
