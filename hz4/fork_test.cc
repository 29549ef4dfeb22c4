// fork in programs whose other threads allocate, hold stdio's locks, start, end, and fork as well.
//
// hz4 takes libc's place in this program, so that stdio and the threads allocate from it too. A child that hangs is
// ended by its alarm, and a hanging parent by its own; neither decides anything in a run that goes well.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "hz4/hz4.h"
#include "hz4/test_memory.h"

namespace hz4_test {
namespace {

constexpr unsigned kChildAlarmSeconds = 60;
constexpr unsigned kParentAlarmSeconds = 120;

struct Block {
  size_t size;
  unsigned char fill;
};

Block *NewBlock(size_t size) {
  auto *block = static_cast<Block *>(malloc(size));
  if (block == nullptr) abort();
  memset(static_cast<void *>(block), static_cast<int>(size * 31 % 251), size < 1024 ? size : 1024);
  *block = {size, static_cast<unsigned char>(size * 31 % 251)};
  return block;
}

bool Intact(const Block *block) {
  const size_t checked = block->size < 1024 ? block->size : 1024;
  const auto *bytes = reinterpret_cast<const unsigned char *>(block);
  if (block->fill != block->size * 31 % 251) return false;
  for (size_t i = sizeof(Block); i < checked; i++) {
    if (bytes[i] != block->fill) return false;
  }
  return true;
}

size_t DrawSize(unsigned *state) {
  const unsigned shift = 4 + static_cast<unsigned>(rand_r(state)) % 17;  // 16 bytes to 2 MiB
  return (size_t{1} << shift) + static_cast<size_t>(rand_r(state)) % (size_t{1} << shift);
}

// A slot holds a whole block or nothing, at every moment, so that a child may take over what it finds in them.
constexpr size_t kSlots = 256;
std::atomic<Block *> slots[kSlots];
std::atomic<bool> stop;

void Churn(unsigned seed) {
  while (!stop.load(std::memory_order_relaxed)) {
    Block *old = slots[static_cast<size_t>(rand_r(&seed)) % kSlots].exchange(nullptr);
    if (old != nullptr) {
      if (!Intact(old)) abort();
      free(old);
    }
    Block *left = slots[static_cast<size_t>(rand_r(&seed)) % kSlots].exchange(NewBlock(DrawSize(&seed)));
    free(left);
  }
}

void FreeSlots() {
  for (std::atomic<Block *> &slot : slots) free(slot.exchange(nullptr));
}

// The child's work; its result is the exit status, 0 for success.
int UseTheHeap() {
  unsigned seed = 1;
  for (int round = 0; round < 2; round++) {
    Block *blocks[200];
    for (Block *&block : blocks) block = NewBlock(DrawSize(&seed));
    for (Block *block : blocks) {
      if (!Intact(block)) return 10;
      free(block);
    }
  }
  hz4_check();
  return 0;
}

int ExitStatusOf(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return 100;
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return 1000 + WTERMSIG(status);
}
constexpr int kHung = 1000 + SIGALRM;

int ForkAndRun(const std::function<int()> &body) {
  const pid_t pid = fork();
  if (pid < 0) return 101;
  if (pid == 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(kChildAlarmSeconds);
    _exit(body());
  }
  return ExitStatusOf(pid);
}

int UseInheritFork() {
  for (std::atomic<Block *> &slot : slots) {
    Block *block = slot.exchange(nullptr);
    if (block == nullptr) continue;
    if (!Intact(block)) return 11;
    free(block);
  }
  const int used = UseTheHeap();
  if (used != 0) return used;
  const int grandchild = ForkAndRun(UseTheHeap);
  if (grandchild == kHung) return 12;
  return grandchild == 0 ? 0 : 13;
}

class ForkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    stop = false;
    signal(SIGALRM, [](int) {
      static const char message[] = "fork_test: the parent hangs\n";
      if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(2);
      abort();
    });
    alarm(kParentAlarmSeconds);
    fflush(stdout);
    hz4_malloc_trim(0);
    resident_ = ResidentBytes();
    mappings_ = Mappings();
  }
  void TearDown() override {
    stop = true;
    for (std::thread &thread : threads_) thread.join();
    alarm(0);
    FreeSlots();
    hz4_check();
    // What the other threads did while fork held hz4's locks was not lost.
    hz4_malloc_trim(0);
    EXPECT_LE(ResidentBytes(), resident_ + 24 * kMiB);
    EXPECT_LE(Mappings(), mappings_ + 256);
  }
  void ForkOften(int times, const std::function<int()> &body) {
    for (int i = 0; i < times; i++) ASSERT_EQ(ForkAndRun(body), 0) << "fork " << i << "; " << kHung << " is a hang";
  }

  std::vector<std::thread> threads_;
  size_t resident_ = 0;
  size_t mappings_ = 0;
};

TEST_F(ForkTest, MallocIsHz4) {
  const uint64_t refills = hz4_stats_get("refill_calls");
  ASSERT_NE(refills, UINT64_MAX);
  std::vector<Block *> blocks;
  for (int i = 0; i < 20000; i++) blocks.push_back(NewBlock(500));
  EXPECT_GT(hz4_stats_get("refill_calls"), refills);
  EXPECT_GE(hz4_malloc_usable_size(blocks[0]), 500u);
  for (Block *block : blocks) free(block);
}

TEST_F(ForkTest, WhileFourThreadsChurn) {
  for (unsigned i = 0; i < 4; i++) threads_.emplace_back(Churn, i + 1);
  ForkOften(200, UseInheritFork);
}

TEST_F(ForkTest, WhileOthersForkToo) {
  for (unsigned i = 0; i < 2; i++) threads_.emplace_back(Churn, i + 1);
  std::atomic<int> failed{0};
  std::vector<std::thread> forkers;
  for (int i = 0; i < 4; i++) {
    forkers.emplace_back([&] {
      for (int k = 0; k < 40 && failed == 0; k++) {
        const int status = ForkAndRun(UseInheritFork);
        if (status != 0) failed = status;
      }
    });
  }
  for (std::thread &thread : forkers) thread.join();
  EXPECT_EQ(failed.load(), 0) << kHung << " is a hang";
}

TEST_F(ForkTest, WhileThreadsStartAndEnd) {
  threads_.emplace_back(Churn, 1);
  for (int i = 0; i < 2; i++) {
    threads_.emplace_back([] {
      while (!stop) {
        std::thread([] {
          unsigned seed = 5;
          Block *blocks[20];
          for (Block *&block : blocks) block = NewBlock(DrawSize(&seed));
          for (Block *block : blocks) free(block);
        }).join();
      }
    });
  }
  ForkOften(150, UseInheritFork);
}

// ---- stdio ----

// Lines of many lengths, written without stdio.
void FeedLines(int fd) {
  unsigned seed = 7;
  char line[6000];
  memset(line, 'x', sizeof line);
  while (!stop) {
    const size_t length = 1 + static_cast<size_t>(rand_r(&seed)) % (sizeof line - 1);
    line[length - 1] = '\n';
    if (write(fd, line, length) < 0) break;
    line[length - 1] = 'x';
  }
  close(fd);
}

// getline waits and allocates with the stream's lock held.
void ReadLines(FILE *stream) {
  ssize_t length = 0;
  while (length >= 0) {
    char *line = nullptr;
    size_t capacity = 0;
    for (int i = 0; i < 8 && length >= 0; i++) length = getline(&line, &capacity, stream);
    free(line);
  }
  fclose(stream);
}

void OpenPrintClose() {
  while (!stop) {
    FILE *stream = fopen("/dev/null", "w");
    if (stream == nullptr) abort();
    fprintf(stream, "%d %s %*.3f\n", 1, "text", 3000, 1.5);
    fclose(stream);
  }
}

// Takes the lock of the list of streams, which fork takes as well, and then each stream's.
void FlushAll() {
  while (!stop) fflush(nullptr);
}

int UseTheHeapAndStdio() {
  FILE *stream = fopen("/dev/null", "w");
  if (stream == nullptr) return 20;
  fprintf(stream, "%*d\n", 4000, 5);
  if (fclose(stream) != 0) return 21;
  return UseInheritFork();
}

TEST_F(ForkTest, WhileStdioIsLocked) {
  for (int i = 0; i < 2; i++) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    FILE *stream = fdopen(ends[0], "r");
    ASSERT_NE(stream, nullptr);
    threads_.emplace_back(ReadLines, stream);
    threads_.emplace_back(FeedLines, ends[1]);
  }
  threads_.emplace_back(OpenPrintClose);
  threads_.emplace_back(FlushAll);
  threads_.emplace_back(Churn, 1);
  ForkOften(100, UseTheHeapAndStdio);
}

// ---- Fork handlers that allocate ----

std::atomic<bool> handlers_on;
std::atomic<int> handler_calls;

void HandlerAllocates() {
  if (!handlers_on) return;
  handler_calls++;
  unsigned seed = 3;
  for (int i = 0; i < 20; i++) free(NewBlock(DrawSize(&seed)));
}

// The later a prepare handler was registered, the earlier it runs; the others run in the order of registration. So
// these run with every lock held that a prepare handler of hz4 might take.
__attribute__((constructor(101))) void RegisterEarlyHandlers() {
  pthread_atfork(HandlerAllocates, HandlerAllocates, HandlerAllocates);
}

TEST_F(ForkTest, ForkHandlersMayAllocate) {
  pthread_atfork(HandlerAllocates, HandlerAllocates, HandlerAllocates);
  for (unsigned i = 0; i < 2; i++) threads_.emplace_back(Churn, i + 1);
  handlers_on = true;
  handler_calls = 0;
  ForkOften(50, UseInheritFork);
  handlers_on = false;
  EXPECT_EQ(handler_calls.load(), 50 * 4);
}

}  // namespace
}  // namespace hz4_test
