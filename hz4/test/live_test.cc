// What the statistics say of live memory against the program's own account, at rest, to the byte: while nobody is inside
// hz4, blocks are with the program, in bins, inboxes or depots, or at home.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/test/stats.h"

namespace {

using hz4_test::InChild;
using hz4_test::Json;
using hz4_test::ParseJson;

constexpr size_t kSlots = 4096;
constexpr int kThreads = 4, kSteps = 200000;

std::array<std::atomic<void *>, kSlots> slots;
std::atomic<uint64_t> live_bytes, live_blocks;

void *New(uint64_t random) {
  // All ranges, tiny ones above all; large ones seldom.
  const unsigned shift = random % 64 == 0 ? 20 : 3 + random % 14;
  void *block = hz4_malloc((size_t{1} << shift) + (random >> 20) % (size_t{1} << shift));
  HZ4_DEMAND(block != nullptr);
  live_bytes += hz4_malloc_usable_size(block);
  ++live_blocks;
  return block;
}

void Delete(void *block) {
  if (block == nullptr) return;
  live_bytes -= hz4_malloc_usable_size(block);
  --live_blocks;
  hz4_free(block);
}

// Each thread puts a new block into some slot, and frees what was there, whoever put it.
void Churn(uint64_t random) {
  for (int i = 0; i < kSteps; ++i) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    Delete(slots[random % kSlots].exchange(random >> 40 & 1 ? New(random >> 12) : nullptr));
  }
}

void RunAll() {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(Churn, 0x9e3779b97f4a7c15u * (i + 1));
  for (std::thread &thread : threads) thread.join();
}

std::map<std::string, uint64_t> Values() {
  std::map<std::string, uint64_t> values;
  HZ4_DEMAND(ParseJson(Json(), &values));
  return values;
}

// What holds whatever the program did.
void ExpectSums(std::map<std::string, uint64_t> v) {
  const uint64_t in_use = v["active_bytes"] + v["segment_purged_inside_bytes"];
  EXPECT_EQ(v["allocated_bytes"] + v["cached_bytes"] + v["free_bytes"], in_use);
  EXPECT_EQ(in_use + v["dirty_bytes"] + v["retained_bytes"] + v["metadata_bytes"], v["mapped_bytes"]);
  EXPECT_EQ(v["cached_bin_bytes"] + v["cached_inbox_bytes"] + v["cached_depot_bytes"], v["cached_bytes"]);
  uint64_t bytes = 0, cached = 0, spans = 0, span_bytes = 0, last = 0;
  for (int i = 0; v.count("classes." + std::to_string(i) + ".object_bytes") != 0; ++i) {
    const std::string name = "classes." + std::to_string(i) + ".";
    const uint64_t object = v[name + "object_bytes"];
    EXPECT_GT(object, last) << "sizes rise, and each comes once";
    last = object;
    EXPECT_GT(v[name + "refills"], 0u);
    bytes += v[name + "live_objects"] * object;
    cached += v[name + "cached_objects"] * object;
    spans += v[name + "spans"];
    span_bytes += v[name + "span_bytes"];
  }
  EXPECT_EQ(bytes + v["large_live_mapped_bytes"], v["allocated_bytes"]);
  EXPECT_EQ(cached, v["cached_bytes"]);
  EXPECT_EQ(spans, v["heap_spans"]);
  EXPECT_EQ(span_bytes, v["heap_span_bytes"]);
}

TEST(Live, IsTheProgramsOwnAccount) {
  for (int round = 0; round < 3; ++round) {
    RunAll();
    EXPECT_EQ(hz4_stats_get("allocated_bytes"), live_bytes);
    ExpectSums(Values());
  }
  // A child has what its parent had, and nothing of the parent's threads.
  InChild([] {
    HZ4_DEMAND(hz4_stats_get("allocated_bytes") == live_bytes);
    RunAll();
    HZ4_DEMAND(hz4_stats_get("allocated_bytes") == live_bytes);
  });
  hz4_malloc_trim(0);
  EXPECT_EQ(hz4_stats_get("allocated_bytes"), live_bytes);
  ExpectSums(Values());
  for (auto &slot : slots) Delete(slot.exchange(nullptr));
  EXPECT_EQ(live_bytes, 0u);
  EXPECT_EQ(hz4_stats_get("allocated_bytes"), 0u);
  ExpectSums(Values());
}

// The figure while others run: off by no more than what they have in hand, here a block each, and what moves between bins
// and the rest while it is read.
TEST(Live, IsNearWhileThreadsRun) {
  constexpr size_t kBlock = 1000, kHeld = 100000;
  const std::vector<void *> held = hz4_test::MallocMany(kBlock, kHeld);
  const uint64_t account = kHeld * hz4_malloc_usable_size(held[0]);
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&over] {
      while (!over) hz4_test::FreeAll(hz4_test::MallocMany(kBlock, 8));
    });
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_NEAR(static_cast<double>(hz4_stats_get("allocated_bytes")), static_cast<double>(account), account * 0.01);
  }
  over = true;
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(hz4_stats_get("allocated_bytes"), account);
  hz4_test::FreeAll(held);
}

}  // namespace
