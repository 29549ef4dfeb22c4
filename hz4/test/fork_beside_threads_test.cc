// One thread forks while others allocate and free, each other's blocks too: the fork gate, the lists of what is freed
// while it is closed, and their settling, with the prefixed names and so for ThreadSanitizer too.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "hz4/hz4.h"
#include "hz4/test/heap.h"

namespace hz4_test {
namespace {

constexpr int kThreads = 3, kForks = 100;
constexpr size_t kSlots = 64;

// Blocks on their way from one thread to another; the first word is the block's size.
std::array<std::atomic<size_t *>, kSlots> slots;
std::atomic<bool> over;

void Free(size_t *block) {
  if (block == nullptr) return;
  if (block[block[0] / sizeof(size_t) - 1] != block[0]) abort();  // which a child too reports
  hz4_free(block);
}

// Small blocks, and now and then a page run or a mapping.
size_t *NewBlock(Random &random) {
  const size_t size = random.OneIn(64) ? random.PowerRange(18, 21) : random.PowerRange(4, 15);
  auto *block = static_cast<size_t *>(hz4_malloc(size));
  if (block == nullptr) abort();
  const size_t words = size / sizeof(size_t);
  block[0] = block[words - 1] = words * sizeof(size_t);
  return block;
}

void Churn(uint64_t seed) {
  Random random(seed);
  while (!over) Free(slots[random.Below(kSlots)].exchange(NewBlock(random)));
}

TEST(ForkBesideThreads, EverythingIsWholeOnBothSides) {
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) threads.emplace_back(Churn, t + 1);
  Random random(kThreads + 1);
  for (int i = 0; i < kForks; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      hz4_check();
      for (int n = 0; n < 100; ++n) Free(NewBlock(random));
      hz4_check();
      _exit(0);
    }
    ASSERT_GT(child, 0);
    Free(NewBlock(random));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }
  over = true;
  for (std::thread &thread : threads) thread.join();
  for (std::atomic<size_t *> &slot : slots) Free(slot.exchange(nullptr));
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
