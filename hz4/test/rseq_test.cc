// What the kernel keeps for sequences: how many ids there are, each thread's area, and that all sequences are restarted.
// On the kernel at hand: each test is skipped where it has nothing of this.
#include "hz4/rseq.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "hz4/sequence.h"

namespace {

constexpr int kErrno = 4321;

class Rseq : public testing::Test {
 protected:
  void SetUp() override {
    if (hz4_rseq_ids() == 0 || hz4_rseq_area() == nullptr) GTEST_SKIP() << "the kernel at hand keeps no ids for us";
  }
};

TEST(RseqErrno, IsKept) {
  errno = kErrno;
  hz4_rseq_ids();
  hz4_rseq_area();
  hz4_rseq_restart_all();
  EXPECT_EQ(errno, kErrno);
}

TEST_F(Rseq, ThereAreAsManyIdsAsCpus) {
  EXPECT_GE(hz4_rseq_ids(), static_cast<size_t>(sysconf(_SC_NPROCESSORS_CONF)));
  EXPECT_LE(hz4_rseq_ids(), size_t{8192});
  EXPECT_EQ(hz4_rseq_ids(), hz4_rseq_ids());
}

// Also in a thread that may not run everywhere.
TEST_F(Rseq, AffinityChangesNothing) {
  const size_t ids = hz4_rseq_ids();
  std::thread([&] {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
    EXPECT_EQ(hz4_rseq_ids(), ids);
  }).join();
}

TEST_F(Rseq, EachThreadHasAnArea) {
  constexpr size_t kThreads = 8;
  std::vector<hz4_area *> areas(kThreads);
  std::vector<std::thread> threads;
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, kThreads);
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      areas[t] = hz4_rseq_area();
      EXPECT_EQ(hz4_rseq_area(), areas[t]) << "the second time nothing changes";
      pthread_barrier_wait(&barrier);  // all at once, or else one's memory may be another's
    });
  }
  for (std::thread &thread : threads) thread.join();
  pthread_barrier_destroy(&barrier);
  EXPECT_EQ(std::set<hz4_area *>(areas.begin(), areas.end()).size(), kThreads);
  EXPECT_EQ(std::set<hz4_area *>(areas.begin(), areas.end()).count(nullptr), 0u);
}

TEST_F(Rseq, TheKernelKeepsItsId) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      const volatile hz4_area *area = hz4_rseq_area();
      for (int i = 0; i < 10000; ++i) {
        const int32_t id = area->id;
        ASSERT_GE(id, 0);
        ASSERT_LT(static_cast<size_t>(id), hz4_rseq_ids());
        ASSERT_LT(area->cpu_id, static_cast<uint32_t>(CPU_SETSIZE)) << "registered";
        if (i % 100 == 0) sched_yield();
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
}

TEST_F(Rseq, SequencesAreRestarted) {
  EXPECT_TRUE(hz4_rseq_restart_all());
  EXPECT_TRUE(hz4_rseq_restart_all());
  std::thread([] { EXPECT_TRUE(hz4_rseq_restart_all()); }).join();
}

}  // namespace
