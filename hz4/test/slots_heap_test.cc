// Guarded samples in the whole heap: as many as the theory has it, and each is found.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>

#include <cmath>
#include <vector>

#include "hz4/slots.h"
#include "hz4/hz4.h"
#include "hz4/sample.h"
#include "hz4/test/heap.h"

namespace {

sigjmp_buf after_fault;

bool Faults(const volatile char *at) {
  if (sigsetjmp(after_fault, 1) != 0) return true;
  (void)*at;
  return false;
}

class GuardedTest : public testing::Test {
 protected:
  void Start(size_t mean) {
    ASSERT_TRUE(hz4_slots_begin());
    hz4_free(hz4_malloc(1));  // a cache of its own, whose sampler is meant; itself no sample
    hz4_sample_start(HZ4_SAMPLE_GUARD, mean, nullptr);
    hz4_sample_seed(hz4_test::TestSeed());
    signal(SIGSEGV, [](int) { siglongjmp(after_fault, 1); });
  }
  ~GuardedTest() override {
    hz4_sample_stop(HZ4_SAMPLE_GUARD);
    signal(SIGSEGV, SIG_DFL);
    hz4_check();
  }
};

// Bernstein's bound, of 10^-5: 5 sigma alone is of the normal distribution, which that of the few that are missed is not.
void ExpectWithin5Sigma(size_t got, double n, double p) {
  EXPECT_NEAR(static_cast<double>(got), n * p, 5 * std::sqrt(n * p * (1 - p)) + 25.0 / 3) << "of " << n;
}

TEST_F(GuardedTest, DetectionRateIsThatOfTheTheory) {
  constexpr size_t kMean = 2000;
  Start(kMean);
  for (const size_t size : {50u, 1000u, 8000u, 32700u}) {  // no class has them, nor do they end at a page's end
    constexpr size_t kCount = 20000;
    size_t before = 0, behind = 0, after_free = 0;
    for (size_t i = 0; i < kCount; ++i) {
      auto *block = static_cast<char *>(hz4_malloc(size));
      if (hz4_malloc_usable_size(block) == size) {
        before += Faults(block - 1);
        behind += Faults(block + (size + 15) / 16 * 16);
      }
      hz4_free(block);
      after_free += Faults(block);
    }
    const double p = -std::expm1(-static_cast<double>(size) / kMean);
    ExpectWithin5Sigma(after_free, kCount, p);
    EXPECT_EQ(before + behind, after_free);
    ExpectWithin5Sigma(before, static_cast<double>(after_free), 0.5);
  }
}

TEST_F(GuardedTest, LargeObjectsAreNotGuarded) {
  Start(1);
  void *block = hz4_malloc(HZ4_SLOT_BYTES_MAX + 1);
  hz4_free(block);
  EXPECT_FALSE(Faults(static_cast<char *>(block)));
}

TEST_F(GuardedTest, MoreThanThereAreSlotsAreOrdinaryObjects) {
  Start(1);
  std::vector<char *> blocks;
  for (size_t i = 0; i < HZ4_SLOTS * 2; ++i) blocks.push_back(static_cast<char *>(hz4_malloc(1000)));
  for (char *block : blocks) memset(block, 1, 1000);
  size_t found = 0;
  for (char *block : blocks) hz4_free(block), found += Faults(block);
  EXPECT_EQ(found, size_t{HZ4_SLOTS});
}

TEST_F(GuardedTest, ReallocAndItsLike) {
  Start(1);
  auto *block = static_cast<char *>(hz4_malloc(100));
  EXPECT_EQ(hz4_malloc_usable_size(block), 100u);
  memset(block, 7, 100);
  EXPECT_EQ(hz4_realloc(block, 80), block);
  auto *grown = static_cast<char *>(hz4_realloc(block, 101));
  EXPECT_NE(grown, block);
  EXPECT_TRUE(Faults(block));
  for (int i = 0; i < 80; ++i) EXPECT_EQ(grown[i], 7);
  hz4_free_sized(grown, 101);
  for (int i = 0; i < 1000; ++i) {
    block = static_cast<char *>(hz4_calloc(1, 5000));
    for (int j = 0; j < 5000; ++j) ASSERT_EQ(block[j], 0);
    memset(block, 1, 5000);
    hz4_free(block);
  }
  block = static_cast<char *>(hz4_aligned_alloc(1024, 100));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 1024, 0u);
  hz4_free_aligned_sized(block, 1024, 100);
}

using GuardedDeathTest = GuardedTest;

TEST_F(GuardedDeathTest, TheLineIsThatOfAnyOther) {
  hz4_slots_begin();
  hz4_sample_start(HZ4_SAMPLE_GUARD, 1, nullptr);
  auto *block = static_cast<char *>(hz4_malloc(100));
  EXPECT_DEATH(hz4_free(block + 16), "hz4: free of a pointer into the middle of an object: 0x");
  EXPECT_DEATH((hz4_free(block), hz4_free(block)), "hz4: double free: 0x");
  EXPECT_DEATH((hz4_free(block), hz4_realloc(block, 1)), "hz4: realloc of a pointer that is not allocated: 0x");
  EXPECT_DEATH(hz4_free_sized(block, 1000), "hz4: sized free with a wrong size or alignment: 0x");
  EXPECT_DEATH(
      {
        for (int i = 0; i < 10; ++i) {  // at one end or the other
          block = static_cast<char *>(hz4_malloc(100));
          block[100] = 1;
          hz4_free(block);
        }
      },
      "hz4: write past the end of a block: 0x");
  hz4_free(block);
}

}  // namespace
