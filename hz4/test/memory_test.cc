// Resident memory: what is freed goes back, whoever frees it; what is reused does not grow.
//
// Each test begins with hz4_malloc_trim and is measured against the resident bytes after it, so that it tells its own
// failures only; what stays from test to test in spite of that shows at the end of the run. The constant stands for
// caches and metadata, which are bounded, but not by what is in use.
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "hz4/config.h"
#include "hz4/test/heap.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kPayload = 256 * kMiB;
constexpr size_t kConstant = 8 * kMiB;
// What the caches of a thread that used many classes keep: up to 512 KiB a class in bins, and the pages of the last few
// objects that came home without another decline (docs/design.md, "The decline"); and the dirty pages that are always allowed.
constexpr size_t kCaches = 20 * kMiB;
constexpr size_t kSmallest = 64;

PointerTable &Table() {
  static PointerTable table(kPayload / kSmallest + 1);
  return table;
}

// Over the whole run, nothing may pile up that cannot be trimmed.
class WholeRun : public ::testing::Environment {
  void SetUp() override {
    Table()[0] = nullptr;
    resident_ = ResidentBytes();
  }
  void TearDown() override {
    hz4_malloc_trim(0);
    if (ResidentIsOurs()) {
      EXPECT_LE(ResidentBytes(), resident_ + 2 * kConstant);
    }
  }
  size_t resident_ = 0;
};
const auto *const whole_run = ::testing::AddGlobalTestEnvironment(new WholeRun);

// Allocates and touches blocks until they sum up to `payload` bytes, from table slot `first` on; returns their end.
size_t FillMemory(SizeDraw draw, uint64_t seed, size_t payload, size_t first = 0) {
  Random random(seed);
  size_t end = first;
  for (size_t bytes = 0; bytes < payload; end++) {
    const size_t size = draw(random);
    void *ptr = hz4_malloc(size);
    if (ptr == nullptr || end == Table().capacity()) abort();
    memset(ptr, 0x5a, size);
    Table()[end] = ptr;
    bytes += size;
  }
  return end;
}

void Shuffle(uint64_t seed, size_t first, size_t end) {
  Random random(seed);
  for (size_t i = end - 1; i > first; i--) std::swap(Table()[i], Table()[first + random.Below(i - first + 1)]);
}

void FreeRange(size_t first, size_t end) {
  for (size_t i = first; i < end; i++) hz4_free(Table()[i]);
}

// Runs jobs on threads that stay alive, idle, until the object goes.
class IdleThreads {
 public:
  ~IdleThreads() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      leave_ = true;
    }
    change_.notify_all();
    for (std::thread &thread : threads_) thread.join();
  }
  // Returns when the job is done.
  void Run(const std::function<void()> &job) {
    bool done = false;
    threads_.emplace_back([&, job] {
      job();
      std::unique_lock<std::mutex> lock(mutex_);
      done = true;
      change_.notify_all();
      change_.wait(lock, [this] { return leave_; });
    });
    std::unique_lock<std::mutex> lock(mutex_);
    change_.wait(lock, [&] { return done; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable change_;
  bool leave_ = false;
  std::vector<std::thread> threads_;
};

class MemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    HZ4_TEST_SKIP_UNLESS_RESIDENT_IS_OURS();
    hz4_malloc_trim(0);
    baseline_ = ResidentBytes();
  }

  size_t baseline_ = 0;
};

struct Mix {
  const char *name;
  SizeDraw draw;
};
void PrintTo(const Mix &one, std::ostream *out) { *out << one.name; }
const Mix kMixes[] = {
    {"64B", [](Random &) { return size_t{64}; }},
    {"64BTo2KiB", [](Random &random) { return random.PowerRange(6, 11); }},
    {"4KiB", [](Random &) { return size_t{4096}; }},
    {"2KiBTo256KiB", [](Random &random) { return random.PowerRange(11, 18); }},
    {"256KiBTo8MiB", [](Random &random) { return random.PowerRange(18, 23); }},
    {"All", [](Random &random) { return random.PowerRange(6, 22); }},
};

class ReturnTest : public MemoryTest, public ::testing::WithParamInterface<Mix> {
 protected:
  // In use: a quarter more than was asked for covers class rounding and metadata. After: 5% of the peak may stay.
  void CheckPeak() {
    peak_ = ResidentBytes();
    EXPECT_GE(peak_, kPayload);
    EXPECT_LE(peak_, baseline_ + kPayload + kPayload / 4 + kConstant);
  }
  void CheckReturned() {
    // Each shard's depots may keep as much (docs/design.md, "Shards").
    const char *shards = getenv("HZ4_SHARDS");
    const size_t caches = kCaches * (shards != nullptr ? strtoul(shards, nullptr, 10) : 1);
    EXPECT_LE(ResidentBytes(), baseline_ + peak_ / 20 + caches) << "baseline " << baseline_ << ", peak " << peak_;
    hz4_check();
  }

  size_t peak_ = 0;
  const uint64_t seed_ = TestSeed();
};

TEST_P(ReturnTest, FreedInTheSameOrder) {
  const size_t end = FillMemory(GetParam().draw, seed_, kPayload);
  CheckPeak();
  FreeRange(0, end);
  CheckReturned();
}

TEST_P(ReturnTest, FreedInRandomOrder) {
  const size_t end = FillMemory(GetParam().draw, seed_, kPayload);
  CheckPeak();
  Shuffle(seed_, 0, end);
  FreeRange(0, end);
  CheckReturned();
}

TEST_P(ReturnTest, FreedByAnotherThread) {
  IdleThreads threads;
  size_t end = 0;
  threads.Run([&] { end = FillMemory(GetParam().draw, seed_, kPayload); });
  CheckPeak();
  threads.Run([&] { FreeRange(0, end); });
  CheckReturned();
}

TEST_P(ReturnTest, FreedByManyThreadsAfterTheirMakersEnded) {
  constexpr size_t kThreads = 8;
  size_t end = 0;
  for (size_t i = 0; i < kThreads; i++) {
    std::thread([&] { end = FillMemory(GetParam().draw, seed_ + i, kPayload / kThreads, end); }).join();
  }
  CheckPeak();
  Shuffle(seed_, 0, end);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; i++) threads.emplace_back(FreeRange, end * i / kThreads, end * (i + 1) / kThreads);
  for (std::thread &thread : threads) thread.join();
  CheckReturned();
}

INSTANTIATE_TEST_SUITE_P(Mixes, ReturnTest, ::testing::ValuesIn(kMixes),
                         [](const auto &info) { return info.param.name; });

// Blocks above the size classes have their pages to themselves: those of a freed one go back at once.
TEST_F(MemoryTest, NineInTenLargeBlocksFreed) {
  const uint64_t seed = TestSeed();
  const size_t end = FillMemory([](Random &random) { return 256 * kKiB + 1 + random.Below(kMiB); }, seed, kPayload);
  Shuffle(seed, 0, end);
  size_t live = 0;
  for (size_t i = 0; i < end / 10; i++) live += hz4_malloc_usable_size(Table()[i]);
  FreeRange(end / 10, end);
  EXPECT_LE(ResidentBytes(), baseline_ + live + live / 4 + kPayload / 20 + kConstant);
  FreeRange(0, end / 10);
  EXPECT_LE(ResidentBytes(), baseline_ + kPayload / 20 + kConstant);
  hz4_check();
}

// The holes that random frees leave are filled again before new memory is taken.
TEST_F(MemoryTest, NineInTenSmallBlocksFreedAndMadeAgain) {
  const uint64_t seed = TestSeed();
  const auto draw = [](Random &random) { return random.PowerRange(6, 12); };
  size_t end = FillMemory(draw, seed, kPayload);
  const size_t peak = ResidentBytes();
  for (size_t round = 0; round < 3; round++) {
    Shuffle(seed + round, 0, end);
    FreeRange(end / 10, end);
    EXPECT_LE(ResidentBytes(), peak + kConstant);
    end = FillMemory(draw, seed + round, kPayload / 10 * 9, end / 10);
    EXPECT_LE(ResidentBytes(), peak + peak / 10 + kConstant) << "round " << round;
  }
  FreeRange(0, end);
  EXPECT_LE(ResidentBytes(), baseline_ + peak / 20 + kConstant);
  hz4_check();
}

// Memory that served one size serves any other.
TEST_F(MemoryTest, SizesShift) {
  const size_t sizes[] = {64, 4096, 300 * kKiB, 200, 20000, 64, 8 * kMiB, 1024};
  for (size_t size : sizes) {
    size_t end = 0;
    for (size_t bytes = 0; bytes < kPayload / 2; bytes += size, end++) {
      Table()[end] = hz4_malloc(size);
      ASSERT_NE(Table()[end], nullptr);
      memset(Table()[end], 1, size);
    }
    EXPECT_LE(ResidentBytes(), baseline_ + kPayload / 2 * 5 / 4 + kConstant) << "filled with " << size;
    FreeRange(0, end);
  }
}

struct Flow {
  const char *name;
  size_t pairs, waiting, blocks;  // of threads; between two at most; from each
  size_t powers;                  // sizes from 16 bytes to 2 to this
  size_t most;                    // bytes: what waits, and the caches
  size_t rest;                    // bytes: spans' free objects and dirty pages
};
void PrintTo(const Flow &one, std::ostream *out) { *out << one.name; }

class FlowTest : public MemoryTest, public ::testing::WithParamInterface<Flow> {};

// Threads that only allocate, each for one that only frees: what is resident follows what waits between them, not what
// passed.
TEST_P(FlowTest, InOneDirection) {
  const Flow &flow = GetParam();
  const uint64_t seed = TestSeed();
  const size_t allocated = hz4_stats_get("allocated_bytes");
  std::deque<Queue> queues;
  std::vector<std::thread> threads;
  size_t most = 0;
  size_t rest = 0;
  for (size_t pair = 0; pair < flow.pairs; pair++) {
    Queue &queue = queues.emplace_back(&Table()[pair * flow.waiting], flow.waiting);
    threads.emplace_back([&queue, &flow, seed, pair] {
      Random random(seed + pair);
      for (size_t i = 0; i < flow.blocks; i++) {
        const size_t size = random.PowerRange(4, flow.powers);
        auto *ptr = static_cast<char *>(hz4_malloc(size));
        if (ptr == nullptr) abort();
        for (size_t at = 0; at < size; at += 4096) ptr[at] = 1;
        queue.Push(ptr);
      }
    });
    threads.emplace_back([&, pair] {
      for (size_t i = 0; i < flow.blocks; i++) {
        hz4_free(queue.Pop());
        if (pair != 0 || i % (flow.blocks / 40) != 0) continue;
        const size_t resident = ResidentBytes();
        // What waits; caches, which fill as threads come to CPUs and classes; what was purged and wanted again.
        size_t known = 0;
        for (const char *name : {"allocated_bytes", "cached_bytes", "segment_refaulted_bytes", "large_keep_bytes"}) {
          known += hz4_stats_get(name);
        }
        most = std::max(most, resident);
        rest = std::max(rest, resident - std::min(known, resident));
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_LE(most, baseline_ + flow.most);
  EXPECT_LE(rest, baseline_ + flow.rest);
  EXPECT_EQ(hz4_stats_get("allocated_bytes"), allocated);
  hz4_check();
}

INSTANTIATE_TEST_SUITE_P(Flows, FlowTest,
                         ::testing::Values(Flow{"OnePair", 1, 4096, 1500000, 12, 24 * kMiB, kConstant},
                                           Flow{"FourPairsAllSizes", 4, 64, 20000, 20, 160 * kMiB, 4 * kConstant}),
                         [](const auto &info) { return info.param.name; });

// Each round a new thread allocates and an old one frees; no thread ever frees what it made.
TEST_F(MemoryTest, RolesMoveOn) {
  constexpr size_t kRounds = 24;
  const uint64_t seed = TestSeed();
  const auto draw = [](Random &random) { return random.PowerRange(5, 14); };
  IdleThreads threads;
  size_t end = 0;
  for (size_t round = 0; round < kRounds; round++) {
    threads.Run([&] {
      FreeRange(0, end);
      end = FillMemory(draw, seed + round, 32 * kMiB);
    });
    // Idle threads keep their caches, which are bounded.
    EXPECT_LE(ResidentBytes(), baseline_ + 40 * kMiB + kConstant + (round + 1) * kMiB) << "round " << round;
  }
  FreeRange(0, end);
  hz4_check();
}

// Blocks that have mappings of their own, replaced over and over: neither the mappings nor hz4's books about them grow.
TEST_F(MemoryTest, LargeBlocksComeAndGo) {
  constexpr size_t kLive = 64;
  Random random(TestSeed());
  for (size_t i = 0; i < kLive; i++) Table()[i] = nullptr;
  size_t resident = 0;
  size_t mappings = 0;
  for (size_t step = 0; step < 240000; step++) {
    if (step == 40000) {
      hz4_malloc_trim(0);  // what is kept comes and goes within its own bound
      resident = ResidentBytes();
      mappings = Mappings();
      EXPECT_LE(mappings, 3 * kLive + 256);
    }
    void *&slot = Table()[random.Below(kLive)];
    hz4_free(slot);
    const size_t size = random.PowerRange(20, 23);
    slot = hz4_malloc(size);
    ASSERT_NE(slot, nullptr);
    memset(slot, 1, 100);
  }
  EXPECT_LE(Mappings(), mappings + kLive);
  hz4_malloc_trim(0);
  EXPECT_LE(ResidentBytes(), resident + kMiB);
  FreeRange(0, kLive);
  hz4_check();
}

// A chain of reallocs above 1 MiB copies nothing: it makes no page resident that the program did not touch, whether there
// is room behind the block or another mapping stands there.
TEST_F(MemoryTest, ReallocGrowthCopiesNothing) {
  for (bool blocked : {false, true}) {
    const size_t resized = hz4_stats_get("large_moved") + hz4_stats_get("large_grown_in_place");
    std::vector<void *> others;
    size_t size = kMiB + 1, steps = 0;
    auto *block = static_cast<char *>(hz4_malloc(size));
    ASSERT_NE(block, nullptr);
    for (; size < 256 * kMiB; ++steps) {
      block[size - 1] = static_cast<char>(steps);
      const size_t last = size - 1;
      size += size / 8;
      if (blocked) others.push_back(hz4_malloc(2 * kMiB));
      block = static_cast<char *>(hz4_realloc(block, size));
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(block[last], static_cast<char>(steps));
    }
    EXPECT_EQ(hz4_stats_get("large_moved") + hz4_stats_get("large_grown_in_place") - resized, steps);
    EXPECT_LE(ResidentBytes(), baseline_ + kMiB + steps * kMiB / 64) << "blocked " << blocked;
    hz4_free(block);
    for (void *other : others) hz4_free(other);
  }
}

// Freed large blocks keep their memory within the bound of docs/design.md ("Memory bounds").
TEST_F(MemoryTest, FreedLargeBlocksAreKeptWithinTheirBound) {
  constexpr size_t kLive = 64;
  Random random(TestSeed());
  for (size_t i = 0; i < kLive; ++i) Table()[i] = nullptr;
  size_t kept = 0, most_live = 0;
  for (size_t step = 0; step < 1000; ++step) {
    // Less lives in every second quarter.
    void *&slot = Table()[random.Below(kLive)];
    most_live = std::max<size_t>(most_live, hz4_stats_get("large_live_mapped_bytes"));
    hz4_free(slot);
    slot = nullptr;
    const size_t live = hz4_stats_get("large_live_mapped_bytes"), cached = hz4_stats_get("large_cached_bytes");
    const size_t keep = hz4_stats_get("large_keep_bytes");
    ASSERT_LE(cached, std::max(live >> HZ4_LARGE_SHARE_SHIFT, keep)) << "step " << step;
    ASSERT_LE(keep, HZ4_LARGE_KEEP_MAX);
    ASSERT_LE(keep, std::max(most_live + (most_live >> HZ4_LARGE_LOSS_SHIFT), 4 * kMiB)) << "step " << step;
    kept = std::max(kept, cached);
    if (step % 25 == 0) {
      EXPECT_LE(ResidentBytes(), baseline_ + live + cached + kConstant) << "step " << step;
    }
    if (step / 250 % 2 == 1 && random.OneIn(2)) continue;
    const size_t size = random.PowerRange(20, 25);
    slot = hz4_malloc(size);
    ASSERT_NE(slot, nullptr);
    for (size_t at = 0; at < size; at += 4096) static_cast<char *>(slot)[at] = 1;
  }
  EXPECT_GT(kept, 0u);
  FreeRange(0, kLive);
  EXPECT_LE(hz4_stats_get("large_cached_bytes"), hz4_stats_get("large_keep_bytes"));
  EXPECT_LE(ResidentBytes(), baseline_ + hz4_stats_get("large_cached_bytes") + kConstant);
  hz4_check();
}

TEST_F(MemoryTest, TrimGivesBackTheCaches) {
  const uint64_t seed = TestSeed();
  const size_t end = FillMemory([](Random &random) { return random.PowerRange(6, 16); }, seed, 64 * kMiB);
  FreeRange(0, end);
  hz4_malloc_trim(0);
  EXPECT_LE(ResidentBytes(), baseline_ + kConstant);
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
