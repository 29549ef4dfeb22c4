// large over the hostile kernel: what is kept and what goes back, growing in place and moving, and every failure.
#include "hz4/large.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "hz4/meta.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/span.h"
#include "hz4/test/regions.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
const uint64_t kKeepBytes = hz4_option.dirty_kib * kKiB;
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

// Without metadata.
uint64_t Mapped() {
  struct hz4_meta_stats meta;
  hz4_meta_stats(&meta);
  return hz4_sys_fake.mapped_bytes - meta.mapped_bytes;
}

class Large : public testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_TRUE(hz4_test::ReserveRegions()); }
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
    EXPECT_EQ(os.mapped_bytes, hz4_sys_fake.mapped_bytes);
    hz4_segment_check();
    hz4_meta_check();
  }
};

TEST_F(Large, BlocksAreCutFromMappingsInPages) {
  for (size_t bytes : {size_t{1}, 64 * kKiB, 300 * kKiB, kMiB + 1, 5 * kMiB, 100 * kMiB}) {
    char *block = Alloc(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(SpanOf(block)->kind, HZ4_SPAN_MAPPED);
    EXPECT_EQ(SpanOf(block)->bytes, hz4_round_up(bytes, HZ4_PAGE_BYTES));
    EXPECT_EQ(Now().live_mapped_bytes, SpanOf(block)->bytes);
    Free(block);
    EXPECT_EQ(SpanOf(block), nullptr);
  }
}

// As much as a quarter of what there is is mapped at once, so that many blocks are few mappings.
TEST_F(Large, ManyBlocksAreFewMappings) {
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  std::vector<char *> blocks;
  for (int i = 0; i < 400; ++i) blocks.push_back(Alloc(300 * kKiB));
  EXPECT_LE(hz4_sys_fake.calls[HZ4_SYS_MMAP] - calls, 3u * 400 * 320 / 4096);
  for (char *block : blocks) Free(block);
}

// A page more than they need, and not a mapping each.
TEST_F(Large, SmallBlocksOfLargeAlignmentShareMappings) {
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  std::vector<char *> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(Alloc(100, 2 * HZ4_PAGE_BYTES));
  EXPECT_LE(hz4_sys_fake.calls[HZ4_SYS_MMAP] - calls, 200u);
  for (char *block : blocks) Free(block);
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
  const uint64_t mapped = Mapped();
  EXPECT_TRUE(hz4_large_trim());
  EXPECT_EQ(Mapped(), mapped - 2 * kMiB);
  EXPECT_FALSE(hz4_large_trim());
}

TEST_F(Large, APartOfALargerRangeServes) {
  char *block = Alloc(4 * kMiB);
  Free(block);
  char *parts[] = {Alloc(2 * kMiB), Alloc(kMiB), Alloc(kMiB)};
  EXPECT_EQ(parts[0], block);
  EXPECT_EQ(parts[1], block + 2 * kMiB);
  EXPECT_EQ(parts[2], block + 3 * kMiB);
  for (char *part : parts) EXPECT_LE(SpanOf(part)->bytes, 2 * kMiB);
  Free(parts[1]);
  Free(parts[0]);
  Free(parts[2]);
  EXPECT_EQ(Alloc(4 * kMiB), block) << "they have joined";
  Free(block);
}

// What was free for long makes room for what is used now.
TEST_F(Large, AStartUpPhaseDoesNotPoisonWhatIsKept) {
  std::vector<char *> blocks;
  for (int i = 0; i < 16; ++i) blocks.push_back(Alloc(4 * kMiB));
  for (char *block : blocks) Free(block);
  for (int i = 0; i < 3; ++i) Free(Alloc(3 * kMiB / 2));
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE] + hz4_sys_fake.calls[HZ4_SYS_MMAP];
  for (int i = 0; i < 100; ++i) Free(Alloc(3 * kMiB / 2));
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE] + hz4_sys_fake.calls[HZ4_SYS_MMAP], calls);
}

// Waves of blocks: what is wanted again and again is kept, at most what was ever live at once and an eighth.
TEST_F(Large, WhatComesInWavesIsKept) {
  constexpr int kBlocks = 100;
  constexpr size_t kBytes = 3 * kMiB / 2;
  uint64_t calls = 0;
  for (int wave = 0; wave < HZ4_LARGE_SWINGS + 4; ++wave) {
    if (wave == HZ4_LARGE_SWINGS + 1) calls = hz4_sys_fake.calls[HZ4_SYS_PURGE] + hz4_sys_fake.calls[HZ4_SYS_MMAP];
    std::vector<char *> blocks;
    for (int i = 0; i < kBlocks; ++i) blocks.push_back(Alloc(kBytes));
    for (char *block : blocks) {
      Free(block);
      ASSERT_LE(Now().cached_bytes, kBlocks * kBytes / 8 * 9);
    }
    if (wave < HZ4_LARGE_SWINGS) {
      EXPECT_LE(Now().cached_bytes, kKeepBytes) << "not wanted again so often yet";
    }
  }
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE] + hz4_sys_fake.calls[HZ4_SYS_MMAP], calls);
  EXPECT_GE(Now().cached_bytes, kBlocks * kBytes);
  EXPECT_GE(Now().keep_bytes, kBlocks * kBytes);
  // And then only one buffer is used: the rest goes back in the end.
  for (int i = 0; i < 10000 && Now().cached_bytes > kKeepBytes; ++i) Free(Alloc(kBytes));
  EXPECT_LE(Now().cached_bytes, kKeepBytes);
  EXPECT_EQ(Now().keep_bytes, kKeepBytes);
}

// A heap that is emptied for good goes back, whatever was kept while it was used.
TEST_F(Large, WhatIsFreedForGoodGoesBack) {
  std::mt19937_64 random(3);
  std::vector<char *> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(Alloc(4 * kMiB));
  for (int i = 0; i < 2000; ++i) {
    char *&block = blocks[random() % blocks.size()];
    Free(block);
    block = Alloc(kMiB + random() % (6 * kMiB));
  }
  const uint64_t live = Now().live_mapped_bytes;
  for (char *block : blocks) Free(block);
  EXPECT_LE(Now().cached_bytes, live / 8);
}
TEST_F(Large, WhatIsKeptIsBounded) {
  std::vector<char *> blocks;
  for (int i = 0; i < 200; ++i) blocks.push_back(Alloc(2 * kMiB));
  uint64_t cached = 0;
  for (char *block : blocks) {
    Free(block);
    const Stats now = Now();
    EXPECT_LE(now.cached_bytes, std::max<uint64_t>(now.live_mapped_bytes / 8, now.keep_bytes));
    cached = std::max(cached, now.cached_bytes);
  }
  EXPECT_GT(cached, kKeepBytes);
  EXPECT_LE(Now().cached_bytes, kKeepBytes);
}

// The memory that was freed first goes, and not what was freed just now.
TEST_F(Large, TheOldestGoesFirst) {
  char *old = Alloc(3 * kMiB), *between = Alloc(kMiB), *young = Alloc(3 * kMiB), *end = Alloc(kMiB);
  memset(old, 1, 3 * kMiB);
  memset(young, 1, 3 * kMiB);
  Free(old);
  Free(young);
  EXPECT_EQ(Now().cached_bytes, kKeepBytes);
  char *again = Alloc(3 * kMiB);
  EXPECT_EQ(again, young);
  EXPECT_EQ(young[kMiB], 1) << "it has its memory";
  for (char *block : {again, between, end}) Free(block);
}
TEST_F(Large, ABufferAllocatedInALoopIsKept) {
  for (int i = 0; i < 20; ++i) Free(Alloc(20 * kMiB));
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP] + hz4_sys_fake.calls[HZ4_SYS_PURGE];
  for (int i = 0; i < 20; ++i) Free(Alloc(20 * kMiB));
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP] + hz4_sys_fake.calls[HZ4_SYS_PURGE], calls);
}
// A block that grows again and again grows where the last one did: no more is mapped, moved or faulted in.
TEST_F(Large, ABlockThatGrowsTakesWhatTheLastOneLeft) {
  constexpr size_t kLeft = 4 * kMiB, kFirst = kLeft / HZ4_LARGE_ROOM;
  EXPECT_EQ(hz4_large_reuse(kFirst), nullptr);
  char *left = Alloc(kLeft);
  Free(left);
  EXPECT_EQ(hz4_large_reuse(HZ4_LARGE_REUSE_MIN), nullptr) << "a class has it";
  EXPECT_EQ(hz4_large_reuse(kFirst + 1), nullptr) << "it cannot grow to four times as much";
  EXPECT_EQ(hz4_large_reuse(SIZE_MAX / 2), nullptr);
  const uint64_t hits = Now().cache_hits, calls = hz4_sys_fake.calls[HZ4_SYS_MREMAP];
  auto *grown = static_cast<char *>(hz4_large_reuse(kFirst));
  ASSERT_EQ(grown, left);
  EXPECT_EQ(SpanOf(grown)->bytes, kFirst) << "the rest is anybody's until then";
  EXPECT_EQ(Now().cache_hits, hits + 1);
  EXPECT_EQ(hz4_large_resize(SpanOf(grown), kLeft - HZ4_PAGE_BYTES), grown);
  EXPECT_EQ(hz4_large_resize(SpanOf(grown), kLeft), grown);
  EXPECT_EQ(Now().live_mapped_bytes, kLeft);
  EXPECT_EQ(Now().cached_bytes, 0u);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MREMAP], calls);
  Free(grown);
  // Nor where there is room, but no memory.
  std::vector<char *> blocks;
  for (int i = 0; i < 8; ++i) blocks.push_back(Alloc(kLeft));
  for (char *block : blocks) Free(block);
  while (char *block = static_cast<char *>(hz4_large_reuse(kFirst))) blocks.push_back(block);
  EXPECT_GT(Now().retained_bytes, kLeft);
  for (size_t i = 8; i < blocks.size(); ++i) Free(blocks[i]);
}
TEST_F(Large, WhatIsNotKeptKeepsItsAddressesOnly) {
  std::vector<char *> blocks;
  Free(Alloc(60 * kMiB));  // one range, so that they lie beside each other
  for (int i = 0; i < 20; ++i) blocks.push_back(Alloc(3 * kMiB));
  const uint64_t mapped = Mapped();
  const size_t free_before = Now().cached_bytes + Now().retained_bytes;
  for (char *block : blocks) Free(block);
  const Stats now = Now();
  EXPECT_EQ(Mapped(), mapped) << "nothing is unmapped";
  EXPECT_EQ(now.cached_bytes + now.retained_bytes, free_before + 60 * kMiB);
  EXPECT_LE(now.cached_bytes, kKeepBytes);
  char *again = Alloc(6 * kMiB);
  EXPECT_EQ(Mapped(), mapped) << "they have joined";
  Free(again);
  EXPECT_TRUE(hz4_large_trim());
  EXPECT_EQ(Now().retained_bytes, 0u);
  EXPECT_EQ(Mapped(), mapped - free_before - 60 * kMiB);
}
TEST_F(Large, ForZerosNoPurgedMemoryIsTaken) {
  hz4_sys_fake.purge_keeps = true;
  char *blocks[] = {Alloc(5 * kMiB), Alloc(5 * kMiB)};
  for (char *block : blocks) memset(block, 1, 5 * kMiB);
  for (char *block : blocks) Free(block);
  ASSERT_GE(Now().retained_bytes, 6 * kMiB);
  for (size_t bytes : {kMiB, HZ4_LARGE_CLEAR_MAX, 5 * kMiB}) {
    bool zeroed = true;
    auto *zeros = static_cast<char *>(hz4_large_alloc(bytes, HZ4_PAGE_BYTES, &zeroed));
    EXPECT_EQ(zeroed, bytes > HZ4_LARGE_CLEAR_MAX) << "a little is cleared, much is mapped";
    for (size_t at = 0; zeroed && at < bytes; at += 512) ASSERT_EQ(zeros[at], 0);
    Free(zeros);
  }
}

// What is left over of a mapping has never been used.
TEST_F(Large, ForZerosFreshMemoryIsTaken) {
  std::vector<char *> blocks;
  for (int i = 0; i < 32; ++i) blocks.push_back(Alloc(kMiB));
  ASSERT_GE(Now().retained_bytes, kMiB);
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  bool zeroed = true;
  auto *zeros = static_cast<char *>(hz4_large_alloc(kMiB, HZ4_PAGE_BYTES, &zeroed));
  EXPECT_TRUE(zeroed);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], calls);
  Free(zeros);
  for (char *block : blocks) Free(block);
}
TEST_F(Large, AddressesThatNobodyWantsGoInTheEnd) {
  constexpr size_t kBytes = 30 * kMiB, kBlocks = 40;
  std::vector<char *> blocks;
  for (size_t i = 0; i < kBlocks; ++i) blocks.push_back(Alloc(kBytes));
  for (char *block : blocks) Free(block);
  EXPECT_GT(Now().retained_bytes, HZ4_RETAIN_BYTES) << "what was live may be wanted again";
  EXPECT_LE(Now().retained_bytes, HZ4_RETAIN_BYTES + kBlocks * kBytes);
  for (int i = 0; i < 3000; ++i) Free(Alloc(kBytes));
  EXPECT_LE(Now().retained_bytes, HZ4_RETAIN_BYTES + 2 * kBytes);
}

TEST_F(Large, WhatIsKeptIsAShareOfTheAddressesThatThereMayBe) {
  hz4_sys_fake.address_limit = 512 * kMiB;
  hz4_os_configure(HZ4_OS_HUGE_NEVER, nullptr);
  std::vector<char *> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back(Alloc(30 * kMiB));
  for (char *block : blocks) {
    Free(block);
    EXPECT_LE(Now().retained_bytes + Now().cached_bytes, (512 * kMiB) >> HZ4_LARGE_ADDRESS_SHIFT);
  }
  hz4_sys_fake.address_limit = 0;
  hz4_os_configure(HZ4_OS_HUGE_NEVER, nullptr);
}
TEST_F(Large, WhatCannotBePurgedIsUnmapped) {
  hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = 1;
  const uint64_t mapped = Mapped();
  Free(Alloc(20 * kMiB));
  EXPECT_EQ(Now().retained_bytes, 0u);
  EXPECT_EQ(Mapped(), mapped + kKeepBytes);
}

TEST_F(Large, MunmapThatFailsPurges) {
  char *block = Alloc(100 * kMiB);
  Free(block);
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 1;
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE];
  EXPECT_TRUE(hz4_large_trim());
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], calls + 1) << "what was dirty";
  EXPECT_EQ(SpanOf(block), nullptr);
  EXPECT_EQ(Now().cached_bytes, 0u);
}
// As of locked memory, which cannot be purged, in a process that has all the mappings it may have.
TEST_F(Large, WhatTheSystemTakesInNoWayServesAgain) {
  for (size_t bytes : {24 * kMiB, 70 * kMiB}) {
    const uint64_t mapped = Mapped();
    char *block = Alloc(bytes);  // first, for what it maps too much, to align it, is unmapped
    hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = 1;
    Free(block);
    EXPECT_FALSE(hz4_large_trim()) << "nothing went back";
    EXPECT_EQ(Now().cached_bytes, bytes);
    for (int i = 0; i < 5; ++i) {
      char *again = Alloc(bytes);
      EXPECT_EQ(again, block);
      Free(again);
    }
    EXPECT_EQ(Mapped(), mapped + bytes);
    hz4_sys_fake_reset();
    EXPECT_TRUE(hz4_large_trim());
    EXPECT_EQ(Mapped(), mapped) << "it was not tried again";
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
    if (usable > 128 * kKiB) {
      EXPECT_FALSE(hz4_large_may_hold(SpanOf(block), usable / 2 - 64 * kKiB)) << bytes;
    }
    Free(block);
  }
}

TEST_F(Large, ASizeOfAClassIsLeftToTheCaller) {
  char *block = Alloc(500 * kKiB);
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 100), nullptr);
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 250 * kKiB), nullptr);
  EXPECT_EQ(block[0], 'a');
  Free(block);
}

TEST_F(Large, ShrinksWithoutTheSystem) {
  char *block = Alloc(8 * kMiB);
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MREMAP] + hz4_sys_fake.calls[HZ4_SYS_MUNMAP];
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 300 * kKiB), block);
  EXPECT_EQ(SpanOf(block)->bytes, 320 * kKiB);
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MREMAP] + hz4_sys_fake.calls[HZ4_SYS_MUNMAP], calls);
  EXPECT_EQ(Now().live_mapped_bytes, 320 * kKiB);
  EXPECT_LE(Now().cached_bytes, kKeepBytes);
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
  Free(block);
}

// In place it may come to a region that the page map does not have yet, of which pages are the first ones of blocks later.
// The target of an mremap that failed is lost: so nothing is moved where none will ever be done.
TEST_F(Large, AFilterThatRefusesMremapCostsNoAddresses) {
  char *block = Alloc(2 * kMiB);
  const uint64_t mapped = Mapped();
  hz4_sys_fake.refuses_mremap = true;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
  EXPECT_EQ(Mapped(), mapped);
  EXPECT_EQ(SpanOf(block)->bytes, 2 * kMiB);
  Free(block);
}

TEST_F(Large, GrowsIntoAnotherRegionOfThePageMap) {
  constexpr uintptr_t kRegion = HZ4_PAGEMAP_REGION_PAGES * HZ4_PAGE_BYTES;
  char *block = Alloc(kMiB);
  const uintptr_t edge = (reinterpret_cast<uintptr_t>(block) & ~(kRegion - 1)) - 16 * kRegion;
  Free(block);
  hz4_large_trim();
  ASSERT_EQ(hz4_pagemap_region(edge / kRegion), nullptr);
  hz4_sys_fake.next_place = edge - 40 * kMiB;
  block = Alloc(40 * kMiB);
  if (reinterpret_cast<uintptr_t>(block) != edge - 40 * kMiB) GTEST_SKIP() << "something is there";
  const uint64_t mapped = Mapped();
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 44 * kMiB), nullptr) << "there is no memory for the region";
  EXPECT_EQ(Mapped(), mapped);
  EXPECT_EQ(SpanOf(block)->bytes, 40 * kMiB);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  ASSERT_EQ(hz4_large_resize(SpanOf(block), 44 * kMiB), block);
  Free(block);
  char *at_edge = Alloc(2 * kMiB, kRegion);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(at_edge), edge);
  Free(at_edge);
}

TEST_F(Large, MovesWhereThereIsNone) {
  hz4_sys_fake.never_in_place = true;
  char *block = Alloc(2 * kMiB);
  const uint64_t moved = Now().moved, mapped = Mapped();
  auto *grown = static_cast<char *>(hz4_large_resize(SpanOf(block), 5 * kMiB + 1));
  ASSERT_NE(grown, nullptr);
  EXPECT_NE(grown, block);
  EXPECT_EQ(SpanOf(block), nullptr);
  EXPECT_EQ(SpanOf(grown)->base, grown);
  EXPECT_GE(SpanOf(grown)->bytes, 5 * kMiB + 1);
  EXPECT_EQ(Now().moved, moved + 1);
  EXPECT_EQ(Mapped(), mapped - 2 * kMiB + SpanOf(grown)->bytes);
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
    const uint64_t mapped = Mapped();
    hz4_sys_fake.never_in_place = true;
    hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = n;
    EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
    ASSERT_NE(SpanOf(block), nullptr);
    EXPECT_EQ(SpanOf(block)->bytes, 2 * kMiB);
    EXPECT_EQ(block[0], 'a');
    EXPECT_EQ(block[2 * kMiB - 1], 'z');
    EXPECT_LE(Mapped(), mapped + 5 * kMiB);
    hz4_sys_fake_reset();
    hz4_sys_fake.never_in_place = true;
    hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;  // no place to move to
    EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
    EXPECT_EQ(block[2 * kMiB - 1], 'z');
    Free(block);
  }
}

// A block whose part the program has advised of (MADV_DONTFORK) is several mappings, which the system does not move. That
// is known before a target is mapped, or else each try would lose one: the caller copies.
TEST_F(Large, SeveralMappingsAreNotMoved) {
  char *block = Alloc(2 * kMiB);
  const uint64_t mapped = Mapped();
  hz4_sys_fake.several_mappings = true;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
  EXPECT_EQ(Mapped(), mapped);
  EXPECT_EQ(block[2 * kMiB - 1], 'z');
  Free(block);
}

// What was moved is its own island to the system: joined with others it could not be moved again.
TEST_F(Large, AMovedBlockJoinsNoOther) {
  char *block = Alloc(2 * kMiB), *other = Alloc(2 * kMiB);
  hz4_sys_fake.never_in_place = true;
  auto *moved = static_cast<char *>(hz4_large_resize(SpanOf(block), 3 * kMiB));
  ASSERT_NE(moved, nullptr);
  const uint64_t count = Now().moved;
  // Whatever lies beside it is free.
  char *others[] = {Alloc(2 * kMiB), Alloc(2 * kMiB)};
  for (char *one : others) Free(one);
  Free(other);
  auto *again = static_cast<char *>(hz4_large_resize(SpanOf(moved), 4 * kMiB));
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(Now().moved, count + 1);
  EXPECT_EQ(again[0], 'a');
  Free(again);
}

// Linux unmaps the target before it finds out that it cannot move. Then those addresses may belong to anybody: the fake
// aborts when hz4 unmaps them.
TEST_F(Large, TargetOfAFailedMoveIsNobodysToUnmap) {
  char *block = Alloc(2 * kMiB);
  hz4_sys_fake.never_in_place = true;
  hz4_sys_fake.failure_unmaps_to = true;
  hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 2;
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
  ASSERT_EQ(hz4_sys_fake.failures[HZ4_SYS_MREMAP], 1u);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped);
  EXPECT_EQ(block[0], 'a');
  EXPECT_EQ(block[2 * kMiB - 1], 'z');
  Free(block);
}

// As where a process has nearly all the mappings that it may have: then Linux moves nothing, and has unmapped nothing.
TEST_F(Large, MovesThatFailKeepNoAddresses) {
  char *block = Alloc(2 * kMiB);
  hz4_sys_fake.never_in_place = true;
  hz4_sys_fake.fail_every[HZ4_SYS_MREMAP] = 2;
  const uint64_t mapped = hz4_sys_fake.mapped_bytes;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(hz4_large_resize(SpanOf(block), 5 * kMiB), nullptr);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped);
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
    const uint64_t mapped = Mapped();
    EXPECT_EQ(Alloc(3 * kMiB), nullptr);
    EXPECT_EQ(Mapped(), mapped) << kind;
    hz4_large_check();
  }
  hz4_sys_fake_reset();
  Free(Alloc(3 * kMiB));
}

TEST_F(Large, WhatIsFreedDuringAForkWaits) {
  char *block = Alloc(500 * kKiB), *mapped = Alloc(2 * kMiB), *other = Alloc(2 * kMiB);
  Free(other);
  const uint64_t cached = Now().cached_bytes;
  hz4_large_fork(hz4_lock_fork_acquire);
  hz4_segment_fork(hz4_lock_fork_acquire);
  hz4_meta_fork_prepare();
  char *fresh = Alloc(2 * kMiB);
  EXPECT_NE(fresh, other) << "what is free is fork's";
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MUNMAP];
  Free(block);
  EXPECT_EQ(SpanOf(block), nullptr);
  Free(mapped);
  Free(fresh);
  EXPECT_FALSE(hz4_large_trim());
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MUNMAP], calls);
  hz4_meta_fork_parent();
  hz4_segment_fork(hz4_lock_fork_release);
  hz4_large_fork(hz4_lock_fork_release);
  EXPECT_EQ(Now().cached_bytes, cached + 4 * kMiB + 512 * kKiB) << "it came back";
}
TEST_F(Large, RandomBlocksUnderFailures) {
  std::mt19937_64 random(9);
  for (uint64_t n : {0, 1, 2, 3, 7}) {
    for (int call = 0; call < HZ4_SYS_CALLS; ++call) hz4_sys_fake.fail_every[call] = n;
    hz4_sys_fake.never_in_place = n % 2 == 1;
    std::vector<char *> blocks;
    for (int i = 0; i < 800; ++i) {
      const size_t bytes = (random() % 8 == 0 ? random() % (8 * kMiB) : random() % (2 * kMiB)) + 1;
      if (blocks.size() < 12 && random() % 2 == 0) {
        char *block = Alloc(bytes, HZ4_PAGE_BYTES << random() % 6);
        if (block != nullptr) blocks.push_back(block);
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
    if (n == 1) {
      EXPECT_EQ(Alloc(Now().cached_bytes + Now().retained_bytes + 1), nullptr) << "more than there is";
    }
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
