// segment over the hostile kernel: runs stay apart, dirt stays within its bound, and no failure loses a page.
#include "hz4/segment.h"

#include <gtest/gtest.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "hz4/meta.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kPage = HZ4_PAGE_BYTES, kMiB = static_cast<size_t>(1) << 20;
constexpr int kFreeMost = HZ4_RETAIN_BYTES / (HZ4_SEGMENT_PAGES_MAX * HZ4_PAGE_BYTES);

using Stats = struct hz4_segment_stats;

void Configure(size_t floor_bytes, unsigned share_shift) {
  hz4_option.dirty_kib = floor_bytes >> 10;
  hz4_option.dirty_shift = share_shift;
}

struct Taken {
  hz4_run run;
  size_t pages;
  unsigned char value;
};

class Segment : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    Configure(4 * kMiB, 3);
    ASSERT_EQ(Now().used_bytes, 0u);
  }
  void TearDown() override {
    hz4_sys_fake_reset();
    FreeAll();
    hz4_segment_purge(HZ4_SEGMENT_KEEP_NO_REFAULT);  // the next test has its own
    hz4_segment_purge(0);
    hz4_segment_check();
    hz4_meta_check();
    const Stats now = Now();
    EXPECT_EQ(now.used_bytes, 0u);
    EXPECT_EQ(now.dirty_bytes, 0u);
  }
  static Stats Now() {
    Stats stats;
    hz4_segment_stats(&stats);
    return stats;
  }

  // A run filled with a value of its own; false when there was none.
  bool Take(size_t pages, bool grow = true) {
    const hz4_run run = hz4_segment_alloc(pages, grow);
    if (run.base == nullptr) return false;
    hz4_unpoison(run.base, pages * kPage);
    EXPECT_TRUE(hz4_is_aligned(run.base, kPage));
    // Reserved: this must not fail, nor ask the system.
    const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
    hz4_pagemap_set(run.base, pages, reinterpret_cast<struct hz4_span *>(run.base), 0);
    EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], calls);
    EXPECT_TRUE(!run.zeroed || IsAll(run.base, 0, pages * kPage)) << "zeroed was a lie";
    const auto value = static_cast<unsigned char>(++serial_ | 1);
    memset(run.base, value, pages * kPage);
    live_.push_back({run, pages, value});
    return true;
  }
  // Gives back live_[index].
  void Free(size_t index) {
    std::swap(live_[index], live_.back());
    const Taken run = live_.back();
    live_.pop_back();
    EXPECT_TRUE(IsAll(run.run.base, run.value, run.pages * kPage)) << "somebody else wrote to this run";
    hz4_pagemap_set(run.run.base, run.pages, nullptr, 0);
    EXPECT_TRUE(hz4_segment_free(run.run.segment, run.run.base, run.pages, false));
  }
  void FreeAll() {
    while (!live_.empty()) Free(live_.size() - 1);
  }
  void TakeAllThereIs() {
    while (Take(HZ4_SEGMENT_PAGES_MAX, false)) continue;
    while (Take(1, false)) continue;
  }
  size_t UsedBytes() const {
    size_t pages = 0;
    for (const Taken &run : live_) pages += run.pages;
    return pages * kPage;
  }
  // One byte in each 4 KiB: all that memset wrote, and quick.
  static bool IsAll(const char *at, unsigned char value, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 4096) {
      if (static_cast<unsigned char>(at[i]) != value) return false;
    }
    return static_cast<unsigned char>(at[bytes - 1]) == value;
  }

  std::vector<Taken> live_;
  unsigned serial_ = 0;
};

TEST_F(Segment, EverySizeOfRun) {
  for (size_t pages = 1; pages <= HZ4_SEGMENT_PAGES_MAX; ++pages) {
    ASSERT_TRUE(Take(pages)) << pages;
    EXPECT_EQ(Now().used_bytes, UsedBytes());
    if (pages % 8 == 0) hz4_segment_check();
  }
  EXPECT_GE(Now().peak_used_bytes, UsedBytes());
}

TEST_F(Segment, FreshRunsAreZeroedAndUsedOnesSaySo) {
  ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX));
  char *base = live_[0].run.base;
  Free(0);
  ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX));
  EXPECT_EQ(live_[0].run.base, base) << "a dirty run of the size is there";
  EXPECT_FALSE(live_[0].run.zeroed);
}

// Neither a purge that worked, nor one that only said so, nor one that failed makes a run count as zeroed.
TEST_F(Segment, PurgedRunsAreNotTrusted) {
  ASSERT_TRUE(Take(5));
  TakeAllThereIs();
  for (int kind = 0; kind < 3; ++kind) {
    hz4_sys_fake.purge_keeps = kind == 1;
    hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = kind == 2;
    char *base = live_[0].run.base;
    Free(0);
    EXPECT_EQ(hz4_segment_purge(0), kind != 2);
    ASSERT_TRUE(Take(5, false));
    EXPECT_EQ(live_.back().run.base, base) << "the only place there is";
    EXPECT_FALSE(live_.back().run.zeroed);
    std::swap(live_[0], live_.back());
  }
}

TEST_F(Segment, DirtyPagesComeBeforeCleanOnes) {
  ASSERT_TRUE(Take(4));
  ASSERT_TRUE(Take(4));
  char *dirty = live_[0].run.base;
  Free(0);
  const uint64_t clean = Now().clean_bytes;
  ASSERT_TRUE(Take(3));
  EXPECT_GE(live_[1].run.base, dirty);
  EXPECT_LT(live_[1].run.base, dirty + 4 * kPage);
  EXPECT_EQ(Now().clean_bytes, clean);
}

TEST_F(Segment, WithoutGrowthOnlyWhatIsThere) {
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  TakeAllThereIs();
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], calls);
  EXPECT_EQ(Now().clean_bytes + Now().dirty_bytes, 0u) << "it left pages that it had";
  EXPECT_TRUE(Take(1, true));
}

TEST_F(Segment, DirtStaysWithinItsBound) {
  for (unsigned shift : {1u, 3u, 63u}) {
    for (size_t floor : {size_t{0}, kMiB, 3 * kMiB}) {
      Configure(floor, shift);
      for (int i = 0; i < 100; ++i) ASSERT_TRUE(Take(3));
      while (!live_.empty()) {
        Free(0);
        hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
        const size_t bound = floor + (shift < 63 ? UsedBytes() >> shift : 0);
        ASSERT_LE(Now().dirty_bytes, bound);
      }
      EXPECT_LE(Now().dirty_bytes, floor);
    }
  }
}

TEST_F(Segment, WithinTheBoundNothingIsPurged) {
  Configure(8 * kMiB, 63);
  ASSERT_TRUE(Take(64));
  Free(0);
  EXPECT_FALSE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], 0u);
  EXPECT_GE(Now().dirty_bytes, 64 * kPage);
  const uint64_t runs = Now().purged_runs;
  EXPECT_TRUE(hz4_segment_purge(0));
  EXPECT_GT(Now().purged_runs, runs);
  EXPECT_EQ(Now().dirty_bytes, 0u);
  EXPECT_FALSE(hz4_segment_purge(0)) << "there is nothing more to give";
}

// What swings faster than HZ4_REFAULT_MS goes back until it has swung often, and a quarter of what was ever in use has; then
// it is kept, until it has not swung for ten times as long.
TEST_F(Segment, WhatSwingsIsKept) {
  ASSERT_TRUE(Take(64) && Take(64));  // more than swings at first
  FreeAll();
  hz4_segment_purge(0);
  Configure(0, 63);
  hz4_sys_fake.now_ns = 1;
  const size_t peak = Now().peak_used_bytes;
  for (size_t swings = 0; swings < HZ4_THRASHING_SWINGS || swings * 64 * kPage <= peak / 4; ++swings) {
    EXPECT_EQ(Now().refaulted_bytes, 0u) << swings;
    ASSERT_TRUE(Take(64));
    FreeAll();
    EXPECT_TRUE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
  }
  ASSERT_TRUE(Take(64) && Take(16));
  EXPECT_EQ(Now().refaulted_bytes, 80 * kPage);
  FreeAll();
  EXPECT_FALSE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
  EXPECT_EQ(Now().dirty_bytes, 80 * kPage);
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE];
  for (int swing = 0; swing < 3; ++swing) {
    ASSERT_TRUE(Take(64) && Take(64));  // of which 48 pages are clean
    FreeAll();
    hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
  }
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], calls);
  for (size_t more = 0; more <= peak; more += 64 * kPage) {
    hz4_segment_purge(0);
    ASSERT_TRUE(Take(64));
    FreeAll();
  }
  EXPECT_EQ(Now().refaulted_bytes, Now().peak_used_bytes) << "no more is kept than was ever in use";
  EXPECT_TRUE(hz4_segment_purge(HZ4_SEGMENT_KEEP_NO_REFAULT));
  EXPECT_EQ(Now().dirty_bytes + Now().refaulted_bytes, 0u);
  ASSERT_TRUE(Take(64));
  FreeAll();
  EXPECT_FALSE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT)) << "more refaults";
  hz4_sys_fake.now_ns += hz4_option.refault_ms * 1000000 * HZ4_THRASHING_LASTS;
  EXPECT_TRUE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
  EXPECT_EQ(Now().dirty_bytes + Now().refaulted_bytes, 0u);
}

TEST_F(Segment, SinglePagesThatSwingAreKeptToo) {
  Configure(0, 63);
  hz4_sys_fake.now_ns = uint64_t{1} << 60;  // no other test's purge was lately
  for (size_t swings = 0; swings < HZ4_THRASHING_SWINGS || swings * kPage <= Now().peak_used_bytes / 4; ++swings) {
    ASSERT_TRUE(Take(1));
    ASSERT_EQ(Now().refaulted_bytes, 0u) << swings;
    FreeAll();
    ASSERT_TRUE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
  }
  ASSERT_TRUE(Take(1));
  EXPECT_EQ(Now().refaulted_bytes, kPage);
}

TEST_F(Segment, WhatSwingsSlowlyIsNotKept) {
  Configure(0, 63);
  hz4_sys_fake.now_ns = 1;
  for (int swing = 0; swing < 3; ++swing) {
    ASSERT_TRUE(Take(64));
    FreeAll();
    EXPECT_TRUE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
    EXPECT_EQ(Now().dirty_bytes + Now().refaulted_bytes, 0u);
    hz4_sys_fake.now_ns += hz4_option.refault_ms * 1000000;
  }
}

// What the program asks to be given back is no mistake of hz4's.
TEST_F(Segment, TrimIsNoRefault) {
  hz4_sys_fake.now_ns = 1;
  ASSERT_TRUE(Take(64));
  FreeAll();
  EXPECT_TRUE(hz4_segment_purge(0));
  ASSERT_TRUE(Take(64));
  EXPECT_EQ(Now().refaulted_bytes, 0u);
}

TEST_F(Segment, PurgeThatFailsEnds) {
  ASSERT_TRUE(Take(20));
  Free(0);
  hz4_sys_fake.fail_every[HZ4_SYS_PURGE] = 1;
  EXPECT_FALSE(hz4_segment_purge(0)) << "nothing went back";
  EXPECT_EQ(Now().dirty_bytes, 0u) << "it would be tried for ever";
  hz4_segment_check();
}

// Many runs go back by one call, and no more than HZ4_PURGE_BYTES; the rest with the calls that follow.
TEST_F(Segment, PurgesInBoundedBatches) {
  Configure(64 * kMiB, 63);
  while (UsedBytes() < 24 * kMiB) ASSERT_TRUE(Take(1));
  std::sort(live_.begin(), live_.end(), [](const Taken &a, const Taken &b) { return a.run.base < b.run.base; });
  for (size_t i = live_.size(); i-- > 0;) {
    if ((reinterpret_cast<uintptr_t>(live_[i].run.base) & kPage) != 0) Free(i);  // every other page: as many runs
  }
  const size_t dirty = Now().dirty_bytes;
  ASSERT_GE(dirty, 8 * kMiB);
  Configure(0, 63);
  for (size_t left = dirty, calls = 0; left != 0;) {
    EXPECT_TRUE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
    EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], ++calls);
    left -= std::min(left, HZ4_PURGE_RUNS * kPage);
    ASSERT_EQ(Now().dirty_bytes, left);
  }
  FreeAll();
  hz4_segment_purge(0);
  hz4_segment_unmap_free();
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX));
  FreeAll();
  EXPECT_TRUE(hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT));
  EXPECT_EQ(hz4_sys_fake.most_purged, HZ4_PURGE_BYTES);
  EXPECT_TRUE(hz4_segment_purge(0)) << "as much as it takes";
  EXPECT_EQ(Now().dirty_bytes, 0u);
  EXPECT_EQ(hz4_sys_fake.most_purged, HZ4_PURGE_BYTES);
}

// No lock is held while the kernel is at it, or this hangs; and what it works on is nobody's.
class SegmentInCall : public Segment {
 protected:
  static void Meddle(enum hz4_sys_call call, void *base, size_t bytes) {
    ++seen_[call];
    if (inside_) return;
    inside_ = true;
    std::thread(MeddleBeside, base, bytes).join();
    inside_ = false;
  }
  static void MeddleBeside(void *base, size_t bytes) {
    hz4_segment_check();
    const auto from = reinterpret_cast<uintptr_t>(base), to = from + bytes;  // of mmap it is a hint, which may be none
    for (size_t pages : {1, 5}) {
      if (!self_->Take(pages, false)) continue;
      const Taken &run = self_->live_.back();
      const auto taken = reinterpret_cast<uintptr_t>(run.run.base);
      EXPECT_TRUE(taken >= to || taken + run.pages * kPage <= from) << "it is the kernel's";
      if (pages == 5) self_->Free(self_->live_.size() - 1);
    }
    hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
    hz4_segment_check();
  }
  static SegmentInCall *self_;
  static bool inside_;
  static uint64_t seen_[HZ4_SYS_CALLS];
};
SegmentInCall *SegmentInCall::self_;
bool SegmentInCall::inside_;
uint64_t SegmentInCall::seen_[HZ4_SYS_CALLS];

TEST_F(SegmentInCall, OthersComeMeanwhile) {
  self_ = this;
  Configure(0, 63);
  TakeAllThereIs();
  hz4_sys_fake.in_call = Meddle;
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(Take(3));
  for (int i = 0; i < 50; ++i) {
    Free(0);
    hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
  }
  FreeAll();
  hz4_segment_purge(0);
  hz4_segment_unmap_free();
  hz4_sys_fake.in_call = nullptr;
  for (int call : {HZ4_SYS_MMAP, HZ4_SYS_MUNMAP, HZ4_SYS_PURGE}) EXPECT_GT(seen_[call], 0u) << call;
}

TEST_F(Segment, FreeSegmentsGoBackToTheSystem) {
  for (int i = 0; i < kFreeMost + 20; ++i) ASSERT_TRUE(Take(64));
  const Stats before = Now();
  FreeAll();
  hz4_segment_purge(0);
  const Stats after = Now();
  EXPECT_GT(after.released, before.released);
  EXPECT_LT(after.segments, before.segments);
  EXPECT_LE(after.clean_bytes, before.clean_bytes + kFreeMost * 4 * kMiB);
  EXPECT_EQ(after.acquired - after.released, after.segments);
}

TEST_F(Segment, SomeFreeSegmentsAreKept) {
  for (int i = 0; i < kFreeMost + 8; ++i) ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX));
  FreeAll();
  hz4_segment_purge(0);
  EXPECT_EQ(Now().segments, kFreeMost);
  EXPECT_TRUE(hz4_segment_unmap_free());
  EXPECT_EQ(Now().segments, 0u);
  EXPECT_FALSE(hz4_segment_unmap_free());
}

// A free segment is found behind others whose longest free run is as long as it is whole.
TEST_F(Segment, FreeSegmentsAreFoundAmongOthersOfTheirLength) {
  constexpr size_t kSmall = HZ4_SEGMENT_PAGES_MIN;
  hz4_segment_unmap_free();
  ASSERT_EQ(Now().segments, 0u);
  ASSERT_TRUE(Take(kSmall));  // the first segment: no larger than that
  ASSERT_EQ(Now().used_bytes + Now().clean_bytes, kSmall * kPage);
  const int others = 6;
  for (int i = 0; i < others; ++i) {
    ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX));
    Free(live_.size() - 1);
    ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX - kSmall));
  }
  Free(0);
  hz4_segment_purge(0);
  const uint64_t segments = Now().segments;
  EXPECT_TRUE(hz4_segment_unmap_free());
  EXPECT_EQ(Now().segments, segments - 1);
}

// The segment that has been dirty longest may have no run that is long enough: then the next by age is asked.
TEST_F(Segment, DirtOfYoungerSegmentsServesToo) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX));
  ASSERT_TRUE(Take(1));
  const char *next = live_[1].run.base;
  Free(3);  // the oldest dirt: one page
  Free(1);
  Free(1);
  const uint64_t dirty = Now().dirty_bytes;
  ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX / 2));
  EXPECT_EQ(Now().dirty_bytes, dirty - HZ4_SEGMENT_PAGES_MAX / 2 * kPage);
  EXPECT_GE(live_.back().run.base, next);
  EXPECT_LT(live_.back().run.base, next + HZ4_SEGMENT_PAGES_MAX * kPage);
}

// Only so many are asked: then clean pages are taken, though there is dirt that would do.
TEST_F(Segment, TheSearchForDirtEnds) {
  TakeAllThereIs();
  const size_t whole = live_.size();
  ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX));
  std::vector<size_t> singles;  // one of each of twelve segments
  for (hz4_segment *last = nullptr; singles.size() < 12; last = live_.back().run.segment) {
    ASSERT_TRUE(Take(1));
    if (live_.back().run.segment != last) singles.push_back(live_.size() - 1);
  }
  ASSERT_TRUE(Take(1));  // so that the last of them has no whole segment left
  // From the last on: so the others stay where they are in live_.
  for (; !singles.empty(); singles.pop_back()) Free(singles.back());
  Free(whole);
  const uint64_t dirty = Now().dirty_bytes;
  ASSERT_TRUE(Take(HZ4_SEGMENT_PAGES_MAX / 2));
  EXPECT_EQ(Now().dirty_bytes, dirty);
}

TEST_F(Segment, MunmapThatFailsKeepsTheSegmentUsable) {
  for (int i = 0; i < kFreeMost + 8; ++i) ASSERT_TRUE(Take(64));
  FreeAll();
  hz4_sys_fake.fail_every[HZ4_SYS_MUNMAP] = 1;
  const uint64_t segments = Now().segments;
  hz4_segment_purge(0);
  EXPECT_GT(hz4_sys_fake.failures[HZ4_SYS_MUNMAP], 0u);
  EXPECT_EQ(Now().segments, segments);
  hz4_segment_check();
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  for (int i = 0; i < 12; ++i) EXPECT_TRUE(Take(64)) << i;
}

TEST_F(Segment, SegmentsGrowWithTheHeap) {
  const Stats before = Now();
  size_t runs = 0;
  for (; runs < 4000 && Now().segments < before.segments + 8; ++runs) ASSERT_TRUE(Take(1));
  const uint64_t first = Now().acquired;
  for (; runs < 4000; ++runs) ASSERT_TRUE(Take(1));
  // From about 16 MiB on, segments have 64 pages.
  EXPECT_LE(Now().acquired - first, 4000 / 64 + 16);
  hz4_segment_check();
}

TEST_F(Segment, NoMemoryIsNullAndNothingBreaks) {
  TakeAllThereIs();
  const Stats before = Now();
  for (int kind = 0; kind < 2; ++kind) {
    if (kind == 0) hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
    else hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes + kPage / 2;
    EXPECT_FALSE(Take(1));
    EXPECT_FALSE(Take(64));
    hz4_segment_check();
    EXPECT_EQ(Now().segments, before.segments);
    EXPECT_EQ(Now().used_bytes, before.used_bytes);
    hz4_sys_fake_reset();
  }
  EXPECT_TRUE(Take(64));
}

TEST_F(Segment, LastBytesOfTheSystemServe) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(Take(64));  // a fresh segment would be 4 MiB now
  TakeAllThereIs();
  hz4_meta_free(hz4_meta_alloc(4096), 4096);  // so that a descriptor needs no mapping
  // More than three pages: aligning them takes one more meanwhile, and where they lie the page map may be new.
  hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes + 3 * kMiB;
  EXPECT_TRUE(Take(3)) << "a smaller segment would have fitted";
  EXPECT_EQ(Now().clean_bytes, 0u);
  EXPECT_FALSE(Take(HZ4_SEGMENT_PAGES_MAX));
}

TEST_F(Segment, AddressesBeyondThePageMapAreRefused) {
  TakeAllThereIs();
  hz4_meta_free(hz4_meta_alloc(4096), 4096);
  const uint64_t segments = Now().segments, mapped = hz4_sys_fake.mapped_bytes;
  hz4_sys_fake.high_bytes = 64 * kPage;
  EXPECT_FALSE(Take(64));
  EXPECT_EQ(Now().segments, segments);
  EXPECT_EQ(hz4_sys_fake.mapped_bytes, mapped) << "what was refused is still mapped";
  hz4_segment_check();
  hz4_sys_fake.high_bytes = 0;
  EXPECT_TRUE(Take(64));
}

TEST_F(Segment, RandomRuns) {
  for (bool odd : {false, true}) {
    std::mt19937_64 random(4);
    hz4_sys_fake.odd_places = odd;
    Configure(kMiB, 4);
    for (int i = 0; i < 3000; ++i) {
      if (UsedBytes() < 24 * kMiB && random() % 5 < (i / 500 % 2 == 0 ? 4 : 2)) {
        const size_t pages = random() % 10 == 0 ? random() % 64 + 1 : random() % 6 + 1;
        ASSERT_TRUE(Take(pages));
      } else if (!live_.empty()) {
        Free(random() % live_.size());
        if (random() % 4 == 0) hz4_segment_purge(random() % 16 == 0 ? 0 : HZ4_SEGMENT_KEEP_LIMIT);
      }
      ASSERT_EQ(Now().used_bytes, UsedBytes());
      if (i % 50 == 0) hz4_segment_check();
    }
    FreeAll();
  }
}

TEST_F(Segment, RandomRunsWithFailures) {
  std::mt19937_64 random(5);
  Configure(0, 63);
  for (uint64_t n = 1; n <= 7; ++n) {
    hz4_sys_fake_reset();
    hz4_segment_unmap_free();
    ASSERT_TRUE(Take(64));  // all that there is if nothing else can be had
    for (int call = 0; call < HZ4_SYS_CALLS; ++call) hz4_sys_fake.fail_every[call] = n;
    size_t refused = 0;
    for (int i = 0; i < 250; ++i) {
      if (UsedBytes() < 16 * kMiB && random() % 5 < 3) {
        refused += !Take(random() % 64 + 1);
      } else if (!live_.empty()) {
        Free(random() % live_.size());
        hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
      }
      ASSERT_EQ(Now().used_bytes, UsedBytes());
      if (i % 20 == 0) hz4_segment_check();
    }
    EXPECT_GT(hz4_sys_fake.failures[HZ4_SYS_PURGE], 0u);
    EXPECT_TRUE(n > 1 || refused > 0);
    FreeAll();
    hz4_segment_check();
  }
}

TEST_F(Segment, ThreadsShareIt) {
  Configure(kMiB, 4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([t] {
      std::mt19937_64 random(t);
      std::vector<Taken> mine;
      for (int i = 0; i < 2000; ++i) {
        if (mine.size() < 20 && random() % 2 == 0) {
          const size_t pages = random() % 8 + 1;
          const hz4_run run = hz4_segment_alloc(pages, true);
          ASSERT_NE(run.base, nullptr);
          hz4_unpoison(run.base, pages * kPage);
          ASSERT_TRUE(!run.zeroed || IsAll(run.base, 0, pages * kPage));
          for (size_t at = 0; at < pages * kPage; at += 4096) run.base[at] = static_cast<char>(t + 1);
          run.base[pages * kPage - 1] = static_cast<char>(t + 1);
          mine.push_back({run, pages, static_cast<unsigned char>(t + 1)});
        } else if (!mine.empty()) {
          const Taken run = mine.back();
          mine.pop_back();
          ASSERT_TRUE(IsAll(run.run.base, run.value, run.pages * kPage));
          ASSERT_TRUE(hz4_segment_free(run.run.segment, run.run.base, run.pages, false));
          hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
        }
        if (i % 500 == 0) hz4_segment_check();
      }
      for (const Taken &run : mine) ASSERT_TRUE(hz4_segment_free(run.run.segment, run.run.base, run.pages, false));
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(Now().used_bytes, 0u);
}

TEST_F(Segment, ForkGateGivesUp) {
  ASSERT_TRUE(Take(2));
  const Taken held = live_[0];
  hz4_segment_fork(hz4_lock_fork_acquire);
  EXPECT_EQ(hz4_segment_alloc(1, true).base, nullptr);
  EXPECT_FALSE(hz4_segment_free(held.run.segment, held.run.base, held.pages, false));
  EXPECT_FALSE(hz4_segment_purge(0));
  hz4_segment_fork(hz4_lock_fork_release);
  EXPECT_EQ(Now().used_bytes, 2 * kPage) << "what fork refused has changed nothing";
  EXPECT_TRUE(Take(1));
  hz4_segment_fork(hz4_lock_fork_acquire);
  hz4_segment_fork(hz4_lock_fork_reset);
  EXPECT_TRUE(Take(1));
}

}  // namespace
