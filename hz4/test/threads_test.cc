// Threads that come and go: what they leave behind, what they do while they end, and what each of them costs.
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "gtest/gtest.h"
#include "hz4/test/heap.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

size_t ManySizes(Random &random) { return random.PowerRange(4, 15); }

// ---- Key destructors ----

// TSan ends a thread by a destructor of its own in the last round; instrumented code that runs after that crashes in it.
constexpr int kRounds = PTHREAD_DESTRUCTOR_ITERATIONS - (kSanitized ? 1 : 0);

// Lives in hz4's memory, under a key; each round of destructors frees its block and makes another.
struct Remains {
  pthread_key_t key;
  int rounds;
  Random random;
  Block block;
};

std::atomic<size_t> destructor_calls;

Block RandomBlock(Random &random) {
  const size_t size = ManySizes(random);
  return NewBlock(size, random.Next());
}

void DestroyRemains(void *value) {
  auto *remains = static_cast<Remains *>(value);
  destructor_calls++;
  CheckAndFree(remains->block);
  if (++remains->rounds == kRounds) {
    hz4_free(remains);
    return;
  }
  remains->block = RandomBlock(remains->random);
  pthread_setspecific(remains->key, remains);
}

pthread_key_t CreateKey(void (*destructor)(void *)) {
  pthread_key_t key;
  if (pthread_key_create(&key, destructor) != 0) abort();
  return key;
}

// Destructors run in the order of their keys' creation, so this key's comes before any that hz4 may have.
pthread_key_t early_key;
__attribute__((constructor(101))) void CreateEarlyKey() { early_key = CreateKey(DestroyRemains); }

pthread_key_t LateKey() {
  static const pthread_key_t key = (hz4_free(hz4_malloc(1)), CreateKey(DestroyRemains));
  return key;
}

void LeaveRemains(pthread_key_t key, uint64_t seed) {
  void *memory = hz4_malloc(sizeof(Remains));
  if (memory == nullptr) abort();
  auto *remains = new (memory) Remains{key, 0, Random(seed), {}};
  remains->block = RandomBlock(remains->random);
  pthread_setspecific(key, remains);
}

TEST(KeyDestructorTest, FreesAndAllocatesInEveryRound) {
  constexpr size_t kThreads = 500;
  const uint64_t seed = TestSeed();
  const pthread_key_t late_key = LateKey();
  destructor_calls = 0;
  for (size_t i = 0; i < kThreads; i++) {
    std::thread([&] {
      LeaveRemains(early_key, seed + i);
      LeaveRemains(late_key, seed - i);
    }).join();
  }
  EXPECT_EQ(destructor_calls.load(), kThreads * 2 * kRounds);
  hz4_check();
}

// The thread comes to hz4 only when its life is over.
TEST(KeyDestructorTest, FirstAllocationInADestructor) {
  static std::atomic<size_t> calls;
  calls = 0;
  const pthread_key_t key = CreateKey([](void *value) {
    Random random(reinterpret_cast<uintptr_t>(value));
    for (size_t i = 0; i < 100; i++) CheckAndFree(RandomBlock(random));
    calls++;
  });
  for (uintptr_t i = 1; i <= 500; i++) {
    std::thread([=] { pthread_setspecific(key, reinterpret_cast<void *>(i)); }).join();
  }
  EXPECT_EQ(calls.load(), 500u);
  pthread_key_delete(key);
  hz4_check();
}

struct ThreadLocal {
  std::vector<Block> blocks;
  ~ThreadLocal() {
    for (const Block &block : blocks) CheckAndFree(block);
  }
};
thread_local ThreadLocal thread_local_blocks;

TEST(KeyDestructorTest, ThreadLocalObjects) {
  const uint64_t seed = TestSeed();
  for (size_t i = 0; i < 200; i++) {
    std::thread([=] {
      Random random(seed + i);
      for (size_t k = 0; k < 50; k++) thread_local_blocks.blocks.push_back(RandomBlock(random));
    }).join();
  }
  hz4_check();
}

// ---- What threads leave behind ----

TEST(ThreadExitTest, LiveBlocksAreFreedByOthers) {
  const uint64_t seed = TestSeed();
  std::vector<Mailbox> boxes(8);
  for (size_t round = 0; round < 30; round++) {
    std::vector<std::thread> threads;
    for (size_t id = 0; id < 8; id++) {
      threads.emplace_back([&, id] {
        Random random(seed + 8 * round + id);
        for (size_t i = 0; i < 500; i++) boxes[random.Below(8)].Post(RandomBlock(random));
        // This thread's makers may be dead or alive.
        for (const Block &block : boxes[id].TakeAll()) CheckAndFree(block);
      });
    }
    for (std::thread &thread : threads) thread.join();
    if (round % 4 == 0) {
      for (const Block &block : boxes[round % 8].TakeAll()) CheckAndFree(block);
    }
  }
  for (Mailbox &box : boxes) {
    for (const Block &block : box.TakeAll()) CheckAndFree(block);
  }
  hz4_check();
}

// Threads that only allocate, and then threads that only free.
TEST(ThreadExitTest, OneSidedThreads) {
  const uint64_t seed = TestSeed();
  for (size_t round = 0; round < 20; round++) {
    Mailbox box;
    std::vector<std::thread> makers;
    for (size_t id = 0; id < 4; id++) {
      makers.emplace_back([&, id] {
        Random random(seed + 4 * round + id);
        for (size_t i = 0; i < 2000; i++) box.Post(RandomBlock(random));
      });
    }
    for (std::thread &thread : makers) thread.join();
    const std::vector<Block> blocks = box.TakeAll();
    std::vector<std::thread> freers;
    for (size_t id = 0; id < 4; id++) {
      freers.emplace_back([&, id] {
        for (size_t i = id; i < blocks.size(); i += 4) CheckAndFree(blocks[i]);
      });
    }
    for (std::thread &thread : freers) thread.join();
  }
  hz4_check();
}

// ---- What a thread costs ----

using ShortLife = void (*)(uint64_t seed, Mailbox *left);

void FreesEverything(uint64_t seed, Mailbox *) {
  Random random(seed);
  std::vector<Block> blocks;
  for (size_t i = 0; i < 32; i++) blocks.push_back(RandomBlock(random));
  for (const Block &block : blocks) CheckAndFree(block);
}
void LeavesLiveBlocks(uint64_t seed, Mailbox *left) {
  Random random(seed);
  for (size_t i = 0; i < 32; i++) left->Post(RandomBlock(random));
}
void FreesInDestructors(uint64_t seed, Mailbox *) {
  LeaveRemains(early_key, seed);
  LeaveRemains(LateKey(), seed + 1);
}

class ShortThreadsTest : public ::testing::TestWithParam<ShortLife> {};

TEST_P(ShortThreadsTest, LeaveNoMemoryBehind) {
  HZ4_TEST_SKIP_UNLESS_RESIDENT_IS_OURS();
  constexpr size_t kThreads = 5000;
  const uint64_t seed = TestSeed();
  Mailbox left;
  size_t threads = 0;
  const auto live_and_end = [&](size_t n) {
    for (const size_t end = threads + n; threads < end; threads++) {
      std::thread(GetParam(), seed + threads, &left).join();
      for (const Block &block : left.TakeAll()) CheckAndFree(block);
    }
  };
  const auto trimmed = [] {
    hz4_malloc_trim(0);
    return ResidentBytes();
  };
  live_and_end(500);
  const size_t trimmed_before = trimmed();
  live_and_end(kThreads);
  const size_t before = ResidentBytes();
  live_and_end(kThreads);
  // Caches of CPUs outlive the threads, and fill slowly where one frees what another allocated: each may hold so much.
  const size_t cached = hz4_stats_get("thread_caches") * 32 * kMiB;
  const bool by_cpu = hz4_stats_get("thread_by_cpu") != 0;
  EXPECT_LE(ResidentBytes(), by_cpu ? trimmed_before + cached : before + kThreads * kKiB);
  EXPECT_LE(trimmed(), trimmed_before + kThreads * 32) << "it is not in caches";
  hz4_check();
}

INSTANTIATE_TEST_SUITE_P(Lives, ShortThreadsTest,
                         ::testing::Values(FreesEverything, LeavesLiveBlocks, FreesInDestructors));

// A point that all threads reach before any goes on. Waiting needs no memory.
class Barrier {
 public:
  explicit Barrier(unsigned count) { pthread_barrier_init(&barrier_, nullptr, count); }
  ~Barrier() { pthread_barrier_destroy(&barrier_); }
  void Wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

// The same threads are measured before and after they allocated, so that their stacks do not count.
TEST(IdleThreadsTest, CostAtMost16KiBEach) {
  HZ4_TEST_SKIP_UNLESS_RESIDENT_IS_OURS();
  constexpr size_t kThreads = 2000;
  struct Shared {
    Barrier barrier{kThreads + 1};
  } shared;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 128 * kKiB), 0);
  std::vector<pthread_t> threads(kThreads);
  for (size_t i = 0; i < kThreads; i++) {
    const auto life = [](void *argument) -> void * {
      auto *all = static_cast<Shared *>(argument);
      volatile char stack[16 * kKiB];
      for (size_t at = 0; at < sizeof stack; at += 1024) stack[at] = 1;
      all->barrier.Wait();
      all->barrier.Wait();
      void *ptrs[4];
      const size_t sizes[4] = {16, 100, 400, 1000};
      for (size_t k = 0; k < 4; k++) ptrs[k] = hz4_malloc(sizes[k]);
      for (size_t k = 0; k < 4; k++) memset(ptrs[k], 1, sizes[k]);
      hz4_free(ptrs[0]);
      hz4_free(ptrs[2]);
      all->barrier.Wait();
      all->barrier.Wait();
      hz4_free(ptrs[1]);
      hz4_free(ptrs[3]);
      return nullptr;
    };
    if (pthread_create(&threads[i], &attributes, life, &shared) != 0) {
      perror("IdleThreadsTest needs 2000 threads (ulimit -u, pids.max): pthread_create");
      abort();
    }
  }
  shared.barrier.Wait();
  const size_t before = ResidentBytes();
  shared.barrier.Wait();
  shared.barrier.Wait();
  const size_t after = ResidentBytes();
  shared.barrier.Wait();
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  EXPECT_LE(after, before + kThreads * 16 * kKiB) << (after - before) / kThreads << " bytes each";
  hz4_check();
}

// ---- Stacks ----

void *UseEverything(void *) {
  Random random(1);
  for (size_t i = 0; i < 500; i++) {
    const size_t size = random.PowerRange(0, 22);
    void *ptr = hz4_malloc(size);
    ptr = hz4_realloc(ptr, 2 * size);
    hz4_free(ptr);
    hz4_free(hz4_calloc(3, size));
    hz4_free(hz4_aligned_alloc(1 << 16, size));
  }
  hz4_malloc_trim(0);
  return nullptr;
}
void *UseNothing(void *) { return nullptr; }

// How much of its stack a thread wrote to, its end included.
size_t StackUsed(void *(*body)(void *)) {
  constexpr size_t kStack = 256 * kKiB;
  void *map = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) abort();
  auto *stack = static_cast<unsigned char *>(map);
  memset(stack, 0xa5, kStack);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack, kStack);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, body, nullptr) != 0) abort();
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  size_t untouched = 0;
  while (untouched < kStack && stack[untouched] == 0xa5) untouched++;
  munmap(map, kStack);
  return kStack - untouched;
}

TEST(StackTest, AtMost4KiBAreUsed) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's frames are larger";
  UseEverything(nullptr);  // the dynamic linker, which needs more, has found all symbols then
  StackUsed(UseNothing);
  const size_t without = StackUsed(UseNothing);
  EXPECT_LE(StackUsed(UseEverything), without + 4 * kKiB);
}

TEST(StackTest, TheSmallestStackIsEnough) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's frames are larger";
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, static_cast<size_t>(PTHREAD_STACK_MIN)), 0);
  for (size_t i = 0; i < 50; i++) {
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, &attributes, UseEverything, nullptr), 0);
    pthread_join(thread, nullptr);
  }
  pthread_attr_destroy(&attributes);
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
