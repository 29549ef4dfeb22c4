// A program that freed nine in ten of its objects at random, and goes on with other sizes, then with nothing: what it
// keeps resident follows what lives. Each case is a process of its own, for thrashing (policy.h) remembers the last second.
#include <vector>

#include "gtest/gtest.h"
#include "hz4/test/heap.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kPayload = 256 * kMiB;

struct Shift {
  const char *name;
  size_t most_before, most_after;  // bytes; sizes are uniform from 16
  size_t thinned_percent;          // of what was live: may stay when a tenth lives
  size_t empty_percent;            // of the peak: may stay when nothing lives
};
void PrintTo(const Shift &one, std::ostream *out) { *out << one.name; }

class ShiftTest : public testing::TestWithParam<Shift> {};

struct Blocks {
  PointerTable table{kPayload / 512};
  size_t count = 0, live = 0;

  void Fill(size_t most, uint64_t seed) {
    Random random(seed);
    while (live < kPayload) {
      const size_t size = 16 + random.Below(most - 15);
      void *block = table[count++] = hz4_malloc(size);
      memset(block, 1, size);
      live += hz4_malloc_usable_size(block);
    }
    for (size_t i = count - 1; i > 0; i--) std::swap(table[i], table[random.Below(i + 1)]);
  }
  void Thin(size_t keep) {
    while (count > keep) {
      live -= hz4_malloc_usable_size(table[--count]);
      hz4_free(table[count]);
    }
  }
};

[[noreturn]] void Demand(const Shift &shift, uint64_t seed) {
  Blocks blocks;
  for (size_t i = 0; i < kPayload / 512; i++) blocks.table[i] = &blocks;  // so that the table is resident
  const size_t baseline = ResidentBytes();
  const auto most_percent = [&](const char *when, size_t percent, size_t bytes) {
    const size_t resident = ResidentBytes() - baseline;
    if (resident <= bytes / 100 * percent) return;
    fprintf(stderr, "%s: %zu KiB resident, more than %zu%% of %zu\n", when, resident >> 10, percent, bytes >> 10);
    exit(1);
  };
  blocks.Fill(shift.most_before, seed);
  most_percent("filled", 110, blocks.live);
  const size_t live = blocks.live;
  blocks.Thin(blocks.count / 10);
  most_percent("a tenth left", shift.thinned_percent, live);
  blocks.Fill(shift.most_after, seed + 1);
  most_percent("of other sizes", 125, blocks.live);
  const size_t peak = ResidentBytes() - baseline;
  blocks.Thin(0);
  most_percent("all freed", shift.empty_percent, peak);
  hz4_check();
  exit(0);
}

TEST_P(ShiftTest, ResidentFollowsLive) { EXPECT_EXIT(Demand(GetParam(), TestSeed()), testing::ExitedWithCode(0), ""); }

// Pages inside spans go back at a decline, at each halving: just before the next one there may be twice what lives, a fifth,
// with the pages that these share a quarter, or of objects of 2 KiB a third; and what caches hold. Of the largest classes a
// bin keeps an object or a few, which in the end is more than a twentieth of this much.
INSTANTIATE_TEST_SUITE_P(Shifts, ShiftTest,
                         testing::Values(Shift{"PagesThenLarger", 4096, 32768, 40, 5},
                                         Shift{"LargerThenPages", 32768, 4096, 40, 5},
                                         Shift{"LargerThenMuchLarger", 32768, 262144, 40, 10}),
                         [](const auto &info) { return info.param.name; });

// A heap that is filled and emptied a few times, without a pause, is no swinging one yet: all of it goes back each time.
[[noreturn]] void DemandOfCycles(uint64_t seed) {
  Blocks blocks;
  for (size_t i = 0; i < kPayload / 512; i++) blocks.table[i] = &blocks;
  const size_t baseline = ResidentBytes();
  for (uint64_t cycle = 0; cycle < 5; cycle++) {
    blocks.Fill(32768, seed + cycle);
    const size_t peak = ResidentBytes() - baseline;
    blocks.Thin(0);
    const size_t resident = ResidentBytes() - baseline;
    if (resident <= peak / 20) continue;
    fprintf(stderr, "cycle %zu: %zu KiB of %zu stay\n", static_cast<size_t>(cycle), resident >> 10, peak >> 10);
    exit(1);
  }
  hz4_check();
  exit(0);
}

TEST(CyclesTest, AllGoesBack) { EXPECT_EXIT(DemandOfCycles(TestSeed()), testing::ExitedWithCode(0), ""); }

}  // namespace
}  // namespace hz4_test
