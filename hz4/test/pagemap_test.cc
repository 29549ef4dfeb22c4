// pagemap against a shadow map. It never looks at the memory it maps, so any address will do: these are made up.
#include "hz4/pagemap.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "hz4/span.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kPage = HZ4_PAGE_BYTES;
constexpr uintptr_t kRegion = HZ4_PAGEMAP_REGION_PAGES * kPage;
constexpr uintptr_t kEnd = static_cast<uintptr_t>(1) << HZ4_ADDRESS_BITS;

const void *At(uintptr_t address) { return reinterpret_cast<const void *>(address); }
hz4_span *Span(size_t number) { return reinterpret_cast<hz4_span *>(number * sizeof(void *)); }

class Pagemap : public testing::Test {
 protected:
  void SetUp() override { hz4_sys_fake_reset(); }
  void TearDown() override { hz4_sys_fake_reset(); }
  // Regions that no other test uses.
  static uintptr_t FreshRegions(size_t count) {
    static uintptr_t next = kRegion;
    const uintptr_t start = next;
    next += count * kRegion;
    return start;
  }
  static void ExpectNothing(uintptr_t address) {
    EXPECT_EQ(hz4_pagemap_class(At(address)), 0u) << std::hex << address;
    EXPECT_EQ(hz4_pagemap_span(At(address)), nullptr) << std::hex << address;
  }
};

TEST_F(Pagemap, AddressesThatAreNotOursHaveNoClassAndNoSpan) {
  const uintptr_t region = FreshRegions(1);
  for (uintptr_t address : {uintptr_t{0}, uintptr_t{1}, kPage, region, region + kRegion - 1, kEnd - 1, kEnd, kEnd + kPage,
                            uintptr_t{1} << 56, UINTPTR_MAX - kPage, UINTPTR_MAX}) {
    ExpectNothing(address);
  }
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], 0u) << "looking up costs no memory";
}

// The class is found without them, the span is not.
TEST_F(Pagemap, BitsBeyondAddresses) {
  const uintptr_t base = FreshRegions(1);
  ASSERT_TRUE(hz4_pagemap_reserve(At(base), 1));
  hz4_pagemap_set(At(base), 1, Span(1), 5);
  for (uintptr_t high : {kEnd, uintptr_t{1} << 63, UINTPTR_MAX - (kEnd - 1)}) {
    EXPECT_EQ(hz4_pagemap_class(At(high + base + 1)), 5u);
    EXPECT_EQ(hz4_pagemap_span(At(high + base + 1)), nullptr);
  }
  hz4_pagemap_set(At(base), 1, nullptr, 0);
}

TEST_F(Pagemap, EveryByteOfASetPageIsFound) {
  const uintptr_t base = FreshRegions(1) + 7 * kPage;
  ASSERT_TRUE(hz4_pagemap_reserve(At(base), 3));
  ExpectNothing(base);
  hz4_pagemap_set(At(base), 3, Span(5), 96);
  for (uintptr_t address : {base, base + 1, base + kPage - 1, base + kPage, base + 3 * kPage - 1}) {
    EXPECT_EQ(hz4_pagemap_class(At(address)), 96u);
    EXPECT_EQ(hz4_pagemap_span(At(address)), Span(5));
  }
  ExpectNothing(base - 1);
  ExpectNothing(base + 3 * kPage);
  hz4_pagemap_set(At(base + kPage), 1, nullptr, 0);
  ExpectNothing(base + kPage);
  EXPECT_EQ(hz4_pagemap_span(At(base + 2 * kPage)), Span(5));
}

TEST_F(Pagemap, RunsCrossRegions) {
  const uintptr_t first = FreshRegions(3);
  for (uintptr_t border : {first + kRegion, first + 2 * kRegion}) {
    const uintptr_t base = border - 2 * kPage;
    ASSERT_TRUE(hz4_pagemap_reserve(At(base), 5));
    hz4_pagemap_set(At(base), 5, Span(9), 17);
    for (size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(hz4_pagemap_class(At(base + i * kPage)), 17u);
      EXPECT_EQ(hz4_pagemap_span(At(base + i * kPage)), Span(9));
    }
    ExpectNothing(base - kPage);
    ExpectNothing(base + 5 * kPage);
  }
}

TEST_F(Pagemap, ReservesEveryRegionOfALongRun) {
  const uintptr_t base = FreshRegions(4) + kRegion - kPage;
  const size_t pages = 2 * kRegion / kPage + 64;
  ASSERT_TRUE(hz4_pagemap_reserve(At(base), pages));
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  for (size_t i = 0; i < pages; i += 64) hz4_pagemap_set(At(base + i * kPage), 1, Span(1), 1);
  EXPECT_EQ(hz4_pagemap_class(At(base + (pages - 64) * kPage)), 1u);
}

TEST_F(Pagemap, RefusesAddressesBeyondTheMap) {
  EXPECT_FALSE(hz4_pagemap_reserve(At(kEnd), 1));
  EXPECT_FALSE(hz4_pagemap_reserve(At(kEnd - kPage), 2)) << "its end is beyond";
  EXPECT_FALSE(hz4_pagemap_reserve(At(uintptr_t{1} << 56), 1));
  EXPECT_FALSE(hz4_pagemap_reserve(At(UINTPTR_MAX - kPage + 1), 1));
  EXPECT_TRUE(hz4_pagemap_reserve(At(kEnd - kPage), 1));
  hz4_pagemap_set(At(kEnd - kPage), 1, Span(3), 2);
  EXPECT_EQ(hz4_pagemap_class(At(kEnd - 1)), 2u);
  EXPECT_EQ(hz4_pagemap_span(At(kEnd - 1)), Span(3));
  hz4_pagemap_set(At(kEnd - kPage), 1, nullptr, 0);
  ExpectNothing(kEnd - 1);
}

TEST_F(Pagemap, ReserveFailsWithoutMemoryAndWorksAfter) {
  const uintptr_t base = FreshRegions(1);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  EXPECT_FALSE(hz4_pagemap_reserve(At(base), 1));
  ExpectNothing(base);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  ASSERT_TRUE(hz4_pagemap_reserve(At(base), 1));
  hz4_pagemap_set(At(base), 1, Span(2), 3);
  EXPECT_EQ(hz4_pagemap_class(At(base)), 3u);
}

TEST_F(Pagemap, ReservingAgainCostsNothing) {
  const uintptr_t base = FreshRegions(1);
  ASSERT_TRUE(hz4_pagemap_reserve(At(base), 1));
  hz4_sys_fake_reset();
  for (uintptr_t offset = 0; offset < kRegion; offset += 997 * kPage) {
    EXPECT_TRUE(hz4_pagemap_reserve(At(base + offset), 1));
  }
  EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_MMAP], 0u);
}

TEST_F(Pagemap, MatchesAShadow) {
  std::mt19937_64 random(3);
  const uintptr_t first = FreshRegions(4);
  std::map<uintptr_t, std::pair<hz4_span *, uint32_t>> shadow;
  auto draw = [&] {
    // Close together, and close to the borders.
    const uintptr_t border = first + random() % 4 * kRegion;
    const uintptr_t address = border + (random() % 64 - 32) * kPage;
    return address < first ? first : address;
  };
  for (int i = 0; i < 20000; ++i) {
    const uintptr_t base = draw();
    const size_t pages = random() % 16 + 1;
    const bool clear = random() % 3 == 0;
    hz4_span *span = clear ? nullptr : Span(random() % 1000 + 1);
    const uint32_t size_class = clear ? 0 : random() % (HZ4_CLASS_COUNT + 1);
    ASSERT_TRUE(hz4_pagemap_reserve(At(base), pages));
    hz4_pagemap_set(At(base), pages, span, size_class);
    for (size_t p = 0; p < pages; ++p) shadow[base + p * kPage] = {span, size_class};
    const uintptr_t asked = draw();
    const auto found = shadow.find(asked);
    ASSERT_EQ(hz4_pagemap_span(At(asked + random() % kPage)), found == shadow.end() ? nullptr : found->second.first);
    ASSERT_EQ(hz4_pagemap_class(At(asked + random() % kPage)), found == shadow.end() ? 0 : found->second.second);
  }
  for (const auto &[address, entry] : shadow) {
    ASSERT_EQ(hz4_pagemap_span(At(address)), entry.first);
    ASSERT_EQ(hz4_pagemap_class(At(address)), entry.second);
  }
}

// Threads that reserve the same addresses agree on one region; what a loser mapped goes back.
TEST_F(Pagemap, ThreadsReserveTogether) {
  const uintptr_t one = FreshRegions(1);
  uint64_t before = hz4_sys_fake.mapped_bytes;
  ASSERT_TRUE(hz4_pagemap_reserve(At(one), 1));
  const uint64_t cost = hz4_sys_fake.mapped_bytes - before;
  constexpr size_t kThreads = 4;
  for (int round = 0; round < 50; ++round) {
    const uintptr_t base = FreshRegions(1);
    before = hz4_sys_fake.mapped_bytes;
    std::atomic<size_t> ready{0};
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        ++ready;
        while (ready != kThreads) sched_yield();
        ASSERT_TRUE(hz4_pagemap_reserve(At(base), kThreads));
        hz4_pagemap_set(At(base + t * kPage), 1, Span(t + 1), static_cast<uint32_t>(t + 1));
        EXPECT_EQ(hz4_pagemap_span(At(base + t * kPage)), Span(t + 1));
        EXPECT_EQ(hz4_pagemap_class(At(base + t * kPage)), t + 1);
      });
    }
    for (std::thread &thread : threads) thread.join();
    for (size_t t = 0; t < kThreads; ++t) {
      EXPECT_EQ(hz4_pagemap_span(At(base + t * kPage)), Span(t + 1));
      EXPECT_EQ(hz4_pagemap_class(At(base + t * kPage)), t + 1);
    }
    EXPECT_EQ(hz4_sys_fake.mapped_bytes - before, cost);
  }
}

// Lookups run beside reservations: of pages that were announced they find what was set, of others nothing or that.
TEST_F(Pagemap, LookupsRunBesideReservations) {
  constexpr size_t kRegions = 64;
  const uintptr_t base = FreshRegions(kRegions);
  std::atomic<size_t> announced{0};
  std::thread reader([&] {
    for (size_t seen = 0; seen < kRegions;) {
      seen = announced;
      for (size_t i = 0; i < kRegions; ++i) {
        const size_t size_class = hz4_pagemap_class(At(base + i * kRegion));
        EXPECT_TRUE(size_class == i + 1 || (size_class == 0 && i >= seen)) << size_class;
        hz4_span *span = hz4_pagemap_span(At(base + i * kRegion));
        EXPECT_TRUE(span == Span(i + 1) || (span == nullptr && i >= seen));
      }
    }
  });
  for (size_t i = 0; i < kRegions; ++i) {
    ASSERT_TRUE(hz4_pagemap_reserve(At(base + i * kRegion), 1));
    hz4_pagemap_set(At(base + i * kRegion), 1, Span(i + 1), static_cast<uint32_t>(i + 1));
    announced = i + 1;
    if (i % 8 == 0) sched_yield();
  }
  reader.join();
}

}  // namespace
