// Samples that come faster than they are to: fewer, and each stands for more. The clock is the test's.
#include <gtest/gtest.h>
#include <sched.h>

#include <cmath>

#include "hz4/hz4.h"
#include "hz4/sample.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kMean = HZ4_SAMPLE_PACED_MIN, kSize = 1000;

struct Told {
  uint64_t samples;
  double weight, squares;
} told;

const hz4_sample_hooks kHooks = {
    [](hz4_sample *sample) {
      const double weight = static_cast<double>(sample->weight[HZ4_SAMPLE_PROFILE]);
      ++told.samples;
      told.weight += weight;
      told.squares += weight * weight;
    },
    [](hz4_sample *) {}};

class SamplePaceTest : public testing::Test {
 protected:
  void SetUp() override {
    // A sampler is a CPU's: who moves begins with another, which has its own seed and mean.
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    ASSERT_EQ(sched_setaffinity(0, sizeof(here), &here), 0);
    hz4_sys_fake.now_ns = kLater;
    hz4_free(hz4_malloc(1));
    hz4_sample_seed(1);
    told = {};
  }
  void TearDown() override { hz4_sample_stop(HZ4_SAMPLE_PROFILE); }
  static void Start(size_t mean) { hz4_sample_start(HZ4_SAMPLE_PROFILE, mean, &kHooks); }
  static void Allocate(size_t bytes) {
    for (size_t done = 0; done < bytes; done += kSize) hz4_free(hz4_malloc(kSize));
  }
  static constexpr uint64_t kLater = uint64_t{1000} * HZ4_SAMPLE_PACE_NS;
};

TEST_F(SamplePaceTest, WhereTimeStandsStillEachIsFewerAndTheSumIsTheSame) {
  constexpr size_t kBytes = kMean * 20000;
  Start(kMean);
  Allocate(kBytes);
  EXPECT_LT(told.samples, uint64_t{HZ4_SAMPLE_PACE} * 12) << "20,000 without";
  EXPECT_GT(told.samples, uint64_t{HZ4_SAMPLE_PACE} * 4);
  EXPECT_NEAR(told.weight, static_cast<double>(kBytes), 5 * std::sqrt(told.squares));
}

TEST_F(SamplePaceTest, WhereTheyComeSlowlyAllAreTaken) {
  Start(kMean);
  Allocate(kMean * 20000);
  EXPECT_GT(hz4_sampler_here()->mean, 16 * kMean);
  told = {};
  auto slowly = [] {
    hz4_sys_fake.now_ns += HZ4_SAMPLE_PACE_NS;
    Allocate(4 * kMean);
  };
  for (int i = 0; i < 10000 && hz4_sampler_here()->mean != kMean; ++i) slowly();
  // While they are rare the clock is looked at for each; then a window of so many goes by before it is.
  EXPECT_LT(told.samples, uint64_t{HZ4_SAMPLE_PACE} * 2);
  told = {};
  for (int i = 0; i < 100; ++i) {
    slowly();
    EXPECT_EQ(hz4_sampler_here()->mean, kMean);
  }
  EXPECT_NEAR(static_cast<double>(told.samples), 400.0, 100.0);
}

TEST_F(SamplePaceTest, ACoarseMeanIsWaitedForInStrides) {
  constexpr size_t kCoarse = 3 * HZ4_SAMPLE_STRIDE / 2, kBytes = kCoarse * 400, kBlock = HZ4_CLASS_MAX_BYTES;
  Start(kCoarse);
  for (size_t done = 0; done < kBytes; done += kBlock) {
    hz4_sys_fake.now_ns += HZ4_SAMPLE_PACE_NS;
    hz4_free(hz4_malloc(kBlock));
  }
  EXPECT_NEAR(static_cast<double>(told.samples), 400.0, 100.0);
  EXPECT_NEAR(told.weight, static_cast<double>(kBytes), 5 * std::sqrt(told.squares));
}

TEST_F(SamplePaceTest, AFineMeanIsKept) {
  constexpr size_t kFine = kMean / 16, kBytes = kFine * 20000;
  Start(kFine);
  Allocate(kBytes);
  const double chance = -std::expm1(-static_cast<double>(kSize) / kFine), blocks = static_cast<double>(kBytes) / kSize;
  EXPECT_NEAR(static_cast<double>(told.samples), blocks * chance, 5 * std::sqrt(blocks * chance * (1 - chance)));
}

}  // namespace
