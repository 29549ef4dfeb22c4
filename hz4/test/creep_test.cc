// creep_test OPERATIONS PERCENT: a program's day at full speed, and whether its resident memory creeps.
//
// Four lanes, in each one thread after another. A thread allocates, reallocates and frees in the lane's slots, and
// exchanges blocks with the other lanes: so blocks outlive their threads and are freed by strangers. A period is one turn
// through all mixes of sizes, a phase each, with fresh threads. After each of 64 periods RSS is read, and how much of it is
// freed large blocks that are cached, which come and go within a bound of their own (large_keep_bytes): that they
// stay within it is demanded, and they are not counted. The median of the rest in the last quarter may exceed that in the
// second by PERCENT and 2 MiB: by chance, and in a short run by the caches' growth.
#include <inttypes.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "hz4/config.h"
#include "hz4/hz4.h"
#include "hz4/test/heap.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kLanes = 4;
constexpr size_t kPeriods = 64;
constexpr size_t kLives = 4;             // threads in a lane in each phase
constexpr size_t kSlots = 1000;          // in a lane
constexpr size_t kLaneBytes = 8 * kMiB;  // beyond that a lane only frees
constexpr size_t kExchange = 128;        // blocks on their way from lane to lane
constexpr size_t kSlack = 2 * kMiB;

const SizeDraw kPhases[] = {
    [](Random &random) { return random.PowerRange(4, 8); },
    [](Random &random) { return random.PowerRange(11, 16); },
    SmallSizes,
    [](Random &random) { return random.OneIn(1000) ? random.PowerRange(18, 24) : random.PowerRange(6, 12); },
    [](Random &random) { return random.OneIn(200) ? random.PowerRange(14, 19) : random.PowerRange(4, 13); },
};
constexpr size_t kPhaseCount = sizeof kPhases / sizeof kPhases[0];

std::atomic<void *> exchange[kExchange];

// A program writes to what it allocates.
void *Touched(void *ptr, size_t size) {
  if (ptr == nullptr) abort();
  for (size_t at = 0; at < size; at += 4096) static_cast<char *>(ptr)[at] = 1;
  return ptr;
}

class Lane {
 public:
  explicit Lane(uint64_t seed) : table_(kSlots), random_(seed) {
    for (size_t i = 0; i < kSlots; ++i) table_[i] = nullptr;
  }

  // One phase: the lane's threads, one after the other.
  void Run(SizeDraw draw, size_t operations) {
    bytes_ = 0;  // others free what is exchanged
    for (size_t i = 0; i < kSlots; ++i) bytes_ += hz4_malloc_usable_size(table_[i]);
    for (size_t life = 0; life < kLives; ++life) std::thread(&Lane::Live, this, draw, operations / kLives).join();
  }
  size_t bytes() const { return bytes_; }

 private:
  void Live(SizeDraw draw, size_t operations) {
    for (size_t i = 0; i < operations; ++i) Step(&table_[random_.Below(kSlots)], draw(random_));
  }

  void Step(void **slot, size_t size) {
    bytes_ -= hz4_malloc_usable_size(*slot);
    const size_t choice = random_.Below(16);
    if (*slot == nullptr && bytes_ < kLaneBytes) {
      *slot = Touched(choice == 0 ? hz4_calloc(1, size) : hz4_malloc(size), size);
    } else if (choice < 2 && bytes_ < kLaneBytes) {
      *slot = Touched(hz4_realloc(*slot, size + 1), size);
    } else {
      // Acquire and release: a block goes from one thread to another, with what the first wrote to it.
      if (choice < 6) *slot = exchange[random_.Below(kExchange)].exchange(*slot, std::memory_order_acq_rel);
      hz4_free(*slot);
      *slot = nullptr;
    }
    bytes_ += hz4_malloc_usable_size(*slot);
  }

  PointerTable table_;
  Random random_;
  size_t bytes_ = 0;  // live in this lane's slots
};

size_t Median(const std::vector<size_t> &values, size_t first, size_t end) {
  std::vector<size_t> some(values.begin() + first, values.begin() + end);
  std::nth_element(some.begin(), some.begin() + some.size() / 2, some.end());
  return some[some.size() / 2];
}

int Creep(size_t operations, size_t percent) {
  const uint64_t seed = TestSeed();
  std::deque<Lane> lanes;
  for (size_t i = 0; i < kLanes; ++i) lanes.emplace_back(seed + i);
  std::vector<size_t> resident;
  for (size_t period = 0; period < kPeriods; ++period) {
    for (SizeDraw draw : kPhases) {
      std::vector<std::thread> threads;
      for (Lane &lane : lanes) {
        threads.emplace_back([&lane, draw, operations] { lane.Run(draw, operations / kPeriods / kPhaseCount / kLanes); });
      }
      for (std::thread &thread : threads) thread.join();
    }
    const size_t all = ResidentBytes(), cached = hz4_stats_get("large_cached_bytes");
    resident.push_back(all - std::min(all, cached));
    size_t live = 0;
    for (const Lane &lane : lanes) live += lane.bytes();
    const auto kib = [](const char *name) { return static_cast<size_t>(hz4_stats_get(name)) / kKiB; };
    printf("period %zu: resident %zu KiB, in slots %zu, large %zu and cached %zu, in spans %zu, purged inside %zu, dirty %zu\n",
           period + 1, all / kKiB, live / kKiB, kib("large_live_mapped_bytes"), cached / kKiB, kib("segment_used_bytes"),
           kib("segment_purged_inside_bytes"), kib("segment_dirty_bytes"));
    if (cached > std::max(hz4_stats_get("large_keep_bytes"), hz4_stats_get("large_live_mapped_bytes") >> HZ4_LARGE_SHARE_SHIFT)) {
      fprintf(stderr, "creep_test: more large blocks are cached than may be\n");
      return 1;
    }
    fflush(stdout);
  }
  hz4_check();
  const size_t early = Median(resident, kPeriods / 4, kPeriods / 2);
  const size_t late = Median(resident, kPeriods / 4 * 3, kPeriods);
  printf("without what is cached: median of the second quarter %zu KiB, of the last %zu KiB\n", early / kKiB, late / kKiB);
  if (late <= early + early * percent / 100 + kSlack) return 0;
  fprintf(stderr, "creep_test: resident memory creeps\n");
  return 1;
}

}  // namespace
}  // namespace hz4_test

int main(int argc, char **argv) {
  constexpr unsigned long kLeast = hz4_test::kPeriods * hz4_test::kPhaseCount * hz4_test::kLanes * hz4_test::kLives;
  unsigned long values[2] = {0, 101};
  for (int i = 0; argc == 3 && i < 2; ++i) {
    char *end = nullptr;
    const unsigned long value = strtoul(argv[i + 1], &end, 10);
    if (argv[i + 1][0] >= '0' && argv[i + 1][0] <= '9' && *end == '\0') values[i] = value;
  }
  if (values[0] < kLeast || values[1] > 100) {
    fprintf(stderr, "usage: creep_test OPERATIONS PERCENT: at least %lu, at most 100\n", kLeast);
    return 2;
  }
  return hz4_test::Creep(values[0], values[1]);
}
