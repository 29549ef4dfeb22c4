#include "hz4/stack.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

namespace {

constexpr uint32_t kMax = 64;

// A frame pointer leads to a pair of the caller's own and a return address; on riscv64 it is the address behind them.
#ifdef __riscv
constexpr uintptr_t kBehind = 2 * sizeof(uintptr_t);
#else
constexpr uintptr_t kBehind = 0;
#endif
uintptr_t FrameOf(const void *pair) { return reinterpret_cast<uintptr_t>(pair) + kBehind; }
uint32_t TakeFrom(const void *pair, uintptr_t *out, uint32_t max) {
  return hz4_stack_take(reinterpret_cast<void *>(FrameOf(pair)), out, max);
}

// A made-up stack of such pairs.
struct Chain {
  uintptr_t words[512] = {};
  // Returns the next frame's place.
  size_t Put(size_t at, size_t next, uintptr_t address) {
    words[at] = next != 0 ? FrameOf(&words[next]) : 0;
    words[at + 1] = address;
    return next;
  }
  uint32_t Take(uintptr_t *out, uint32_t max = kMax) { return TakeFrom(&words[0], out, max); }
};

TEST(Stack, FollowsFramesUpwards) {
  Chain chain;
  size_t at = 0;
  for (uintptr_t i = 0; i < 10; ++i) at = chain.Put(at, at + 2 + i, 0x400000 + i);
  uintptr_t out[kMax];
  ASSERT_EQ(chain.Take(out), 10u);
  for (uintptr_t i = 0; i < 10; ++i) EXPECT_EQ(out[i], 0x400000 + i);
  EXPECT_EQ(chain.Take(out, 4), 4u);
}

std::string Text(const uintptr_t *stack, uint32_t depth) {
  char buffer[4096];
  struct hz4_writer w = {buffer, sizeof buffer, 0, 0, -1, 0};
  hz4_stack_put(&w, "at", stack, depth);
  return std::string(buffer, w.used);
}

TEST(Stack, IsWrittenWithThePlacesInFiles) {
  Dl_info libc;
  ASSERT_NE(dladdr(dlsym(RTLD_DEFAULT, "qsort"), &libc), 0);
  const auto base = reinterpret_cast<uintptr_t>(libc.dli_fbase);
  const uintptr_t stack[] = {reinterpret_cast<uintptr_t>(&Text), base + 0x1234, 0x10};
  const std::string text = Text(stack, 3);
  EXPECT_EQ(text.rfind("hz4:   at 0x", 0), 0u) << text;
  EXPECT_NE(text.find("\nhz4:   at 0x0000000000000010\n"), std::string::npos) << "no file's: " << text;
  EXPECT_EQ(Text(stack, 0), "");
  if (dlsym(RTLD_DEFAULT, "_dl_find_object") == nullptr) return;
  EXPECT_NE(text.find(" (program+0x"), std::string::npos) << text;
  EXPECT_NE(text.find(std::string(" (") + libc.dli_fname + "+0x1234)\n"), std::string::npos) << text;
}

TEST(Stack, EndsWhereAFramePointerLeadsDownOrFarOrAskew) {
  uintptr_t out[kMax];
  static Chain chain;
  chain.Put(0, 4, 0x400000);
  for (uintptr_t next : {FrameOf(&chain.words[4]), FrameOf(&chain.words[2]), FrameOf(&chain.words[4]) + HZ4_STACK_STEP_MAX + 64}) {
    chain.words[4] = next;
    chain.words[5] = 0x400001;
    EXPECT_EQ(chain.Take(out), 2u) << next;
  }
  chain.words[0] = FrameOf(&chain.words[4]) + 1;
  EXPECT_EQ(chain.Take(out), 1u);
  chain.words[1] = 0;  // no code there
  EXPECT_EQ(chain.Take(out), 0u);
}

TEST(Stack, EndsBeforeMemoryThatIsNotThere) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  auto *memory = static_cast<char *>(mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(mprotect(memory + 2 * page, page, PROT_NONE), 0);
  auto *first = reinterpret_cast<uintptr_t *>(memory);
  auto *second = reinterpret_cast<uintptr_t *>(memory + page + 64);
  auto *gone = reinterpret_cast<uintptr_t *>(memory + 2 * page + 64);
  first[0] = FrameOf(second);
  first[1] = second[1] = 0x400000;
  second[0] = FrameOf(gone);
  uintptr_t out[kMax];
  errno = 7;
  EXPECT_EQ(TakeFrom(first, out, kMax), 2u);
  // Half of the frame is there.
  second[0] = FrameOf(memory + 2 * page - 8);
  EXPECT_EQ(TakeFrom(first, out, kMax), 2u);
  EXPECT_EQ(errno, 7);
  EXPECT_TRUE(hz4_stack_readable(reinterpret_cast<uintptr_t>(second)));
  EXPECT_FALSE(hz4_stack_readable(reinterpret_cast<uintptr_t>(gone)));
  munmap(memory, 4 * page);
}

__attribute__((noinline, optimize("no-omit-frame-pointer"))) uint32_t Descend(int levels, uintptr_t *out) {
  uint32_t n = levels == 0 ? hz4_stack_take(HZ4_FRAME(), out, kMax) : Descend(levels - 1, out);
  __asm__ volatile("" : : : "memory");  // no tail call
  return n;
}

TEST(Stack, FindsTheCallersOfARealFunctionInAnyThread) {
  auto look = [] {
    uintptr_t out[kMax];
    ASSERT_GE(Descend(8, out), 9u);
    for (int i = 1; i < 8; ++i) EXPECT_EQ(out[i], out[0]) << "each level is called from the same place";
    EXPECT_NE(out[8], out[0]);
  };
  look();
  std::thread(look).join();
}

}  // namespace
