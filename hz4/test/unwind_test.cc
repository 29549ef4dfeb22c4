// Real stacks, against those that the C++ runtime's own unwinder finds: the same frames, through whatever code lies
// between. (stack_test has made-up ones.)
#include "hz4/unwind.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unwind.h>

#include <algorithm>
#include <functional>
#include <thread>
#include <vector>

#include "hz4/stack.h"

namespace {

constexpr uint32_t kMax = 64;

struct Stacks {
  std::vector<uintptr_t> ours, theirs;
};

_Unwind_Reason_Code Collect(_Unwind_Context *context, void *out) {
  auto *pcs = static_cast<std::vector<uintptr_t> *>(out);
  if (pcs->size() == kMax) return _URC_END_OF_STACK;
  pcs->push_back(_Unwind_GetIP(context));
  return _URC_NO_REASON;
}

__attribute__((noinline)) Stacks Capture() {
  Stacks s;
  uintptr_t frames[kMax];
  uint32_t count = hz4_stack_take(HZ4_FRAME(), frames, kMax);
  s.ours.assign(frames, frames + count);
  _Unwind_Backtrace(Collect, &s.theirs);
  s.theirs.erase(s.theirs.begin());  // this function
  // At the outermost frame the runtime's unwinder may report one more, of address 0.
  while (!s.theirs.empty() && s.theirs.back() == 0) s.theirs.pop_back();
  return s;
}

void ExpectSame(const Stacks &s, size_t least) {
  ASSERT_GE(s.ours.size(), least);
  ASSERT_GE(s.theirs.size(), least);
#ifdef __riscv
  // What comes before main is the C library's, without frame pointers, of which the first is lost.
  ASSERT_LE(s.theirs.size() - s.ours.size(), 2u);
  EXPECT_TRUE(std::equal(s.ours.begin(), s.ours.end(), s.theirs.begin()));
#else
  EXPECT_EQ(s.ours, s.theirs);
#endif
}

__attribute__((noinline)) Stacks Recurse(int depth) {
  Stacks s = depth == 0 ? Capture() : Recurse(depth - 1);
  __asm__ volatile("" : : "r"(&s) : "memory");  // no tail call
  return s;
}

TEST(UnwindStack, OfCallsIsAsTheRuntimeFindsIt) {
  ExpectSame(Capture(), 4);
  ExpectSame(Recurse(3), 7);
  ExpectSame(Recurse(10), 14);
  ExpectSame(Recurse(10), 14);  // by what is remembered
}

TEST(UnwindStack, HasNoMoreThanIsAskedFor) {
  uintptr_t frames[4] = {0, 0, 7, 7};
  EXPECT_EQ(hz4_stack_take(HZ4_FRAME(), frames, 2), 2u);
  EXPECT_NE(frames[1], 0u);
  EXPECT_EQ(frames[2], 7u);
  EXPECT_EQ(hz4_stack_take(HZ4_FRAME(), frames, 0), 0u);
}

TEST(UnwindStack, OfAThreadEndsWhereTheThreadBegan) {
  Stacks s;
  std::thread([&] { s = Recurse(2); }).join();
  ExpectSame(s, 4);
}

Stacks from_callback;

TEST(UnwindStack, GoesThroughTheCLibrary) {
  int numbers[] = {2, 1};
  qsort(numbers, 2, sizeof(numbers[0]), [](const void *, const void *) {
    from_callback = Recurse(1);
    return 0;
  });
  ExpectSame(from_callback, 6);
}

TEST(UnwindStack, GoesThroughASignalsHandlerAndItsOwnStack) {
  static char own_stack[64 << 10];
  stack_t alternative = {};
  alternative.ss_sp = own_stack;
  alternative.ss_size = sizeof(own_stack);
  ASSERT_EQ(sigaltstack(&alternative, nullptr), 0);
  struct sigaction action = {};
  action.sa_flags = SA_ONSTACK;
  action.sa_handler = [](int) { from_callback = Recurse(1); };
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  from_callback = {};
  raise(SIGUSR1);
#ifdef __x86_64__
  ExpectSame(from_callback, 7);
#else
  // By frame pointers alone it ends where the other stack begins: behind the handler and the code that it returns to.
  constexpr size_t kSure = 4;
  const auto &[ours, theirs] = from_callback;
  ASSERT_GE(ours.size(), kSure);
  ASSERT_GE(theirs.size(), kSure);
  EXPECT_TRUE(std::equal(ours.begin(), ours.begin() + kSure, theirs.begin()));
#endif
  alternative.ss_flags = SS_DISABLE;
  sigaltstack(&alternative, nullptr);
}

__attribute__((noinline)) Stacks WithVariableFrame(size_t bytes) {
  volatile char *room = static_cast<volatile char *>(alloca(bytes));
  room[0] = room[bytes - 1] = 1;
  Stacks s = Recurse(1);
  room[0] = 2;
  return s;
}

__attribute__((noinline)) Stacks WithAlignedFrame(size_t bytes) {
  alignas(128) volatile char aligned[256] = {};
  volatile char *room = static_cast<volatile char *>(alloca(bytes));
  aligned[0] = room[bytes - 1] = 1;
  Stacks s = WithVariableFrame(bytes);
  room[0] = aligned[0];
  return s;
}

TEST(UnwindStack, GoesThroughFramesOfAnySizeAndAlignment) {
  ExpectSame(WithVariableFrame(10000), 5);
  ExpectSame(WithAlignedFrame(100), 6);
  ExpectSame(WithAlignedFrame(100000), 6);
}

TEST(UnwindStack, GoesThroughExceptionsHandlers) {
  Stacks s;
  try {
    throw 1;
  } catch (int) {
    s = Recurse(1);
  }
  ExpectSame(s, 5);
}

#ifdef __x86_64__
// Code without tables, as a just-in-time compiler writes it: calls its argument, with a frame pointer or without.
using Call = void (*)(void (*)());

class WrittenCode : public testing::Test {
 protected:
  Call Write(const std::vector<uint8_t> &code) {
    page_ = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page_ == MAP_FAILED) return nullptr;
    memcpy(page_, code.data(), code.size());
    return reinterpret_cast<Call>(page_);
  }
  void TearDown() override {
    if (page_ != MAP_FAILED) munmap(page_, 4096);
  }
  bool Has(uintptr_t address) const { return address - reinterpret_cast<uintptr_t>(page_) < 4096; }
  void *page_ = MAP_FAILED;
};

std::vector<uintptr_t> ours;
void CaptureOurs() {
  uintptr_t frames[kMax];
  uint32_t count = hz4_stack_take(HZ4_FRAME(), frames, kMax);
  ours.assign(frames, frames + count);
}

TEST_F(WrittenCode, WithFramePointersIsWalkedThrough) {
  Call call = Write({0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3});  // push rbp; mov rbp, rsp; call rdi; pop rbp; ret
  if (call == nullptr) GTEST_SKIP() << "no memory may be executed";
  call(CaptureOurs);
  auto within = std::find_if(ours.begin(), ours.end(), [this](uintptr_t pc) { return Has(pc); });
  ASSERT_NE(within, ours.end());
  EXPECT_GE(ours.end() - within, 3) << "the frames above";
}

TEST_F(WrittenCode, WithoutFramePointersEndsTheStack) {
  // push rbp; mov rbp, <address>; call rdi; pop rbp; ret
  void *hole = mmap(nullptr, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(hole, MAP_FAILED);
  for (uintptr_t fp : {uintptr_t{0}, uintptr_t{1}, ~uintptr_t{0}, uintptr_t{1} << 63, reinterpret_cast<uintptr_t>(hole),
                       reinterpret_cast<uintptr_t>(hole) + 4092}) {
    std::vector<uint8_t> code = {0x55, 0x48, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd7, 0x5d, 0xc3};
    memcpy(&code[3], &fp, sizeof(fp));
    Call call = Write(code);
    if (call == nullptr) GTEST_SKIP() << "no memory may be executed";
    call(CaptureOurs);
    ASSERT_FALSE(ours.empty());
    EXPECT_TRUE(Has(ours.back())) << fp;
    munmap(page_, 4096);
  }
  munmap(hole, 8192);
  page_ = MAP_FAILED;
}
#endif

TEST(UnwindStack, KeepsErrno) {
  errno = 4321;
  uintptr_t frames[kMax];
  hz4_stack_take(HZ4_FRAME(), frames, kMax);
  EXPECT_EQ(errno, 4321);
}

TEST(Unwind, HasNoRuleForWhatIsNoCode) {
  hz4_unwind_rule rule;
  EXPECT_FALSE(hz4_unwind_find(0, &rule));
  EXPECT_FALSE(hz4_unwind_find(~uintptr_t{0}, &rule));
  EXPECT_FALSE(hz4_unwind_find(reinterpret_cast<uintptr_t>(&rule), &rule));
}

}  // namespace
