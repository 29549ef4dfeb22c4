// Long random runs over a shadow heap: one thread, many threads, and blocks that change hands in every direction.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>

#include "gtest/gtest.h"
#include "hz4/test/heap.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kSlower = kSanitized ? 4 : 1;  // as many times fewer steps

void RunThreads(size_t count, const std::function<void(size_t)> &body) {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; i++) threads.emplace_back(body, i);
  for (std::thread &thread : threads) thread.join();
}

struct Profile {
  const char *name;
  SizeDraw draw;
  size_t budget_bytes;
  size_t steps;
};
void PrintTo(const Profile &one, std::ostream *out) { *out << one.name; }

class HeapTest : public ::testing::TestWithParam<Profile> {};

TEST_P(HeapTest, RandomRunOfOneThread) {
  const Profile &profile = GetParam();
  const uint64_t seed = TestSeed();
  ShadowHeap heap(seed, profile.draw, profile.budget_bytes);
  for (size_t step = 0; step < profile.steps; step++) {
    heap.Step();
    if (step % (profile.steps / 16) == 0) hz4_check();
  }
  heap.FreeAll();
  hz4_check();
}

TEST_P(HeapTest, RandomRunsOfSixteenThreads) {
  const Profile &profile = GetParam();
  const uint64_t seed = TestSeed();
  RunThreads(16, [&](size_t id) {
    ShadowHeap heap(seed + id, profile.draw, profile.budget_bytes / 4);
    for (size_t step = 0; step < profile.steps / 8; step++) {
      heap.Step();
      if (id == 0 && step % (profile.steps / 32) == 0) hz4_check();
    }
  });
  hz4_check();
}

INSTANTIATE_TEST_SUITE_P(Sizes, HeapTest,
                         ::testing::Values(Profile{"Small", SmallSizes, 4 * kMiB, 1000000 / kSlower},
                                           Profile{"Mixed", MixedSizes, 32 * kMiB, 400000 / kSlower},
                                           Profile{"Large", LargeSizes, 96 * kMiB, 5000 / kSlower}),
                         [](const auto &info) { return info.param.name; });

TEST(CallocTest, ZeroesMemoryThatWasDirty) {
  const uint64_t seed = TestSeed();
  for (size_t size : {1, 16, 100, 1000, 4096, 20000, 65536, 200000, 300000, 1048576, 5000000}) {
    const size_t count = size < 65536 ? 256 : 8;
    std::vector<Block> dirty;
    for (size_t i = 0; i < count; i++) dirty.push_back(NewBlock(size, seed + i));
    for (const Block &block : dirty) CheckAndFree(block);
    std::vector<Block> zeroed;
    for (size_t i = 0; i < count; i++) {
      Block block = {static_cast<unsigned char *>(hz4_calloc(1, size)), size, 0, 0, 0};
      ASSERT_NE(block.ptr, nullptr);
      CheckZero(block, size);
      zeroed.push_back(Adopt(block.ptr, size, 0, seed + i));
    }
    for (const Block &block : zeroed) CheckAndFree(block);
  }
  hz4_check();
}

// Every block is freed by the thread after the one that made it.
TEST(HandOverTest, Ring) {
  constexpr size_t kThreads = 16;
  const uint64_t seed = TestSeed();
  std::vector<Mailbox> boxes(kThreads);
  RunThreads(kThreads, [&](size_t id) {
    ShadowHeap heap(seed + id, MixedSizes, kMiB);
    for (size_t step = 0; step < 20000 / kSlower; step++) {
      boxes[(id + 1) % kThreads].Post(heap.Allocate());
      if (step % 16 == 0) {
        for (const Block &block : boxes[id].TakeAll()) heap.Free(block);
      }
    }
  });
  for (Mailbox &box : boxes) {
    for (const Block &block : box.TakeAll()) CheckAndFree(block);
  }
  hz4_check();
}

// Every thread sends to every other; what arrives is kept, reallocated, sent on or freed.
TEST(HandOverTest, AllToAll) {
  constexpr size_t kThreads = 16;
  const uint64_t seed = TestSeed();
  std::vector<Mailbox> boxes(kThreads);
  RunThreads(kThreads, [&](size_t id) {
    ShadowHeap heap(seed + id, MixedSizes, 4 * kMiB);
    for (size_t step = 0; step < 20000 / kSlower; step++) {
      heap.Step();
      if (!heap.Empty() && heap.random().OneIn(2)) boxes[heap.random().Below(kThreads)].Post(heap.Take());
      if (step % 32 == 0) {
        for (const Block &block : boxes[id].TakeAll()) {
          CheckBlock(block);
          heap.Give(heap.random().OneIn(4) ? heap.Reallocate(block) : block);
        }
      }
      if (id == 0 && step % 4096 == 0) hz4_check();
    }
  });
  for (Mailbox &box : boxes) {
    for (const Block &block : box.TakeAll()) CheckAndFree(block);
  }
  hz4_check();
}

// Blocks on their way from producers to consumers; push waits while it is full, pop while it is empty.
class BoundedQueue {
 public:
  void Push(const Block &block) {
    std::unique_lock<std::mutex> lock(mutex_);
    not_full_.wait(lock, [this] { return blocks_.size() < 1000; });
    blocks_.push_back(block);
    not_empty_.notify_one();
  }
  // False when the producers are done and nothing is left.
  bool Pop(Block *block) {
    std::unique_lock<std::mutex> lock(mutex_);
    not_empty_.wait(lock, [this] { return !blocks_.empty() || closed_; });
    if (blocks_.empty()) return false;
    *block = blocks_.front();
    blocks_.pop_front();
    not_full_.notify_one();
    return true;
  }
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    not_empty_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable not_full_;
  std::condition_variable not_empty_;
  std::deque<Block> blocks_;
  bool closed_ = false;
};

class PipelineTest : public ::testing::TestWithParam<std::pair<size_t, size_t>> {};

TEST_P(PipelineTest, ProducersAndConsumers) {
  const size_t producers = GetParam().first;
  const size_t consumers = GetParam().second;
  constexpr size_t kBlocks = 100000 / kSlower;
  const uint64_t seed = TestSeed();
  BoundedQueue queue;
  std::atomic<size_t> producing{producers};
  std::atomic<size_t> consumed{0};
  RunThreads(producers + consumers, [&](size_t id) {
    if (id < producers) {
      ShadowHeap heap(seed + id, MixedSizes, kMiB);
      for (size_t i = 0; i < kBlocks / producers; i++) queue.Push(heap.Allocate());
      if (producing.fetch_sub(1) == 1) queue.Close();
    } else {
      Block block;
      while (queue.Pop(&block)) {
        CheckAndFree(block);
        consumed.fetch_add(1, std::memory_order_relaxed);
      }
    }
  });
  EXPECT_EQ(consumed.load(), kBlocks);
  hz4_check();
}

INSTANTIATE_TEST_SUITE_P(Shapes, PipelineTest,
                         ::testing::Values(std::make_pair(1, 1), std::make_pair(1, 4), std::make_pair(4, 1),
                                           std::make_pair(4, 4)));

// Each generation of threads starts from the blocks of the one before, and leaves its own.
TEST(HandOverTest, Generations) {
  constexpr size_t kThreads = 8;
  const uint64_t seed = TestSeed();
  std::vector<Mailbox> boxes(kThreads);
  for (size_t generation = 0; generation < 20; generation++) {
    RunThreads(kThreads, [&](size_t id) {
      ShadowHeap heap(seed + generation * kThreads + id, MixedSizes, 2 * kMiB);
      for (const Block &block : boxes[(id + generation) % kThreads].TakeAll()) heap.Give(block);
      for (size_t step = 0; step < 2000 / kSlower; step++) heap.Step();
      Mailbox &own = boxes[(id + generation) % kThreads];
      while (!heap.Empty()) own.Post(heap.Take());
    });
    hz4_check();
  }
  for (Mailbox &box : boxes) {
    for (const Block &block : box.TakeAll()) CheckAndFree(block);
  }
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
