// large over the hostile kernel: runs and mappings, the cache's bound, growing in place and moving, and every failure.
#include "hz4/large.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/span.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr int kErrno = 4321;  // no call sets it

using Stats = struct hz4_large_stats;
using OsStats = struct hz4_os_stats;
using SegmentStats = struct hz4_segment_stats;

Stats Now() {
  Stats stats;
  hz4_large_stats(&stats);
  return stats;
}

struct hz4_span *SpanOf(const void *block) { return hz4_pagemap_span(block); }

// A block; its first and last bytes are marked, so that content can be followed.
char *Alloc(size_t bytes, size_t align = HZ4_PAGE_BYTES) {
  bool zeroed = false;
  auto *block = static_cast<char *>(hz4_large_alloc(bytes, align, &zeroed));
  if (block == nullptr) return nullptr;
  EXPECT_TRUE(hz4_is_aligned(block, align)) << bytes;
  EXPECT_NE(SpanOf(block), nullptr);
  EXPECT_EQ(SpanOf(block)->base, block);
  EXPECT_GE(SpanOf(block)->bytes, bytes);
  EXPECT_TRUE(hz4_large_may_hold(SpanOf(block), bytes)) << bytes << " in " << SpanOf(block)->bytes;
  EXPECT_EQ(hz4_pagemap_class(block), 0u);
  const size_t usable = SpanOf(block)->bytes;
  for (size_t at = 0; zeroed && at < usable; at += 512) EXPECT_EQ(block[at], 0) << "zeroed was a lie";
  block[0] = 'a';
  block[usable - 1] = 'z';
  return block;
}

void Free(char *block) { hz4_large_free(SpanOf(block)); }

class Large : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    hz4_large_trim();
    errno = kErrno;
  }
  // Every test frees what it took.
  void TearDown() override {
    EXPECT_EQ(errno, kErrno);
    hz4_sys_fake_reset();
    hz4_large_check();
    hz4_large_trim();
    EXPECT_EQ(Now().live_mapped_bytes, 0u);
    EXPECT_EQ(Now().cached_bytes + Now().retained_bytes, 0u);
    EXPECT_EQ(Now().allocs, Now().frees);
    SegmentStats segments;
    hz4_segment_stats(&segments);
    EXPECT_EQ(segments.used_bytes, 0u);
    OsStats os;
    hz4_os_stats(&os);
    EXPECT_EQ(os.mapped_bytes, hz4_sys_fake.mapped_bytes + lost_bytes_);
    hz4_segment_check();
    hz4_meta_check();
  }

  static size_t lost_bytes_;  // unmapped behind hz4's back
};

size_t Large::lost_bytes_ = 0;

// What is kept because it swings cannot serve a fresh mapping: it goes back first, or both would be resident.
TEST_F(Large, AFreshMappingHasWhatIsRegrettedPurged) {
  const auto segments = [] {
    SegmentStats stats;
    hz4_segment_stats(&stats);
    return stats;
  };
  hz4_sys_fake.now_ns = 1;
  for (int swing = 0; swing < 1000 && segments().regretted_bytes < 8 * kMiB; ++swing) {
    std::vector<char *> runs;
    for (int i = 0; i < 32; ++i) runs.push_back(Alloc(kMiB));
    for (char *run : runs) Free(run);
  }
  const uint64_t bound = 4 * kMiB;  // nothing is in use
  ASSERT_GT(segments().dirty_bytes, bound) << "it is kept";
  char *block = Alloc(9 * kMiB + HZ4_PAGE_BYTES);
  EXPECT_EQ(segments().regretted_bytes, 0u);
  EXPECT_LE(segments().dirty_bytes, bound);
  Free(block);
}

TEST_F(Large, AFreedRunKeepsItsMemoryForTheNext) {
  hz4_segment_purge(0);
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE];
  Free(Alloc(kMiB));
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], calls);
}

TEST_F(Large, SmallerBlocksAreRunsLargerOnesMappings) {
  for (size_t bytes : {size_t{1}, 64 * kKiB, 300 * kKiB, HZ4_RUN_MAX_BYTES}) {
    char *block = Alloc(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(SpanOf(block)->kind, HZ4_SPAN_RUN);
    EXPECT_EQ(SpanOf(block)->bytes, hz4_round_up(bytes, HZ4_PAGE_BYTES));
    EXPECT_EQ(SpanOf(block + SpanOf(block)->bytes - 1), SpanOf(block)) << "all pages of a run are known";
    Free(block);
  }
  for (size_t bytes : {HZ4_RUN_MAX_BYTES + 1, 5 * kMiB, 100 * kMiB}) {
    const uint64_t before = hz4_sys_fake.mapped_bytes;
    char *block = Alloc(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(SpanOf(block)->kind, HZ4_SPAN_MAPPED);
    EXPECT_GE(hz4_sys_fake.mapped_bytes, before + bytes);
    EXPECT_GE(Now().live_mapped_bytes, bytes);
    Free(block);
    hz4_large_trim();
    EXPECT_EQ(SpanOf(block), nullptr);
  }
}

TEST_F(Large, EveryAlignment) {
  for (bool odd : {false, true}) {
    hz4_sys_fake.odd_places = odd;
    for (size_t align = HZ4_PAGE_BYTES; align <= 256 * kMiB; align *= 2) {
      for (size_t bytes : {size_t{100}, 300 * kKiB, 3 * kMiB}) {
        char *block = Alloc(bytes, align);
        ASSERT_NE(block, nullptr) << align;
        Free(block);
      }
    }
  }
}

TEST_F(Large, ImpossibleSizesAreNull) {
  bool zeroed = false;
  for (size_t bytes : {static_cast<size_t>(PTRDIFF_MAX), static_cast<size_t>(PTRDIFF_MAX) - 100 * kKiB}) {
    EXPECT_EQ(hz4_large_alloc(bytes, HZ4_PAGE_BYTES, &zeroed), nullptr);
  }
  EXPECT_EQ(hz4_large_alloc(1, static_cast<size_t>(1) << 62, &zeroed), nullptr);
  EXPECT_EQ(hz4_large_alloc(static_cast<size_t>(1) << 62, static_cast<size_t>(1) << 62, &zeroed), nullptr);
}

TEST_F(Large, FreedMappingsServeAgainAndAreNotZeroed) {
  char *block = Alloc(2 * kMiB);
  memset(block, 1, 2 * kMiB);
  Free(block);
  EXPECT_EQ(Now().cached_bytes, 2 * kMiB);
  EXPECT_EQ(SpanOf(block), nullptr) << "a second free would go unseen";
  const uint64_t hits = Now().cache_hits;
  bool zeroed = true;
  auto *again = static_cast<char *>(hz4_large_alloc(2 * kMiB - 5000, HZ4_PAGE_BYTES, &zeroed));
  EXPECT_EQ(again, block);
  EXPECT_FALSE(zeroed);
  EXPECT_EQ(Now().cache_hits, hits + 1);
  EXPECT_EQ(Now().cached_bytes, 0u);
  EXPECT_EQ(SpanOf(again)->bytes, 2 * kMiB) << "all that it is may be used";
  Free(again);
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  EXPECT_TRUE(hz4_large_trim());
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped - 2 * kMiB);
  EXPECT_FALSE(hz4_large_trim());
}

TEST_F(Large, MuchLargerMappingsAreNotTakenForSmallBlocks) {
  char *block = Alloc(4 * kMiB);
  Free(block);
  char *small = Alloc(2 * kMiB);
  EXPECT_LT(SpanOf(small)->bytes, 3 * kMiB);
  Free(small);
}

TEST_F(Large, CacheIsBounded) {
  std::vector<char *> blocks;
  for (int i = 0; i < 200; ++i) blocks.push_back(Alloc(2 * kMiB));
  uint64_t cached = 0;
  for (char *block : blocks) {
    Free(block);
    const Stats now = Now();
    const uint64_t bound = std::max<uint64_t>(now.live_mapped_bytes / 8 + 2 * kMiB, HZ4_LARGE_ALLOWANCE_MAX);
    EXPECT_LE(now.cached_bytes, bound);
    cached = std::max(cached, now.cached_bytes);
  }
  EXPECT_GT(cached, 0u);
  // Nobody has asked for memory for long: the allowance is what it was in the beginning.
  EXPECT_LE(Now().cached_bytes, HZ4_LARGE_ALLOWANCE_MIN);
}

// Only refusals in a row are a program that frees for good.
TEST_F(Large, RefusalsWithDemandInBetweenLeaveTheAllowance) {
  std::vector<char *> refused;
  for (int i = 0; i < 3; ++i) refused.push_back(Alloc(40 * kMiB));
  for (int i = 0; i < 2; ++i) Free(Alloc(20 * kMiB));
  ASSERT_EQ(Now().cached_bytes, 20 * kMiB) << "the allowance has risen";
  for (char *block : refused) {
    Free(Alloc(2 * kMiB));
    Free(block);
    EXPECT_EQ(Now().cached_bytes, 22 * kMiB);
  }
}

TEST_F(Large, ABufferAllocatedInALoopComesFromTheCache) {
  for (int i = 0; i < 20; ++i) Free(Alloc(20 * kMiB));
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  for (int i = 0; i < 20; ++i) Free(Alloc(20 * kMiB));
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], calls);
}

// A block that grows again and again has what the last one left: no more is mapped, moved or faulted in.
TEST_F(Large, ABlockThatGrowsTakesWhatTheLastOneLeft) {
  constexpr size_t kLeft = 4 * kMiB, kLeast = kLeft / HZ4_LARGE_GROWTH;
  static_assert(kLeast >= HZ4_RUN_MAX_BYTES, "as large as a mapping");
  EXPECT_EQ(hz4_large_reuse(kLeft), nullptr);
  char *left = Alloc(kLeft);
  Free(left);
  const uint64_t hits = Now().cache_hits;
  EXPECT_EQ(hz4_large_reuse(HZ4_RUN_MAX_BYTES), nullptr) << "a run";
  EXPECT_EQ(hz4_large_reuse(kLeft + 1), nullptr) << "not as large";
  EXPECT_EQ(hz4_large_reuse(SIZE_MAX / 2), nullptr);
  auto *grown = static_cast<char *>(hz4_large_reuse(kLeast + 1));
  ASSERT_EQ(grown, left);
  EXPECT_EQ(SpanOf(grown)->bytes, kLeft);
  EXPECT_EQ(Now().live_mapped_bytes, kLeft);
  EXPECT_EQ(Now().cache_hits, hits + 1);
  EXPECT_TRUE(hz4_large_may_hold(SpanOf(grown), kLeast + 1));
  EXPECT_EQ(hz4_large_resize(SpanOf(grown), kLeft), grown);
  Free(grown);
  left = Alloc(kLeast + 1);
  EXPECT_EQ(SpanOf(left)->bytes, kLeast + HZ4_PAGE_BYTES) << "it need not grow";
  Free(left);
  hz4_large_trim();
  std::vector<char *> blocks;  // larger than what is cached, and so retained when freed
  for (int i = 0; i < 8; ++i) blocks.push_back(Alloc(HZ4_LARGE_RETAIN_MAX_BYTES));
  for (char *block : blocks) Free(block);
  ASSERT_EQ(Now().retained_bytes, 8 * HZ4_LARGE_RETAIN_MAX_BYTES);
  EXPECT_EQ(hz4_large_reuse(HZ4_LARGE_RETAIN_MAX_BYTES), nullptr) << "it has no memory";
}

TEST_F(Large, WhatTheCacheRefusesKeepsItsAddressesOnly) {
  std::vector<char *> blocks;
  for (int i = 0; i < 20; ++i) blocks.push_back(Alloc(3 * kMiB));
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  for (char *block : blocks) Free(block);
  const Stats now = Now();
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped) << "nothing is unmapped";
  EXPECT_EQ(now.cached_bytes + now.retained_bytes, 60 * kMiB);
  EXPECT_LE(now.cached_bytes, HZ4_LARGE_ALLOWANCE_MIN);
  char *again = Alloc(2 * kMiB);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped) << "half of a retained mapping is room enough";
  Free(again);
  EXPECT_TRUE(hz4_large_trim());
  EXPECT_EQ(Now().retained_bytes, 0u);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped - 60 * kMiB);
}

TEST_F(Large, ForZerosNoRetainedMappingIsTaken) {
  char *blocks[] = {Alloc(5 * kMiB), Alloc(5 * kMiB)};
  for (char *block : blocks) Free(block);  // too large for the cache
  ASSERT_EQ(Now().retained_bytes, 10 * kMiB);
  bool zeroed = true;
  auto *zeros = static_cast<char *>(hz4_large_alloc(5 * kMiB, HZ4_PAGE_BYTES, &zeroed));
  EXPECT_TRUE(zeroed);
  EXPECT_EQ(Now().retained_bytes, 10 * kMiB);
  Free(zeros);
}

TEST_F(Large, RetainedAddressesAreBounded) {
  constexpr size_t kBytes = 30 * kMiB, kBlocks = 40;
  uint64_t retained = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<char *> blocks;
    for (size_t i = 0; i < kBlocks; ++i) {
      bool zeroed = true;  // for zeros: nothing that is retained serves
      blocks.push_back(static_cast<char *>(hz4_large_alloc(kBytes, HZ4_PAGE_BYTES, &zeroed)));
    }
    for (char *block : blocks) {
      Free(block);
      retained = std::max(retained, Now().retained_bytes);
    }
  }
  EXPECT_GT(retained, HZ4_LARGE_RETAIN_BYTES);
  EXPECT_LE(retained, HZ4_LARGE_RETAIN_BYTES + kBlocks * kBytes);
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  Free(Alloc(HZ4_LARGE_RETAIN_MAX_BYTES + 1));
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped) << "a mapping as large goes back whole";
}

TEST_F(Large, OneSlotMoreThanThereAre) {
  std::vector<char *> blocks;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS + 1; ++i) blocks.push_back(Alloc(kMiB + 1));
  for (char *block : blocks) Free(block);
  hz4_large_check();
  EXPECT_EQ(Now().cached_bytes + Now().retained_bytes, HZ4_LARGE_CACHE_SLOTS * (kMiB + HZ4_PAGE_BYTES));
  // A full house of retained mappings does not keep a block in use out of the cache.
  char *block = Alloc(3 * kMiB);
  Free(block);
  const uint64_t hits = Now().cache_hits;
  EXPECT_EQ(Alloc(3 * kMiB), block);
  EXPECT_EQ(Now().cache_hits, hits + 1) << "it went back to the system";
  Free(block);
}

TEST_F(Large, NoneOfAFullHouseInUseMakesRoom) {
  // Of 64 KiB each, which the alignment makes mappings; what is live lets all of them keep their memory.
  constexpr size_t kBytes = HZ4_PAGE_BYTES, kAll = HZ4_LARGE_CACHE_SLOTS * kBytes;
  bool zeroed = false;
  auto *live = static_cast<char *>(hz4_large_alloc(kAll << HZ4_LARGE_SHARE_SHIFT, HZ4_PAGE_BYTES, &zeroed));
  ASSERT_NE(live, nullptr);
  std::vector<char *> blocks;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS + 1; ++i) blocks.push_back(Alloc(kBytes, 2 * HZ4_RUN_ALIGN_MAX));
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  for (char *block : blocks) Free(block);
  hz4_large_check();
  EXPECT_EQ(Now().cached_bytes, kAll);
  EXPECT_EQ(Now().retained_bytes, 0u);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped - kBytes) << "only the last one goes back";
  Free(live);
}

TEST_F(Large, WhatCannotBePurgedIsUnmapped) {
  hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = 1;
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  Free(Alloc(20 * kMiB));
  EXPECT_EQ(Now().retained_bytes, 0u);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped);
}

TEST_F(Large, MunmapThatFailsPurges) {
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 1;
  char *block = Alloc(100 * kMiB);
  Free(block);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], 1u);
  EXPECT_EQ(SpanOf(block), nullptr);
  EXPECT_EQ(Now().live_mapped_bytes, 0u);
}

// As of locked memory, which cannot be purged, in a process that has all the mappings it may have.
TEST_F(Large, WhatTheSystemTakesInNoWayServesAgain) {
  for (size_t bytes : {24 * kMiB, 70 * kMiB}) {
    const uint64_t mapped = hz4_sys_fake.mapped_bytes;
    char *block = Alloc(bytes);  // first, for what it maps too much, to align it, is unmapped
    hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = 1;
    Free(block);
    EXPECT_FALSE(hz4_large_trim()) << "nothing went back";
    EXPECT_EQ(Now().retained_bytes, bytes);
    for (int i = 0; i < 5; ++i) {
      char *again = Alloc(bytes * 2 / 3);  // so much smaller that it tells the cache nothing of this size
      EXPECT_EQ(again, block);
      Free(again);
    }
    EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped + bytes);
    hz4_sys_fake_reset();
    EXPECT_TRUE(hz4_large_trim());
    EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped) << "it was not tried again";
  }
}

TEST_F(Large, TrimTellsWhetherSomethingWentBack) {
  char *block = Alloc(2 * kMiB);
  Free(block);
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 1;
  EXPECT_TRUE(hz4_large_trim()) << "purged";
  EXPECT_EQ(Now().retained_bytes, 2 * kMiB);
  EXPECT_FALSE(hz4_large_trim()) << "it had gone back before";
}

// ---- resizing ----

TEST_F(Large, ResizeWithinABlockChangesNothing) {
  for (size_t bytes : {300 * kKiB, 3 * kMiB}) {
    char *block = Alloc(bytes);
    const size_t usable = SpanOf(block)->bytes;
    for (size_t wanted : {usable, usable - 1, usable / 2 + 1}) {
      EXPECT_EQ(hz4_large_resize(SpanOf(block), wanted), block);
      EXPECT_EQ(SpanOf(block)->bytes, usable);
    }
    Free(block);
  }
}

TEST_F(Large, MayHoldWhatWasAskedForOrResizedTo) {
  for (size_t bytes : {size_t{1}, 64 * kKiB, 64 * kKiB + 1, 300 * kKiB, kMiB, kMiB + 1, 3 * kMiB}) {
    char *block = Alloc(bytes);
    const size_t usable = SpanOf(block)->bytes;
    for (size_t right : {bytes, usable, usable / 2 + 1}) EXPECT_TRUE(hz4_large_may_hold(SpanOf(block), right)) << right;
    EXPECT_FALSE(hz4_large_may_hold(SpanOf(block), usable + 1)) << bytes;
    EXPECT_FALSE(hz4_large_may_hold(SpanOf(block), SIZE_MAX)) << bytes;
    EXPECT_EQ(hz4_large_may_hold(SpanOf(block), 100), usable <= 128 * kKiB) << bytes;
    if (usable > 128 * kKiB && usable <= kMiB) {
      EXPECT_FALSE(hz4_large_may_hold(SpanOf(block), usable / 2 - 64 * kKiB)) << bytes;
    }
    Free(block);
  }
  // The system does not take back what a smaller size leaves over.
  char *block = Alloc(8 * kMiB);
  hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 1;
  ASSERT_EQ(hz4_large_resize(SpanOf(block), 300 * kKiB), block);
  EXPECT_TRUE(hz4_large_may_hold(SpanOf(block), 300 * kKiB));
  Free(block);
}

// A retained mapping may be twice as large as what is asked for. Alloc checks what it may hold.
TEST_F(Large, SmallBlocksInRetainedMappingsMayBeSmall) {
  std::vector<char *> blocks;
  for (int i = 0; i < 128; ++i) blocks.push_back(Alloc(128 * kKiB, 2 * HZ4_RUN_ALIGN_MAX));
  for (char *block : blocks) Free(block);
  size_t wide = 0;
  for (char *&block : blocks) {
    block = Alloc(100, 2 * HZ4_RUN_ALIGN_MAX);
    wide += SpanOf(block)->bytes == 128 * kKiB;
  }
  EXPECT_GT(wide, 0u) << "none came out of the cache";
  for (char *block : blocks) Free(block);
}

TEST_F(Large, RunsAreLeftToTheCaller) {
  char *block = Alloc(500 * kKiB);
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 2 * kMiB), nullptr);
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 100), nullptr);
  EXPECT_EQ(block[0], 'a');
  Free(block);
}

TEST_F(Large, GrowsInPlaceWhereThereIsRoom) {
  char *block = Alloc(8 * kMiB);
  auto *shrunk = static_cast<char *>(hz4_large_resize(SpanOf(block), 2 * kMiB));
  ASSERT_EQ(shrunk, block);
  EXPECT_EQ(SpanOf(block)->bytes, 2 * kMiB) << "what it left over went back";
  EXPECT_EQ(Now().live_mapped_bytes, 2 * kMiB);
  const uint64_t grown = Now().grown_in_place;
  block[2 * kMiB - 1] = 'm';
  ASSERT_EQ(hz4_large_resize(SpanOf(block), 6 * kMiB), block);
  EXPECT_EQ(Now().grown_in_place, grown + 1);
  EXPECT_EQ(Now().live_mapped_bytes, 6 * kMiB);
  EXPECT_EQ(block[0], 'a');
  EXPECT_EQ(block[2 * kMiB - 1], 'm');
  EXPECT_EQ(block[6 * kMiB - 1], 0);
  Free(block);
}

TEST_F(Large, MovesWhereThereIsNone) {
  hz4_sys_fake.never_in_place = true;
  char *block = Alloc(2 * kMiB);
  const uint64_t moved = Now().moved, mapped = hz4_sys_fake.mapped_bytes;
  auto *grown = static_cast<char *>(hz4_large_resize(SpanOf(block), 5 * kMiB + 1));
  ASSERT_NE(grown, nullptr);
  EXPECT_NE(grown, block);
  EXPECT_EQ(SpanOf(block), nullptr);
  EXPECT_EQ(SpanOf(grown)->base, grown);
  EXPECT_GE(SpanOf(grown)->bytes, 5 * kMiB + 1);
  EXPECT_EQ(Now().moved, moved + 1);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped - 2 * kMiB + SpanOf(grown)->bytes);
  EXPECT_EQ(grown[0], 'a');
  EXPECT_EQ(grown[2 * kMiB - 1], 'z');
  Free(grown);
}

// From the call on, another thread may get the old address: it must not be in the page map then, nor be cleared after.
TEST_F(Large, AMovingBlockLeavesThePageMapBeforeItsAddress) {
  static bool known;
  known = true;
  hz4_sys_fake.never_in_place = true;
  hz4_sys_fake.before_move = [](void *base) { known = SpanOf(base) != nullptr; };
  char *block = Alloc(2 * kMiB);
  auto *grown = static_cast<char *>(hz4_large_resize(SpanOf(block), 5 * kMiB));
  ASSERT_NE(grown, nullptr);
  EXPECT_FALSE(known);
  Free(grown);
}

TEST_F(Large, ResizeThatFailsChangesNothing) {
  for (uint64_t n : {1, 2}) {  // mremap never works; it works in place never, and then not for the move
    hz4_sys_fake_reset();
    char *block = Alloc(2 * kMiB);
    const uint64_t mapped = hz4_sys_fake.mapped_bytes;
    hz4_sys_fake.never_in_place = true;
    hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = n;
    EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
    ASSERT_NE(SpanOf(block), nullptr);
    EXPECT_EQ(SpanOf(block)->bytes, 2 * kMiB);
    EXPECT_EQ(block[0], 'a');
    EXPECT_EQ(block[2 * kMiB - 1], 'z');
    EXPECT_LE(hz4_sys_fake.mapped_bytes, mapped + 5 * kMiB);
    hz4_sys_fake_reset();
    hz4_sys_fake.never_in_place = true;
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;  // no place to move to
    EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
    EXPECT_EQ(block[2 * kMiB - 1], 'z');
    hz4_sys_fake_reset();
    hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 1;
    EXPECT_EQ(hz4_large_resize(SpanOf(block), 300 * kKiB), block) << "too large a block is no failure";
    EXPECT_EQ(SpanOf(block)->bytes, 2 * kMiB);
    Free(block);
  }
}

// Linux unmaps the target before it finds out that it cannot move. Then those addresses may belong to anybody: the fake
// aborts when hz4 unmaps them.
TEST_F(Large, TargetOfAFailedMoveIsNobodysToUnmap) {
  char *block = Alloc(2 * kMiB);
  hz4_sys_fake.never_in_place = true;
  hz4_sys_fake.failure_unmaps_to = true;
  hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 2;
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
  ASSERT_EQ(hz4_sys_fake.failures[HZ4_SYS_MREMAP], 1u);
  lost_bytes_ += 5 * kMiB;
  EXPECT_EQ(block[0], 'a');
  EXPECT_EQ(block[2 * kMiB - 1], 'z');
  Free(block);
}

// ---- no memory, fork, threads ----

TEST_F(Large, NoMemoryIsNullAndNothingBreaks) {
  hz4_meta_free(hz4_meta_alloc(128), 128);
  for (int kind = 0; kind < 3; ++kind) {
    hz4_sys_fake_reset();
    if (kind == 0) hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
    if (kind == 1) hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes + kMiB;
    if (kind == 2) hz4_sys_fake.high_bytes = 3 * kMiB;  // an address the page map does not cover
    const uint64_t mapped = hz4_sys_fake.mapped_bytes;
    EXPECT_EQ(Alloc(3 * kMiB), nullptr);
    EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped) << kind;
    hz4_large_check();
  }
  hz4_sys_fake_reset();
  Free(Alloc(3 * kMiB));
}

TEST_F(Large, ForkGateGoesToTheSystem) {
  char *run = Alloc(500 * kKiB), *mapped = Alloc(2 * kMiB), *other = Alloc(2 * kMiB);
  Free(other);  // cached
  hz4_large_fork_prepare();
  hz4_segment_fork_prepare();
  hz4_meta_fork_prepare();
  char *fresh_mapped = Alloc(2 * kMiB);
  EXPECT_NE(fresh_mapped, other) << "the cache is fork's";
  char *fresh_small = Alloc(500 * kKiB);
  ASSERT_NE(fresh_small, nullptr);
  EXPECT_EQ(SpanOf(fresh_small)->kind, HZ4_SPAN_MAPPED);
  Free(run);
  EXPECT_EQ(SpanOf(run), nullptr);
  Free(mapped);
  Free(fresh_mapped);
  Free(fresh_small);
  EXPECT_FALSE(hz4_large_trim());
  hz4_meta_fork_parent();
  hz4_segment_fork_parent();
  hz4_large_fork_parent();
  SegmentStats segments;
  hz4_segment_stats(&segments);
  EXPECT_GT(segments.used_bytes, 0u) << "the run waits";
  Free(Alloc(300 * kKiB));  // brings it home: TearDown looks
}

TEST_F(Large, RandomBlocksUnderFailures) {
  std::mt19937_64 random(9);
  for (uint64_t n : {0, 1, 2, 3, 7}) {
    for (int call = 0; call < HZ4_SYS_CALLS; ++call) hz4_sys_fake.fail_every[call] = n;
    hz4_sys_fake.never_in_place = n % 2 == 1;
    std::vector<char *> blocks;
    size_t refused = 0;
    for (int i = 0; i < 800; ++i) {
      const size_t bytes = (random() % 8 == 0 ? random() % (8 * kMiB) : random() % (2 * kMiB)) + 1;
      if (blocks.size() < 12 && random() % 2 == 0) {
        char *block = Alloc(bytes, HZ4_PAGE_BYTES << random() % 6);
        if (block == nullptr) ++refused;
        else blocks.push_back(block);
      } else if (!blocks.empty()) {
        char *&block = blocks[random() % blocks.size()];
        const size_t old = SpanOf(block)->bytes;
        ASSERT_EQ(block[0], 'a');
        ASSERT_EQ(block[old - 1], 'z');
        if (random() % 2 == 0) {
          auto *resized = static_cast<char *>(hz4_large_resize(SpanOf(block), bytes));
          if (resized != nullptr) {
            block = resized;
            ASSERT_GE(SpanOf(block)->bytes, bytes);
            ASSERT_EQ(block[0], 'a');
            ASSERT_TRUE(SpanOf(block)->bytes < old || block[old - 1] == 'z');
          }
          block[SpanOf(block)->bytes - 1] = 'z';
        } else {
          Free(std::exchange(block, blocks.back()));
          blocks.pop_back();
        }
      }
      if (i % 50 == 0) hz4_large_check();
    }
    EXPECT_TRUE(n != 1 || refused > 0);
    for (char *block : blocks) Free(block);
  }
}

TEST_F(Large, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      std::mt19937_64 random(t);
      std::vector<char *> mine;
      for (int i = 0; i < 400; ++i) {
        if (mine.size() < 6 && random() % 2 == 0) {
          char *block = Alloc(random() % (3 * kMiB) + 1);
          ASSERT_NE(block, nullptr);
          block[1] = static_cast<char>(t);
          mine.push_back(block);
        } else if (!mine.empty()) {
          ASSERT_EQ(mine.back()[1], static_cast<char>(t));
          Free(mine.back());
          mine.pop_back();
        }
        if (i % 100 == 0) hz4_large_check();
      }
      for (char *block : mine) Free(block);
    });
  }
  for (std::thread &thread : threads) thread.join();
}

}  // namespace
