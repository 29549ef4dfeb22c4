// Guards, and what lies between them: large blocks, spans of a segment, metadata; over the hostile kernel, whose memory is
// real: whether a byte can be touched the kernel itself is asked.
#include "hz4/guard.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <vector>

#include "hz4/guarded.h"
#include "hz4/large.h"
#include "hz4/meta.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/segment.h"
#include "hz4/span.h"
#include "hz4/test/regions.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr int kErrno = 4321;  // no call sets it

// Whether the kernel can read it.
bool CanTouch(const void *at) {
  int saved = errno, ends[2];
  EXPECT_EQ(pipe(ends), 0);
  bool can = write(ends[1], at, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  errno = saved;
  return can;
}

struct hz4_span *SpanOf(const void *block) { return hz4_pagemap_span(block); }

char *Alloc(size_t bytes, size_t align = 16) {
  bool zeroed = false;
  auto *block = static_cast<char *>(hz4_large_alloc(bytes, align, &zeroed));
  EXPECT_TRUE(block == nullptr || zeroed);
  return block;
}

void Free(char *block) { hz4_large_free(SpanOf(block)); }

size_t Mapped() { return hz4_sys_fake.mapped_bytes; }

// Where the system notes no guards each is a mapping, and of these there are so many. In a program of its own, for the system
// is asked once.
const char *ManyGuardsThatAreMappings(bool vain) {
  if (hz4_guards) return "it has begun";
  (vain ? hz4_sys_fake.vain_guards : hz4_sys_fake.no_guards) = true;
  hz4_guard_begin();
  std::vector<char *> blocks;
  for (int i = 0; i < HZ4_GUARDS_MAX / 2 + 100; ++i) blocks.push_back(Alloc(kMiB));
  if (hz4_sys_fake.forbidden > HZ4_GUARDS_MAX) return "more than the bound";
  if (hz4_sys_fake.forbidden < HZ4_GUARDS_MAX - 100) return "fewer than the bound";
  if (CanTouch(blocks[0] + kMiB)) return "no guard";
  for (char *block : blocks) Free(block);
  hz4_large_trim();
  hz4_sys_fake.forbidden = 0;
  char *block = Alloc(kMiB);
  if (hz4_sys_fake.forbidden != 2 || CanTouch(block + kMiB)) return "those that are gone count still";
  return nullptr;
}

TEST(GuardBound, GuardsThatAreMappingsAreBounded) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";  // begins anew
  auto in_child = [](bool vain) {
    const char *wrong = ManyGuardsThatAreMappings(vain);
    if (wrong != nullptr) fprintf(stderr, "%s\n", wrong);
    _exit(wrong != nullptr);
  };
  EXPECT_EXIT(in_child(false), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(in_child(true), testing::ExitedWithCode(0), "");
  testing::FLAGS_gtest_death_test_style = "fast";
}

class Guard : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!hz4_guards) hz4_guard_begin();
    ASSERT_TRUE(hz4_guards);
    ASSERT_TRUE(hz4_test::ReserveRegions());
  }
  void SetUp() override {
    hz4_sys_fake_reset();
    Free(Alloc(kMiB));  // the first descriptor
    hz4_large_trim();
    errno = kErrno;
    mapped_before_ = Mapped();
  }
  void TearDown() override {
    EXPECT_EQ(errno, kErrno);
    hz4_sys_fake_reset();
    hz4_large_trim();
    hz4_large_check();
    hz4_segment_check();
    hz4_meta_check();
    struct hz4_large_stats large;
    hz4_large_stats(&large);
    EXPECT_EQ(large.live_mapped_bytes, 0u);
    EXPECT_EQ(large.allocs, large.frees);
    struct hz4_os_stats os;
    hz4_os_stats(&os);
    EXPECT_EQ(os.mapped_bytes, Mapped());
  }
  size_t MappedHere() const { return Mapped() - mapped_before_; }

  size_t mapped_before_ = 0;
};

TEST_F(Guard, ABlockEndsWhereItsGuardBegins) {
  const size_t page = hz4_sys_page_bytes();
  for (size_t align = 16; align <= 4 * kMiB; align *= 2) {
    for (size_t bytes : {size_t{1}, 256 * kKiB + 1, 600000 * size_t{1}, kMiB, 3 * kMiB + 4097}) {
      char *block = Alloc(bytes, align);
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(hz4_is_aligned(block, align));
      const size_t usable = SpanOf(block)->bytes;
      EXPECT_EQ(usable, hz4_round_up(bytes, std::min(align, page))) << "there is more room than alignment needs";
      EXPECT_TRUE(hz4_large_may_hold(SpanOf(block), bytes));
      for (size_t at = 0; at < usable; at += 512) ASSERT_EQ(block[at], 0);
      memset(block, 'x', usable);
      EXPECT_FALSE(CanTouch(block + usable));
      char *body = block - reinterpret_cast<uintptr_t>(block) % page;
      EXPECT_FALSE(CanTouch(body - 1));
      EXPECT_FALSE(CanTouch(body - align));
      Free(block);
      EXPECT_FALSE(CanTouch(block));
      EXPECT_EQ(SpanOf(block), nullptr);
    }
  }
}

TEST_F(Guard, WhatWasFreedIsInaccessibleForAWhile) {
  std::vector<char *> freed;
  for (int i = 0; i < 2 * HZ4_QUARANTINE_BLOCKS; ++i) {
    char *block = Alloc(300 * kKiB);
    auto lately = freed.end() - std::min<ptrdiff_t>(i, HZ4_QUARANTINE_BLOCKS);
    EXPECT_EQ(std::count(lately, freed.end(), block), 0) << "it is somebody's again";
    memset(block, 'x', 300 * kKiB);
    Free(block);
    freed.push_back(block);
    EXPECT_FALSE(CanTouch(freed[std::max(0, i - HZ4_QUARANTINE_BLOCKS + 1)]));
  }
  EXPECT_EQ(MappedHere(), HZ4_QUARANTINE_BLOCKS * hz4_round_up(308 * kKiB, HZ4_PAGE_BYTES)) << "not the newest alone";
  EXPECT_TRUE(hz4_large_trim());
  EXPECT_EQ(MappedHere(), 0u);
  EXPECT_FALSE(hz4_large_trim());
}

TEST_F(Guard, TheQuarantineIsBounded) {
  for (int i = 0; i < 20; ++i) Free(Alloc(HZ4_QUARANTINE_BYTES / 8));
  EXPECT_LE(MappedHere(), HZ4_QUARANTINE_BYTES);
  EXPECT_GT(MappedHere(), HZ4_QUARANTINE_BYTES / 2);
  hz4_large_trim();
  Free(Alloc(HZ4_QUARANTINE_BYTES));
  EXPECT_EQ(MappedHere(), 0u) << "one that fills it all by itself is not kept";
}

TEST_F(Guard, ABlockMovesWhenItGrows) {
  for (size_t bytes : {300 * kKiB, 300 * kKiB + 16, 600000 * size_t{1}}) {
    char *block = Alloc(bytes);
    for (size_t i = 0; i < bytes; ++i) block[i] = static_cast<char>(i * 7);
    for (size_t to = bytes + 16; to < 3 * kMiB; to += to / 3) {
      char *old = block;
      block = static_cast<char *>(hz4_large_resize(SpanOf(block), to));
      ASSERT_NE(block, nullptr);
      EXPECT_NE(block, old);
      EXPECT_FALSE(CanTouch(old));
      EXPECT_EQ(SpanOf(old), nullptr);
      struct hz4_span *span = SpanOf(block);
      ASSERT_EQ(span->base, block);
      EXPECT_GE(span->bytes, to);
      EXPECT_LT(span->bytes, to + hz4_sys_page_bytes());
      EXPECT_FALSE(CanTouch(block + span->bytes));
      EXPECT_FALSE(CanTouch(block - reinterpret_cast<uintptr_t>(block) % hz4_sys_page_bytes() - 1));
      for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(block[i], static_cast<char>(i * 7));
      for (size_t i = bytes; i < span->bytes; i += 256) ASSERT_EQ(block[i], 0);
      memset(block + bytes, 0, span->bytes - bytes);
    }
    Free(block);
    hz4_large_trim();
    EXPECT_EQ(MappedHere(), 0u) << "the old guards stayed";
  }
}

TEST_F(Guard, ABlockStaysWhereItShrinksALittle) {
  char *block = Alloc(kMiB);
  EXPECT_EQ(hz4_large_resize(SpanOf(block), kMiB / 2 + 1), block);
  EXPECT_EQ(hz4_large_resize(SpanOf(block), kMiB / 2), nullptr) << "to be copied";
  Free(block);
}

TEST_F(Guard, NoMemory) {
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  EXPECT_EQ(Alloc(kMiB), nullptr);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  EXPECT_EQ(Alloc(PTRDIFF_MAX - 100, kMiB), nullptr) << "it overflows";
  char *block = Alloc(kMiB);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 2 * kMiB), nullptr);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  hz4_sys_fake.several_mappings = true;
  EXPECT_EQ(hz4_large_resize(SpanOf(block), 2 * kMiB), nullptr);
  hz4_sys_fake.several_mappings = false;
  EXPECT_EQ(SpanOf(block)->base, block);
  memset(block, 'x', kMiB);
  Free(block);
  hz4_sys_fake_reset();
}

TEST_F(Guard, WhatCannotBeMadeInaccessibleIsUnmapped) {
  hz4_sys_fake.no_forbidding = true;
  char *block = Alloc(kMiB);
  Free(block);
  EXPECT_EQ(MappedHere(), 0u);
  hz4_sys_fake.no_forbidding = false;
  hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = 1;  // as of locked memory
  block = Alloc(kMiB);
  Free(block);
  EXPECT_EQ(MappedHere(), 0u);
}

TEST_F(Guard, WithoutGuardsThereAreBlocksNevertheless) {
  hz4_sys_fake.no_guards = true;
  char *block = Alloc(kMiB);
  memset(block, 'x', kMiB);
  Free(block);
  EXPECT_FALSE(CanTouch(block));
}

TEST_F(Guard, GuardsStandBetweenRunsOfPages) {
  hz4_option.dirty_shift = 3;
  struct Run {
    hz4_run run;
    size_t pages;
  };
  std::vector<Run> runs;
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const size_t pages = i % 10 == 0 ? 16 : i % 3 + 1;
    const hz4_run run = hz4_segment_alloc(pages, true);
    ASSERT_NE(run.base, nullptr);
    hz4_unpoison(run.base, pages * HZ4_PAGE_BYTES);
    memset(run.base, 'x', pages * HZ4_PAGE_BYTES);
    runs.push_back({run, pages});
  }
  hz4_segment_check();
  size_t before_guards = 0;
  for (const Run &it : runs) before_guards += !CanTouch(it.run.base + it.pages * HZ4_PAGE_BYTES);
  EXPECT_GT(before_guards, runs.size() / 10);
  EXPECT_LT(before_guards, runs.size());
  struct hz4_segment_stats stats;
  hz4_segment_stats(&stats);
  EXPECT_GE(stats.segments, 2u);
  std::shuffle(runs.begin(), runs.end(), random);
  for (const Run &it : runs) {
    hz4_poison(it.run.base, it.pages * HZ4_PAGE_BYTES);
    ASSERT_TRUE(hz4_segment_free(it.run.segment, it.run.base, it.pages, false));
    hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
  }
  hz4_segment_purge(0);
  hz4_segment_check();
  EXPECT_TRUE(hz4_segment_unmap_free());
  hz4_segment_stats(&stats);
  EXPECT_EQ(stats.segments, 0u) << "a segment with guards counts as used";
  EXPECT_EQ(stats.used_bytes + stats.dirty_bytes + stats.clean_bytes, 0u);
}

// Any number of pages fits in the segment that is mapped for it.
TEST_F(Guard, ARunAlwaysFits) {
  for (int round = 0; round < 20; ++round) {
    for (size_t pages = 1; pages <= HZ4_SEGMENT_PAGES_MAX; ++pages) {
      const hz4_run run = hz4_segment_alloc(pages, true);
      ASSERT_NE(run.base, nullptr);
      EXPECT_TRUE(CanTouch(run.base));
      EXPECT_TRUE(CanTouch(run.base + pages * HZ4_PAGE_BYTES - 1));
      ASSERT_TRUE(hz4_segment_free(run.segment, run.base, pages, false));
      hz4_segment_purge(0);
      hz4_segment_unmap_free();
    }
  }
}

TEST_F(Guard, MetadataLiesApart) {
  const size_t page = hz4_sys_page_bytes();
  std::vector<char *> places;
  for (int i = 0; i < 8; ++i) {
    auto *at = static_cast<char *>(hz4_guard_map(4 * page));
    ASSERT_NE(at, nullptr);
    memset(at, 'x', 4 * page);
    EXPECT_FALSE(CanTouch(at - 1));
    EXPECT_FALSE(CanTouch(at + 4 * page));
    places.push_back(at);
  }
  EXPECT_EQ(MappedHere(), 8 * 6 * page);
  std::sort(places.begin(), places.end());
  for (size_t i = 1; i < places.size(); ++i) EXPECT_GT(places[i] - places[i - 1], static_cast<ptrdiff_t>(kMiB));
  for (char *at : places) EXPECT_TRUE(hz4_guard_unmap(at, 4 * page));
  EXPECT_EQ(MappedHere(), 0u);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  EXPECT_EQ(hz4_guard_map(page), nullptr);
}

}  // namespace
