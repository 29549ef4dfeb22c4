// What malloc decides itself, over the kernel that is a fake: what it asks of the system, when it tries again, and that
// hz4_check comes to every module.
#include "hz4/alloc.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/span.h"
#include "hz4/test/memory.h"
#include "hz4/test/sys_fake.h"

namespace {

using hz4_test::kSanitized;

uint64_t SystemCalls() {
  uint64_t calls = 0;
  for (auto &count : hz4_sys_fake.calls) calls += count;
  return calls;
}

std::vector<void *> MallocBytes(size_t size, size_t bytes) {
  std::vector<void *> blocks;
  for (size_t i = 0; i < bytes; i += size) blocks.push_back(hz4_malloc(size));
  return blocks;
}

void FreeAll(const std::vector<void *> &blocks) {
  for (void *block : blocks) hz4_free(block);
}

class Alloc : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    hz4_malloc_trim(0);
  }
  void TearDown() override {
    hz4_sys_fake_reset();
    hz4_check();
  }
};

// Refused by their size alone: neither is the system asked, nor are the caches emptied for it.
TEST_F(Alloc, HopelessSizesCostNothing) {
  void *block = hz4_malloc(100), *large = hz4_malloc(3 << 20);
  hz4_free(hz4_malloc(3 << 20));
  const uint64_t calls = SystemCalls();
  const size_t sizes[] = {size_t{PTRDIFF_MAX} + 1, SIZE_MAX - (64 << 10), SIZE_MAX};
  for (size_t size : sizes) {
    const std::function<void *()> ways[] = {
        [=] { return hz4_malloc(size); },
        [=] { return hz4_calloc(1, size); },
        [=] { return hz4_calloc(size / 2 + 1, 2); },
        [=] { return hz4_realloc(nullptr, size); },
        [=] { return hz4_realloc(block, size); },
        [=] { return hz4_realloc(large, size); },
        [=] { return hz4_aligned_alloc(8, size); },
        [=] { return hz4_aligned_alloc(4096, size); },
        [=] { return hz4_aligned_alloc(size_t{1} << 63, 1); },
        [=] { return hz4_valloc(size); },
        [=] { return hz4_pvalloc(size); },
    };
    for (const auto &way : ways) {
      errno = 0;
      EXPECT_EQ(way(), nullptr);
      EXPECT_EQ(errno, ENOMEM);
    }
  }
  EXPECT_EQ(SystemCalls(), calls);
  EXPECT_EQ(hz4_malloc(PTRDIFF_MAX), nullptr);
  EXPECT_GT(SystemCalls(), calls) << "the largest size that there is, which it is for the system to refuse";
  hz4_free(block);
  hz4_free(large);
}

TEST_F(Alloc, FreshMemoryComesByTheCache) {
  const uint64_t directly = hz4_stats_get("direct_malloc"), opened = hz4_stats_get("span_opened");
  FreeAll(MallocBytes(1024, 8 << 20));
  EXPECT_GT(hz4_stats_get("span_opened"), opened);
  EXPECT_EQ(hz4_stats_get("direct_malloc"), directly);
}

// A thread without a cache opens spans too.
TEST_F(Alloc, SpansThatAreOpenedDirectlyAreCounted) {
  const uint64_t directly = hz4_stats_get("direct_malloc"), opened = hz4_stats_get("span_opened");
  std::thread([] {
    hz4_front.lent = true;
    FreeAll(MallocBytes(8192, 1 << 20));
  }).join();
  EXPECT_EQ(hz4_stats_get("direct_malloc") - directly, (1u << 20) / 8192);
  EXPECT_GT(hz4_stats_get("span_opened"), opened);
}

// The largest power of two is an alignment that cannot be had; beyond it there is none.
TEST_F(Alloc, AlignmentsAtTheEndOfTheAddresses) {
  const size_t top = size_t{1} << 63;
  const uint64_t calls = SystemCalls();
  for (const auto &[align, error] : {std::pair<size_t, int>{top - 1, ENOMEM}, {top, ENOMEM}, {top + 1, EINVAL}}) {
    errno = 0;
    EXPECT_EQ(hz4_memalign(align, 1), nullptr);
    EXPECT_EQ(errno, error) << align;
  }
  EXPECT_EQ(hz4_pvalloc(top - static_cast<size_t>(sysconf(_SC_PAGESIZE))), nullptr);
  EXPECT_EQ(SystemCalls(), calls);
}

TEST_F(Alloc, WhatCachesKeepIsGivenUpForOneMoreTry) {
  FreeAll(MallocBytes(1024, 32 << 20));
  hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes.load();
  void *large = hz4_malloc(8 << 20);
  EXPECT_NE(large, nullptr);
  hz4_free(large);
}

std::atomic<size_t> purged;

void CountPurged(enum hz4_sys_call call, void *, size_t bytes) {
  if (call == HZ4_SYS_PURGE) purged += bytes;
}

// Whatever a decline empties: inside spans, and of pages; the rest goes with later calls.
TEST_F(Alloc, AFreePurgesABoundedPart) {
  std::vector<void *> blocks = MallocBytes(1000, size_t{128} << 20);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(1));
  hz4_sys_fake.in_call = CountPurged;
  size_t all = 0;
  for (void *block : blocks) {
    purged = 0;
    hz4_free(block);
    all += purged;
    ASSERT_LE(purged, 2 * (HZ4_PURGE_BYTES + HZ4_PAGE_BYTES));
  }
  EXPECT_GT(all, size_t{64} << 20);
}

// There is one more try, not more: where a trim brought nothing, the next one would not either.
TEST_F(Alloc, ThereIsOneMoreTryOnly) {
  void *block = hz4_malloc(100);
  hz4_malloc_trim(0);
  hz4_sys_fake.limit_bytes = hz4_sys_fake.mapped_bytes.load();
  const uint64_t calls = SystemCalls();
  EXPECT_EQ(hz4_malloc(size_t{8} << 20), nullptr);
  EXPECT_LE(SystemCalls() - calls, 8u);
  hz4_free(block);
}

TEST_F(Alloc, TrimSaysWhetherSomethingWentBack) {
  FreeAll(MallocBytes(256 << 10, 8 << 20));
  struct hz4_segment_stats stats;
  hz4_segment_stats(&stats);
  ASSERT_GT(stats.dirty_bytes, size_t{1} << 20);
  EXPECT_EQ(hz4_malloc_trim(1 << 20), 1) << "dirty pages beyond the pad";
  hz4_segment_stats(&stats);
  EXPECT_LE(stats.dirty_bytes, size_t{1} << 20);
  EXPECT_EQ(hz4_malloc_trim(1 << 20), 0);
  hz4_malloc_trim(0);
  EXPECT_EQ(hz4_malloc_trim(0), 0);
  hz4_free(hz4_malloc(3 << 20));
  EXPECT_EQ(hz4_malloc_trim(1 << 20), 1) << "a freed large block";
}

// A block stays where it is until half of it would be wasted.
TEST_F(Alloc, ReallocMovesAtHalfOfTheSize) {
  for (size_t size : {size_t{1024}, size_t{256} << 10, size_t{1} << 20, size_t{8} << 20}) {
    void *block = hz4_malloc(size);
    ASSERT_EQ(hz4_malloc_usable_size(block), size);
    EXPECT_EQ(hz4_realloc(block, size), block);
    EXPECT_EQ(hz4_realloc(block, size / 2 + 1), block);
    EXPECT_EQ(hz4_malloc_usable_size(block), size);
    void *half = hz4_realloc(block, size / 2);
    EXPECT_EQ(hz4_malloc_usable_size(half), size / 2);
    hz4_free(half);
  }
}

// Behind its last object a span may have room for nothing.
TEST_F(Alloc, TheEndOfASpanIsNoObject) {
  uint32_t c = HZ4_CLASS_COUNT;
  const auto end = [&c] { return size_t{hz4_class_table[c].span_objects} * hz4_class_bytes(c); };
  while (end() == hz4_class_table[c].span_pages * HZ4_PAGE_BYTES) --c;
  void *block = hz4_malloc(hz4_class_bytes(c));
  char *behind = hz4_pagemap_span(block)->base + end();
  EXPECT_DEATH(hz4_malloc_usable_size(behind), "hz4: malloc_usable_size of a pointer that is not allocated");
  hz4_free(block);
}

// In a span of more pages than one, objects are counted from the span's beginning and not from the page's.
TEST_F(Alloc, AMultipleOfTheSizeFromAPagesBeginningIsNoObject) {
  for (uint32_t c = 1, pages = 1; c <= HZ4_CLASS_COUNT; ++c) {
    const size_t bytes = hz4_class_bytes(c);
    if (hz4_class_table[c].span_pages <= pages || HZ4_PAGE_BYTES % bytes == 0) continue;
    pages = hz4_class_table[c].span_pages;
    void *block = hz4_malloc(bytes);
    char *second = hz4_pagemap_span(block)->base + HZ4_PAGE_BYTES;
    EXPECT_DEATH(hz4_malloc_usable_size(second), "hz4: malloc_usable_size of a pointer that is not allocated") << bytes;
    hz4_free(block);
  }
}

// The page map's class does not tell them apart.
TEST_F(Alloc, BitsBeyondAddressesAreNoneOfAnObject) {
  char *block = static_cast<char *>(hz4_malloc(100));
  void *high = reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(block) | uintptr_t{1} << 56);
  EXPECT_DEATH(hz4_malloc_usable_size(high), "hz4: malloc_usable_size of a pointer that is not allocated");
  EXPECT_DEATH(hz4_realloc(high, 1000), "hz4: realloc of a pointer that is not allocated");
  // (ASan's own check ends with a fault at such an address; ThreadSanitizer, which is told of what is freed, in no time.)
  if (!kSanitized || HZ4_POISON) {
    EXPECT_DEATH((hz4_free(high), hz4_malloc_trim(0)), HZ4_POISON ? "" : "hz4: free of a pointer that is not allocated");
  }
  hz4_free(block);
}

// Memory of a page run that was used before is not zero, and calloc does not take it for that.
TEST_F(Alloc, CallocClearsWhatIsNotFresh) {
  constexpr size_t kSize = 600 << 10;
  auto *first = static_cast<unsigned char *>(hz4_malloc(kSize));
  for (size_t i = 0; i < kSize; i += 64) first[i] = 0xff;
  hz4_free(first);
  auto *second = static_cast<unsigned char *>(hz4_calloc(1, kSize));
  EXPECT_EQ(second, first) << "else this test shows nothing";
  size_t dirty = 0;
  for (size_t i = 0; i < kSize; i += 64) dirty += second[i] != 0;
  EXPECT_EQ(dirty, 0u);
  hz4_free(second);
}

// ---- hz4_check ----

// The bin of the cache that this thread is at, with an object; the thread stays there.
hz4_bin *BinHere(uint32_t c) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(sched_getcpu(), &set);
  sched_setaffinity(0, sizeof set, &set);
  hz4_free(hz4_malloc(hz4_class_bytes(c)));
  return &hz4_cache_here()->bins[c];
}

// What a handler of SIGABRT may do, though hz4 is broken: come to every lock. Who waits there does so until the alarm.
void GoOn(int) {
  alarm(60);
  hz4_stats_get("heap_spans");
  hz4_free(hz4_malloc(700 << 10));
  if (write(STDERR_FILENO, "went on\n", 8) == 8) _exit(1);
}

// The report holds no lock.
#define EXPECT_FOUND(statement, what) EXPECT_DEATH((signal(SIGABRT, GoOn), statement), "hz4: " what "\nwent on\n")

// One broken invariant for each module; the child that breaks it dies.
TEST(AllocCheck, FindsWhatIsBroken) {
  void *block = hz4_malloc(100), *large = hz4_malloc(3 << 20);
  struct hz4_span *span = hz4_pagemap_span(block);
  hz4_check();
  const uint32_t c = static_cast<uint32_t>(hz4_pagemap_class(block));
  EXPECT_FOUND((BinHere(c)->slots[1] = large, hz4_check()), "bin: an object of another class");
  EXPECT_FOUND((BinHere(c)->slots[0] = block, hz4_check()), "bin: no NULL below");
  EXPECT_FOUND((BinHere(c)->capacity = 0, hz4_check()), "bin: it overflows");
  EXPECT_FOUND((BinHere(c)->slots = nullptr, hz4_check()), "bin: no array, yet not empty");
  EXPECT_FOUND((++span->free_count, hz4_check()), "span: free_count differs from the bitmap");
  for (size_t size : {size_t{1}, HZ4_CLASS_MAX_BYTES}) {  // the first and the last class
    void *object = hz4_malloc(size);
    struct hz4_span *other = hz4_pagemap_span(object);
    EXPECT_FOUND((++other->free_count, hz4_check()), "span: free_count differs from the bitmap") << size;
    hz4_free(object);
  }
  EXPECT_FOUND((++span->size_class, hz4_check()), "mid: a span of another class");
  EXPECT_FOUND((++span->bucket, hz4_check()), "mid: a span is in the wrong bucket");
  EXPECT_FOUND((++span->first_word, hz4_check()), "span: a free object lies before first_word");
  EXPECT_FOUND((hz4_pagemap_set(span->base, 1, nullptr, c), hz4_check()), "mid: a span is not in the page map");
  EXPECT_FOUND(
      [&] {
        struct hz4_span *mapping = hz4_pagemap_span(large);
        hz4_free(large);
        hz4_pagemap_set(large, 1, mapping, 0);
        hz4_check();
      }(),
      "large: a free range is in the page map");
  hz4_free(block);
  hz4_free(large);
}

}  // namespace
