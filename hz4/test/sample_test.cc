// Sampling: by chance as the theory has it, and every allocation a block like any other, whichever is sampled.
#include "hz4/sample.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/limit.h"
#include "hz4/test/heap.h"

namespace {

using hz4_test::ShadowHeap;

// What the hooks were told, by use.
struct Told {
  std::atomic<uint64_t> allocs{0}, frees{0}, bytes{0}, weight{0};
};
Told told[HZ4_SAMPLE_USES];
std::atomic<hz4_sample *> newest{nullptr};

template <int kUse>
const hz4_sample_hooks *Hooks() {
  static const hz4_sample_hooks hooks = {
      [](hz4_sample *sample) {
        EXPECT_EQ(sample->user[kUse], nullptr);
        EXPECT_GE(sample->weight[kUse], sample->size);
        sample->user[kUse] = sample->block;
        ++told[kUse].allocs;
        told[kUse].bytes += sample->size;
        told[kUse].weight += sample->weight[kUse];
        newest = sample;
      },
      [](hz4_sample *sample) {
        EXPECT_EQ(sample->user[kUse], sample->block);
        ++told[kUse].frees;
        told[kUse].bytes -= sample->size;
      }};
  return &hooks;
}

constexpr hz4_sample_use kUse = HZ4_SAMPLE_PROFILE;
const Told &Profile() { return told[kUse]; }

class SampleTest : public testing::Test {
 protected:
  SampleTest() {
    for (Told &one : told) one.allocs = one.frees = one.bytes = one.weight = 0;
  }
  ~SampleTest() override {
    for (int use = 0; use < HZ4_SAMPLE_USES; ++use) hz4_sample_stop(static_cast<hz4_sample_use>(use));
    EXPECT_EQ(Profile().allocs, Profile().frees) << "each test frees what it allocates";
    hz4_check();
  }
  static void Start(size_t mean) {
    hz4_free(hz4_malloc(1));  // a cache of its own, whose sampler is meant; itself no sample
    hz4_sample_start(kUse, mean, Hooks<kUse>());
    hz4_sample_seed(hz4_test::TestSeed());
  }
};

// With a mean of a byte what has so many is missed once in 10^27.
constexpr size_t kSure = 64;

// An object whose memory went back, and that the limit does not let have any again, stays where it is.
TEST_F(SampleTest, WhatTheLimitRefusesIsNobodys) {
  constexpr size_t kSize = 4096;
  Start(1);
  void *first = hz4_malloc(kSize);
  ASSERT_NE(first, nullptr);
  hz4_malloc_trim(0);
  struct hz4_limit_stats limit;
  hz4_limit_stats(&limit);
  hz4_limit_set(0, limit.used_bytes);
  void *refused = hz4_malloc(kSize);
  hz4_limit_set(0, 0);
  void *second = hz4_malloc(kSize);
  EXPECT_EQ(refused, nullptr);
  EXPECT_NE(second, refused);
  hz4_free(first);
  hz4_free(second);
}

// ---- chance ----

void ExpectWithin5Sigma(double got, double n, double p, double scale) {
  EXPECT_NEAR(got, n * p * scale, 5 * std::sqrt(n * p * (1 - p)) * scale + 1e-6) << "n " << n << ", p " << p;
}

TEST_F(SampleTest, AsManyAsAPoissonProcessHas) {
  constexpr size_t kMean = 20000;
  Start(kMean);
  for (const size_t size : {1u, 16u, 100u, 1000u, 10000u, 100000u, 400000u}) {
    const size_t count = std::min<size_t>(400000, 4000000000 / size / 16);
    const uint64_t samples = Profile().allocs, weight = Profile().weight;
    for (size_t i = 0; i < count; ++i) hz4_free(hz4_malloc(size));
    const double p = -std::expm1(-static_cast<double>(size) / kMean), n = static_cast<double>(count);
    ExpectWithin5Sigma(static_cast<double>(Profile().allocs - samples), n, p, 1);
    ExpectWithin5Sigma(static_cast<double>(Profile().weight - weight), n, p, static_cast<double>(size) / p);
  }
}

// The sizes take turns as their bins do: a sampler that looked at refills alone would favour one.
TEST_F(SampleTest, NeitherSizesNorOrderNorThreadsMatter) {
  constexpr size_t kMean = 5000, kCount = 300000;
  Start(kMean);
  std::atomic<uint64_t> sum{0};
  auto run = [&](size_t first, size_t step) {
    std::vector<void *> blocks;
    uint64_t bytes = 0;
    for (size_t i = 0; i < kCount; ++i) {
      const size_t size = first + i % 7 * step;
      blocks.push_back(hz4_malloc(size));
      bytes += size;
      if (i % 3 != 0) hz4_free(blocks.back()), blocks.pop_back();
    }
    for (void *block : blocks) hz4_free(block);
    sum += bytes;
  };
  std::thread a(run, 24, 0), b(run, 100, 16), c(run, 16, 40);
  a.join(), b.join(), c.join();
  // Each sample of a small block stands for about a mean.
  const double samples = static_cast<double>(sum) / kMean;
  EXPECT_NEAR(static_cast<double>(Profile().weight), static_cast<double>(sum), 5 * std::sqrt(samples) * kMean);
}

TEST_F(SampleTest, EachUseHasItsRate) {
  constexpr size_t kCount = 1000000, kSize = 100;
  Start(10000);
  hz4_sample_start(HZ4_SAMPLE_PROBE, 1000, Hooks<HZ4_SAMPLE_PROBE>());
  hz4_sample_seed(1);
  for (size_t i = 0; i < kCount; ++i) hz4_free(hz4_malloc(kSize));
  for (const auto &[one, mean] : {std::pair<Told *, double>{&told[kUse], 10000}, {&told[HZ4_SAMPLE_PROBE], 1000}}) {
    const double p = -std::expm1(-static_cast<double>(kSize) / mean);
    ExpectWithin5Sigma(static_cast<double>(one->allocs), kCount, p, 1);
    ExpectWithin5Sigma(static_cast<double>(one->weight), kCount, p, kSize / p);
    EXPECT_EQ(one->allocs, one->frees);
  }
}

// Who waits for a far sample looks again when the mean changes, in whatever cache he is.
TEST_F(SampleTest, AnotherMeanIsSeenByAll) {
  Start(size_t{1} << 40);
  auto allocate = [] { for (int i = 0; i < 10; ++i) hz4_free(hz4_malloc(1000)); };
  for (const size_t mean : {size_t{1} << 40, size_t{1}}) {
    hz4_sample_start(kUse, mean, Hooks<kUse>());
    allocate();
    for (int i = 0; i < 4; ++i) std::thread(allocate).join();
    EXPECT_EQ(Profile().allocs, mean == 1 ? 50u : 0u);
  }
}

// ---- blocks ----

TEST_F(SampleTest, ASampledBlockIsLikeAnyOther) {
  for (const size_t size : {1u, 16u, 40u, 100u, 129u, 5000u, 100000u, 262144u, 262145u, 5000000u}) {
    void *other = hz4_malloc(size);
    Start(1);
    std::vector<void *> blocks;
    for (int i = 0; i < 20; ++i) {
      blocks.push_back(hz4_malloc(size));
      ASSERT_NE(blocks.back(), nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back()) % 16, 0u);
      EXPECT_EQ(hz4_malloc_usable_size(blocks.back()), hz4_malloc_usable_size(other));
      memset(blocks.back(), i, size);
    }
    for (int i = 0; i < 20; ++i) EXPECT_EQ(static_cast<char *>(blocks[i])[size - 1], i);
    hz4_check();
    for (size_t i = 0; i < blocks.size(); ++i) i % 2 == 0 ? hz4_free(blocks[i]) : hz4_free_sized(blocks[i], size);
    hz4_sample_stop(kUse);
    hz4_free(other);
  }
  EXPECT_GT(Profile().allocs, 120u);
}

TEST_F(SampleTest, TheRecordSaysWhatWasAskedFor) {
  Start(1);
  void *block = hz4_malloc(1000);
  hz4_sample *sample = newest;
  EXPECT_EQ(sample->block, block);
  EXPECT_EQ(sample->size, 1000u);
  EXPECT_EQ(sample->usable, hz4_malloc_usable_size(block));
  EXPECT_EQ(sample->weight[kUse], 1000u) << "every one is a sample";
  EXPECT_EQ(sample->weight[HZ4_SAMPLE_PROBE], 0u);
  const uint64_t mine = sample->thread;
  hz4_free(block);
  EXPECT_EQ(Profile().frees, 1u);
  std::thread([&] { block = hz4_malloc(300000); }).join();
  EXPECT_NE(newest.load()->thread, mine);
  EXPECT_EQ(newest.load()->block, block);
  EXPECT_EQ(newest.load()->size, 300000u);
  hz4_free(block);
}

TEST_F(SampleTest, CallocAndAlignedOnes) {
  Start(1);
  for (const size_t size : {kSure, size_t{1000}, size_t{20000}, size_t{300000}}) {
    for (int round = 0; round < 3; ++round) {
      auto *block = static_cast<char *>(hz4_calloc(1, size));
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(block[i], 0);
      memset(block, 1, size);
      hz4_free(block);
    }
    for (size_t align = 8; align <= size_t{1} << 20; align *= 2) {
      void *block = nullptr;
      ASSERT_EQ(hz4_posix_memalign(&block, align, size), 0);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % align, 0u);
      EXPECT_EQ(newest.load()->block, block);
      hz4_free_aligned_sized(block, align, size);
      block = hz4_aligned_alloc(align, size);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % align, 0u);
      EXPECT_EQ(newest.load()->block, block);
      hz4_free(block);
    }
  }
  EXPECT_EQ(Profile().allocs, 4u * (3 + 2 * 18));
}

TEST_F(SampleTest, ReallocInPlaceKeepsTheRecord) {
  Start(1);
  void *block = hz4_malloc(1000);
  const hz4_sample *sample = newest;
  const uint64_t before = Profile().allocs;
  EXPECT_EQ(hz4_realloc(block, 900), block);
  EXPECT_EQ(hz4_realloc(block, 1024), block);
  EXPECT_EQ(Profile().allocs, before);
  EXPECT_EQ(sample->size, 1000u);
  block = hz4_realloc(block, 3000);
  EXPECT_EQ(Profile().allocs, before + 1);
  EXPECT_EQ(Profile().frees, before);
  EXPECT_EQ(newest.load()->size, 3000u) << "not what it may grow to besides";
  EXPECT_EQ(hz4_realloc(block, 0), nullptr);
}

TEST_F(SampleTest, ALargeBlockThatIsResizedIsAnother) {
  Start(1);
  void *block = hz4_malloc(1 << 20);
  EXPECT_EQ(hz4_realloc(block, (1 << 20) - 1000), block);
  EXPECT_EQ(Profile().allocs, 1u) << "as many pages";
  for (size_t size = size_t{2} << 20; size <= size_t{64} << 20; size *= 2) {
    memset(block, 1, size / 2);
    block = hz4_realloc(block, size);
    EXPECT_EQ(Profile().bytes, size);
    EXPECT_EQ(newest.load()->block, block);
    EXPECT_EQ(static_cast<char *>(block)[size / 2 - 1], 1);
  }
  hz4_sample_stop(kUse);
  block = hz4_realloc(block, size_t{1} << 20);
  EXPECT_EQ(Profile().bytes, 0u) << "its record is of another size";
  Start(1);
  block = hz4_realloc(block, 1000);
  EXPECT_EQ(Profile().bytes, 1000u);
  hz4_free(block);
}

TEST_F(SampleTest, WhatIsSampledStaysSoAfterStop) {
  Start(1);
  std::vector<void *> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(hz4_malloc(kSure + 1000 * i));
  hz4_sample_stop(kUse);
  const uint64_t allocs = Profile().allocs;
  EXPECT_EQ(allocs, 100u);
  for (int i = 0; i < 100; ++i) hz4_free(hz4_malloc(kSure + 1000 * i));
  EXPECT_EQ(Profile().allocs, allocs);
  EXPECT_EQ(Profile().frees, 0u);
  std::thread([&] { for (void *block : blocks) hz4_free(block); }).join();
  EXPECT_EQ(Profile().frees, allocs);
}

// ---- programs ----

TEST_F(SampleTest, RandomStepsWhileItStartsAndStops) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([seed] {
      ShadowHeap heap(seed, hz4_test::MixedSizes, 4 << 20);
      for (int i = 0; i < 30000; ++i) heap.Step();
    });
  }
  std::thread switching([&] {
    hz4_test::Random random(4);
    while (!done) {
      if (random.OneIn(3)) hz4_sample_stop(kUse);
      else hz4_sample_start(kUse, size_t{1} << random.Below(16), Hooks<kUse>());
      std::this_thread::yield();
    }
  });
  for (auto &thread : threads) thread.join();
  done = true;
  switching.join();
  EXPECT_GT(Profile().allocs, 1000u);
}

TEST_F(SampleTest, AChildOfForkFreesItsCopies) {
  Start(100);
  std::vector<void *> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(hz4_malloc(100));
  const uint64_t live = Profile().allocs - Profile().frees;
  EXPECT_GT(live, 300u);
  const pid_t child = fork();
  if (child == 0) {
    ShadowHeap heap(1, hz4_test::MixedSizes, 1 << 20);
    for (int i = 0; i < 1000; ++i) heap.Step();
    heap.FreeAll();
    for (void *block : blocks) hz4_free(block);
    hz4_check();
    _exit(Profile().allocs == Profile().frees && Profile().allocs > live ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (void *block : blocks) hz4_free(block);
}

// ---- misuse, found at once ----

using SampleDeathTest = SampleTest;

TEST_F(SampleDeathTest, WrongFrees) {
  hz4_sample_start(kUse, 1, Hooks<kUse>());
  for (const size_t size : {size_t{1000}, size_t{300000}}) {
    auto *block = static_cast<char *>(hz4_malloc(size));
    EXPECT_DEATH(hz4_free(block + 16), "hz4: free of a pointer that is not allocated");
    EXPECT_DEATH(hz4_free_sized(block, size * 4), "hz4: sized free with a wrong size or alignment");
    EXPECT_DEATH((hz4_free(block), hz4_free(block)), "hz4: free of a pointer that is not allocated");
    EXPECT_DEATH(hz4_malloc_usable_size(block + 16), "hz4: malloc_usable_size of a pointer that is not allocated");
    EXPECT_DEATH((hz4_free(block), hz4_realloc(block, 10)), "hz4: realloc of a pointer that is not allocated");
    hz4_free(block);
  }
}

}  // namespace
