// The whole API over a kernel that refuses: every n-th call of every kind, or all that goes beyond a limit.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <thread>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/lock.h"
#include "hz4/mid.h"
#include "hz4/test/hostile.h"
#include "hz4/test/sys_fake.h"

namespace {

using namespace hz4_test;

constexpr size_t kMiB = size_t{1} << 20;
const char *const kCallNames[] = {"mmap", "munmap", "purge", "mremap", "all"};

// kind HZ4_SYS_CALLS: all kinds.
void FailEvery(int kind, uint64_t n) {
  for (int call = 0; call < HZ4_SYS_CALLS; ++call) {
    hz4_sys_fake.fail_every[call] = kind == call || kind == HZ4_SYS_CALLS ? n : 0;
  }
}

// What is counted of the kind; of the most frequent one, where all are meant.
uint64_t Most(const std::atomic<uint64_t> (&counts)[HZ4_SYS_CALLS], int kind) {
  return kind != HZ4_SYS_CALLS ? counts[kind].load() : std::max_element(std::begin(counts), std::end(counts))->load();
}

uint64_t Failures(int kind) {
  return Most(hz4_sys_fake.failures, kind);
}

class Exhaustion : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { hz4_sys_fake_reset(); }
  void TearDown() override { DemandRecovery(); }
};

INSTANTIATE_TEST_SUITE_P(Calls, Exhaustion, testing::Range(0, HZ4_SYS_CALLS + 1),
                         [](const auto &info) { return kCallNames[info.param]; });

// In a process that has never allocated, so that the first failures meet the very first calls.
TEST_P(Exhaustion, FromTheFirstCallOn) {
  for (uint64_t n = 1; n <= 40; ++n) {
    fflush(nullptr);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      FailEvery(GetParam(), n);
      {
        HostileWork work(n, 2 * kMiB);
        for (int i = 0; i < 150; ++i) work.Step();
      }
      DemandRecovery();
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << "n " << n;
  }
}

// One or two calls of a kind, quickly. *block lives from one round to the next. look: at fresh memory too, which is what
// takes time.
void Once(int kind, bool look, char **block) {
  errno = kErrno;
  if (kind == HZ4_SYS_PURGE) {
    hz4_free(Checked(hz4_malloc(200000)));  // of a span: a trim unmaps what is larger
    hz4_malloc_trim(0);
  } else if (kind == HZ4_SYS_MREMAP) {
    if (*block == nullptr) *block = static_cast<char *>(Checked(hz4_calloc(1, 2 * kMiB)));
    if (*block == nullptr) return;
    (*block)[0] = 'a';
    (*block)[2 * kMiB - 1] = 'z';
    hz4_malloc_trim(0);  // or else it grows into what is free behind it
    for (size_t bytes : {6 * kMiB, 2 * kMiB}) {
      errno = kErrno;
      auto *resized = static_cast<char *>(Checked(hz4_realloc(*block, bytes)));
      if (resized != nullptr) *block = resized;
      HZ4_DEMAND((*block)[0] == 'a' && (*block)[2 * kMiB - 1] == 'z');
    }
  } else {
    auto *fresh = static_cast<char *>(Checked(hz4_calloc(1, 100 * kMiB)));  // more than is ever cached
    if (fresh != nullptr && look) {
      HZ4_DEMAND(fresh[0] == 0 && fresh[100 * kMiB - 1] == 0);
      fresh[0] = fresh[100 * kMiB - 1] = 1;
    }
    errno = kErrno;
    hz4_free(fresh);
    HZ4_DEMAND(errno == kErrno);
  }
}

// In turn, where all kinds are meant.
int KindOf(int kind, uint64_t turn) {
  return kind == HZ4_SYS_CALLS ? static_cast<int>(turn % HZ4_SYS_CALLS) : kind;
}

constexpr uint64_t kEveryMost = 10000;

// All n take 50 million calls and are a target of their own. Else: all up to 100, then steps of 6%.
uint64_t NextEvery(uint64_t n) {
  const uint64_t next = ALL_N || n < 100 ? n + 1 : n + n / 16;
  return n < kEveryMost ? std::min(next, kEveryMost) : kEveryMost + 1;
}

TEST_P(Exhaustion, EveryNthCallFails) {
  uint64_t tried = 0, failed = 0;
  for (uint64_t n = 1; n <= kEveryMost; n = NextEvery(n), ++tried) {
    hz4_malloc_trim(0);
    hz4_sys_fake_reset();
    FailEvery(GetParam(), n);
    char *block = nullptr;
    // Quickly to shortly before the first failure, which then meets the heap in the midst of mixed work.
    for (uint64_t i = 0; Most(hz4_sys_fake.calls, GetParam()) + 50 < n; ++i) {
      ASSERT_LT(i, 5 * n) << "these calls do not come about";
      Once(KindOf(GetParam(), i), false, &block);
    }
    {
      HostileWork work(n, 6 * kMiB);
      for (uint64_t i = 0; i < 100 || (Failures(GetParam()) == 0 && i < 400); ++i) {
        work.Step();
        if (i >= 50) Once(KindOf(GetParam(), i), true, &block);
      }
      ASSERT_GT(Failures(GetParam()), 0u) << n;
    }
    failed += Failures(GetParam());
    hz4_free(block);
    hz4_check();
  }
  printf("%lu values of n, %lu calls failed\n", static_cast<unsigned long>(tried), static_cast<unsigned long>(failed));
}

TEST_P(Exhaustion, ThreadsShareTheShortage) {
  for (uint64_t n : {1, 2, 5}) {
    FailEvery(GetParam(), n);
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 3; ++t) {
      threads.emplace_back([t] {
        HostileWork work(t, 3 * kMiB);
        for (int i = 0; i < 1000; ++i) work.Step();
      });
    }
    for (std::thread &thread : threads) thread.join();
    hz4_check();
  }
}

// ---- a limit ----

class Limit : public testing::Test {
 protected:
  void SetUp() override {
    hz4_malloc_trim(0);
    hz4_sys_fake_reset();
  }
  void TearDown() override { DemandRecovery(); }

  // Allocates until there is no more; returns the bytes. Sizes are drawn from [least, most].
  static size_t Fill(size_t least, size_t most, std::vector<void *> *blocks) {
    Random random(least);
    size_t bytes = 0;
    for (;;) {
      const size_t size = least + (most > least ? random.Below(most - least) : 0);
      errno = kErrno;
      auto *block = static_cast<char *>(Checked(hz4_malloc(size)));
      if (block == nullptr) return bytes;
      block[0] = block[size - 1] = 'x';
      blocks->push_back(block);
      bytes += size;
    }
  }
  static void FreeAll(std::vector<void *> *blocks) {
    for (void *block : *blocks) hz4_free(block);
    blocks->clear();
  }
};

TEST_F(Limit, WhatWasFreedCanBeHadAgain) {
  const std::pair<size_t, size_t> ranges[] = {{64, 64},         {1000, 1000},     {5000, 5000},     {40000, 40000},
                                              {300000, 300000}, {3000000, 3000000}, {1, 2000},      {1, 30000},
                                              {1, 400000},      {50000, 4000000}};
  std::vector<void *> blocks;
  blocks.reserve(2000000);
  for (const auto &[least, most] : ranges) {
    hz4_malloc_trim(0);
    hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes + 48 * kMiB;
    const size_t first = Fill(least, most, &blocks);
    EXPECT_GT(first, 30 * kMiB) << least;
    FreeAll(&blocks);
    for (int i = 0; i < 3; ++i) {
      const size_t again = Fill(least, most, &blocks);
      EXPECT_GE(again, first / 10 * 9) << least;
      FreeAll(&blocks);
    }
    hz4_check();
    hz4_sys_fake.limit_bytes = 0;
  }
}

// Memory freed by one size serves any other.
TEST_F(Limit, WhatOneSizeFreedServesAnother) {
  const size_t sizes[] = {64, 3000, 40000, 900000, 3000000};
  std::vector<void *> blocks;
  blocks.reserve(2000000);
  hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes + 64 * kMiB;
  for (size_t one : sizes) {
    for (size_t other : sizes) {
      Fill(one, one, &blocks);
      FreeAll(&blocks);
      const size_t bytes = Fill(other, other, &blocks);
      EXPECT_GT(bytes, 64 * kMiB * 8 / 10) << one << " then " << other;
      FreeAll(&blocks);
    }
  }
}

// Each trim unmaps the free segments, and what is allocated next maps one again.
TEST_F(Limit, WhatIsNotToBeHadDoesNotTrimEachTime) {
  hz4_malloc_trim(0);
  const uint64_t before = hz4_sys_fake.calls[HZ4_SYS_MUNMAP];
  for (int i = 0; i < 10000; ++i) {
    ASSERT_EQ(hz4_malloc(size_t{1} << 60), nullptr);
    void *block = hz4_malloc(512 << 10);
    ASSERT_NE(block, nullptr);
    hz4_free(block);
  }
  EXPECT_LT(hz4_sys_fake.calls[HZ4_SYS_MUNMAP] - before, 200u);
}

// A class that cannot be had because of fork is no reason for a trim, which would wait at the lock of each.
TEST_F(Limit, WhileForkIsOnNothingIsTrimmed) {
  hz4_free(hz4_malloc(64 * kMiB));  // what a trim would unmap, and room for all blocks
  void *blocks[100];
  const uint64_t before = hz4_sys_fake.calls[HZ4_SYS_MUNMAP];
  hz4_lock_fork_begin();
  hz4_mid_fork(hz4_lock_fork_acquire);
  for (void *&block : blocks) block = hz4_malloc(200000);
  hz4_mid_fork(hz4_lock_fork_release);
  hz4_lock_fork_end();
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MUNMAP], before);
  for (void *block : blocks) {
    EXPECT_NE(block, nullptr);
    hz4_free(block);
  }
}

TEST_F(Limit, AFullHeapFailsCleanly) {
  std::vector<void *> blocks;
  blocks.reserve(100000);
  hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes + 32 * kMiB;
  Fill(100000, 100000, &blocks);
  {
    HostileWork work(1, 8 * kMiB);
    for (int i = 0; i < 3000; ++i) work.Step();
    EXPECT_GT(work.refused(), 0u);
  }
  // What is large enough already needs no memory.
  for (void *&block : blocks) {
    block = hz4_realloc(block, 90000);
    ASSERT_NE(block, nullptr);
  }
  FreeAll(&blocks);
}

// ---- other kernels ----

TEST(OtherKernels, EveryOddityAtOnce) {
  for (int odd = 0; odd < 32; ++odd) {
    hz4_malloc_trim(0);
    hz4_sys_fake_reset();
    hz4_sys_fake.odd_places = (odd & 1) != 0;
    hz4_sys_fake.purge_keeps = (odd & 2) != 0;
    hz4_sys_fake.never_in_place = (odd & 4) != 0;
    hz4_sys_fake.failure_unmaps_to = (odd & 8) != 0;
    if ((odd & 8) != 0) hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 3;
    // Segments and larger blocks beyond the page map: refused, and unmapped.
    if ((odd & 16) != 0) hz4_sys_fake.high_bytes = 4 * kMiB;
    HostileWork work(odd, 8 * kMiB);
    for (int i = 0; i < 1000; ++i) work.Step();
    EXPECT_GT(work.granted(), 100u);
    EXPECT_TRUE((odd & 16) != 0 || work.refused() == 0);
    work.FreeAll();
    hz4_check();
  }
  DemandRecovery();
}

}  // namespace
