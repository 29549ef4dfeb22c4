// inbox: what a push, a take and a close mean for one thread, and that nothing is lost or doubled among many.
#include "hz4/inbox.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace {

struct alignas(64) Batch : hz4_batch {};

// Batches that any test may push; each knows its number.
class Batches {
 public:
  explicit Batches(size_t n) : batches_(new Batch[n]) {
    for (size_t i = 0; i < n; ++i) {
      batches_[i].next = nullptr;
      batches_[i].count = i;
    }
  }
  hz4_batch *operator[](size_t i) { return &batches_[i]; }

 private:
  std::unique_ptr<Batch[]> batches_;
};

std::vector<uint64_t> Numbers(hz4_batch *chain) {
  std::vector<uint64_t> numbers;
  for (; chain != nullptr; chain = chain->next) numbers.push_back(chain->count);
  return numbers;
}

size_t Depth(const hz4_inbox &inbox) { return inbox.word & HZ4_INBOX_DEPTH_MASK; }

TEST(Inbox, EmptyGivesNothing) {
  hz4_inbox inbox = {};
  EXPECT_EQ(hz4_inbox_take(&inbox), nullptr);
  EXPECT_EQ(Depth(inbox), 0u);
}

TEST(Inbox, TakeGivesTheWholeChainNewestFirst) {
  hz4_inbox inbox = {};
  Batches batches(4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(hz4_inbox_push(&inbox, batches[i], HZ4_INBOX_BATCHES_MAX));
    EXPECT_EQ(Depth(inbox), i + 1);
  }
  EXPECT_EQ(Numbers(hz4_inbox_take(&inbox)), (std::vector<uint64_t>{3, 2, 1, 0}));
  EXPECT_EQ(hz4_inbox_take(&inbox), nullptr);
  EXPECT_EQ(Depth(inbox), 0u);
}

TEST(Inbox, RefusesBeyondTheLimit) {
  for (uintptr_t limit : {1, 4, 62}) {
    hz4_inbox inbox = {};
    Batches batches(limit + 1);
    for (size_t i = 0; i < limit; ++i) ASSERT_TRUE(hz4_inbox_push(&inbox, batches[i], limit));
    const uintptr_t word = inbox.word;
    EXPECT_FALSE(hz4_inbox_push(&inbox, batches[limit], limit));
    EXPECT_EQ(inbox.word, word);
    EXPECT_EQ(Numbers(hz4_inbox_take(&inbox)).size(), limit);
    EXPECT_TRUE(hz4_inbox_push(&inbox, batches[limit], limit)) << "taken: there is room again";
  }
}

TEST(Inbox, CountsItsObjects) {
  hz4_inbox inbox = {};
  Batches batches(5);
  for (size_t i = 0, objects = 0; i < 4; ++i) {
    batches[i]->count = 10 * i + 1;
    objects += 10 * i + 1;
    ASSERT_TRUE(hz4_inbox_push(&inbox, batches[i], HZ4_INBOX_NO_LIMIT));
    EXPECT_EQ(hz4_inbox_objects(&inbox), objects);
  }
  batches[4]->count = HZ4_INBOX_OBJECTS_MAX - 3;  // more than can be counted
  ASSERT_TRUE(hz4_inbox_push(&inbox, batches[4], HZ4_INBOX_NO_LIMIT));
  EXPECT_EQ(hz4_inbox_objects(&inbox), HZ4_INBOX_OBJECTS_MAX);
  EXPECT_EQ(Depth(inbox), 5u);
  EXPECT_EQ(Numbers(hz4_inbox_take(&inbox)).size(), 5u);
  EXPECT_EQ(hz4_inbox_objects(&inbox), 0u);
  ASSERT_TRUE(hz4_inbox_push(&inbox, batches[1], HZ4_INBOX_NO_LIMIT));
  EXPECT_EQ(Numbers(hz4_inbox_close(&inbox)), std::vector<uint64_t>{11});
  EXPECT_EQ(hz4_inbox_objects(&inbox), 0u) << "closed";
}

TEST(Inbox, WithoutALimitManyFit) {
  hz4_inbox inbox = {};
  constexpr size_t kMany = 1000;
  Batches batches(kMany);
  for (size_t i = 0; i < kMany; ++i) ASSERT_TRUE(hz4_inbox_push(&inbox, batches[i], HZ4_INBOX_NO_LIMIT));
  const std::vector<uint64_t> numbers = Numbers(hz4_inbox_take(&inbox));
  ASSERT_EQ(numbers.size(), kMany);
  for (size_t i = 0; i < kMany; ++i) EXPECT_EQ(numbers[i], kMany - 1 - i);
}

TEST(Inbox, ClosedTakesNothing) {
  hz4_inbox inbox = {};
  Batches batches(3);
  ASSERT_TRUE(hz4_inbox_push(&inbox, batches[0], 4));
  ASSERT_TRUE(hz4_inbox_push(&inbox, batches[1], 4));
  EXPECT_EQ(Numbers(hz4_inbox_close(&inbox)), (std::vector<uint64_t>{1, 0}));
  EXPECT_FALSE(hz4_inbox_push(&inbox, batches[2], 4));
  EXPECT_FALSE(hz4_inbox_push(&inbox, batches[2], HZ4_INBOX_NO_LIMIT));
  EXPECT_EQ(hz4_inbox_take(&inbox), nullptr);
  EXPECT_FALSE(hz4_inbox_push(&inbox, batches[2], 4)) << "taking must not open it";
  EXPECT_EQ(hz4_inbox_close(&inbox), nullptr);
  hz4_inbox_open(&inbox);
  EXPECT_TRUE(hz4_inbox_push(&inbox, batches[2], 4));
  EXPECT_EQ(Numbers(hz4_inbox_take(&inbox)), (std::vector<uint64_t>{2}));
}

// Producers push and push again whatever came back; an owner takes, a thief takes, and the owner closes and opens.
// Each batch carries a mark that its pusher sets and its taker clears: a batch that is lost is never free again (and the
// producer waits for it until the test times out), one that is doubled is cleared twice. The objects are written before
// the push and read after the take: tsan watches.
void Traffic(bool close) {
  constexpr size_t kProducers = 3, kBatches = 24;
  constexpr size_t kPushes = 4000;  // four at most for each turn that a taker gets, however many others want the CPUs
  struct Cell {
    std::atomic<int> waiting{false};  // of a byte riscv64 has no exchange
    uint64_t pushes = 0;  // of the holder
  };
  hz4_inbox inbox = {};
  Batches batches(kProducers * kBatches);
  std::vector<Cell> cells(kProducers * kBatches);
  std::atomic<uint64_t> pushed{0}, refused{0}, taken{0}, wrong{0}, deepest{0};
  std::atomic<size_t> producing{kProducers};
  constexpr uintptr_t kLimit = 4;

  auto consume = [&](hz4_batch *chain) {
    uint64_t depth = 0;
    while (chain != nullptr) {
      hz4_batch *batch = chain;
      chain = batch->next;
      Cell &cell = cells[batch->count];
      if (batch->objects[0] != batch || batch->objects[61] != &cell) ++wrong;
      ++cell.pushes;
      if (!cell.waiting.exchange(false)) ++wrong;
      ++taken;
      ++depth;
    }
    if (depth > kLimit) ++wrong;
    if (depth > deepest) deepest = depth;
  };

  std::vector<std::thread> threads;
  for (size_t p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      std::mt19937_64 random(p);
      for (size_t done = 0; done < kPushes;) {
        const size_t i = p * kBatches + random() % kBatches;
        if (cells[i].waiting) {
          sched_yield();
          continue;
        }
        hz4_batch *batch = batches[i];
        batch->objects[0] = batch;
        batch->objects[61] = &cells[i];
        cells[i].waiting = true;
        if (hz4_inbox_push(&inbox, batch, kLimit)) {
          ++done;
          ++pushed;
        } else {
          cells[i].waiting = false;
          ++refused;
          sched_yield();
        }
      }
      --producing;
    });
  }
  threads.emplace_back([&] {  // owner
    std::mt19937_64 random(100);
    while (producing != 0) {
      if (close && random() % 8 == 0) {
        consume(hz4_inbox_close(&inbox));
        if (random() % 2 == 0) sched_yield();
        hz4_inbox_open(&inbox);
      } else {
        consume(hz4_inbox_take(&inbox));
        if (random() % 64 == 0) sched_yield();
      }
    }
  });
  threads.emplace_back([&] {  // thief
    while (producing != 0) {
      for (int i = 0; i < 64; ++i) consume(hz4_inbox_take(&inbox));
      sched_yield();
    }
  });
  for (std::thread &thread : threads) thread.join();
  consume(hz4_inbox_close(&inbox));

  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(pushed.load(), kProducers * kPushes);
  EXPECT_EQ(taken.load(), pushed.load());
  uint64_t cell_pushes = 0;
  for (const Cell &cell : cells) {
    EXPECT_FALSE(cell.waiting.load()) << "lost";
    cell_pushes += cell.pushes;
  }
  EXPECT_EQ(cell_pushes, pushed.load());
  EXPECT_GE(deepest.load(), 1u);
}

TEST(Inbox, ProducersOwnerAndThief) { Traffic(false); }

TEST(Inbox, ProducersThiefAndAnOwnerWhoComesAndGoes) { Traffic(true); }

// Nothing arrives after the last close: what was pushed is in some chain.
TEST(Inbox, CloseIsTheEnd) {
  constexpr size_t kProducers = 2, kEach = 50;
  for (int round = 0; round < 200; ++round) {
    hz4_inbox inbox = {};
    Batches batches(kProducers * kEach);
    std::atomic<size_t> pushed{0}, ready{0};
    std::vector<std::thread> producers;
    for (size_t p = 0; p < kProducers; ++p) {
      producers.emplace_back([&, p] {
        ++ready;
        while (ready != kProducers + 1) sched_yield();
        for (size_t i = 0; i < kEach; ++i) {
          if (!hz4_inbox_push(&inbox, batches[p * kEach + i], HZ4_INBOX_NO_LIMIT)) break;
          ++pushed;
        }
      });
    }
    ++ready;
    while (ready != kProducers + 1) sched_yield();
    for (int i = 0; i < round % 50; ++i) sched_yield();
    const size_t closed = Numbers(hz4_inbox_close(&inbox)).size();
    for (std::thread &producer : producers) producer.join();
    ASSERT_EQ(closed, pushed.load());
    ASSERT_EQ(inbox.word, HZ4_INBOX_CLOSED);
  }
}

}  // namespace
