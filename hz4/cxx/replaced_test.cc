// A program that replaces the simplest operators alone, by some that put a mark before each block: those that the
// standard defines by them ([new.delete]) must call these, or one side sees a block of the other's.
#include <stdint.h>
#include <stdlib.h>

#include <new>
#include <vector>

#include "gtest/gtest.h"

namespace {

constexpr size_t kMark = 0x6b72616d;
constexpr std::align_val_t kAlign{64};
size_t live, made;

struct alignas(64) Head {
  size_t mark;
};

void *Mark(void *block) {
  if (block == nullptr) throw std::bad_alloc();
  static_cast<Head *>(block)->mark = kMark;
  live++;
  made++;
  return static_cast<Head *>(block) + 1;
}

void *Unmark(void *ptr) {
  Head *head = static_cast<Head *>(ptr) - 1;
  if (head->mark != kMark) abort();
  head->mark = 0;
  live--;
  return head;
}

// The compiler may remove a pair that it sees through.
void *Hidden(void *ptr) {
  asm volatile("" : "+r"(ptr) : : "memory");
  return ptr;
}

}  // namespace

void *operator new(size_t size) { return Mark(aligned_alloc(64, size + sizeof(Head))); }
void operator delete(void *ptr) noexcept {
  if (ptr != nullptr) free(Unmark(ptr));
}
void *operator new(size_t size, std::align_val_t) { return operator new(size); }
void operator delete(void *ptr, std::align_val_t) noexcept { operator delete(ptr); }

namespace {

TEST(ReplacedTest, EveryOperatorComesToThoseOfTheProgram) {
  const size_t live_before = live, made_before = made;
  size_t expected = 0;
  for (size_t size : {1, 100, 5000, 300000, 3000000}) {
    ::operator delete(Hidden(::operator new(size)));
    ::operator delete(Hidden(::operator new(size)), size);
    ::operator delete(Hidden(::operator new(size)), std::nothrow);
    ::operator delete(Hidden(::operator new(size, std::nothrow)));
    ::operator delete[](Hidden(::operator new[](size)));
    ::operator delete[](Hidden(::operator new[](size)), size);
    ::operator delete[](Hidden(::operator new[](size)), std::nothrow);
    ::operator delete[](Hidden(::operator new[](size, std::nothrow)));
    ::operator delete(Hidden(::operator new(size, kAlign)), kAlign);
    ::operator delete(Hidden(::operator new(size, kAlign)), size, kAlign);
    ::operator delete(Hidden(::operator new(size, kAlign)), kAlign, std::nothrow);
    ::operator delete(Hidden(::operator new(size, kAlign, std::nothrow)), kAlign);
    ::operator delete[](Hidden(::operator new[](size, kAlign)), kAlign);
    ::operator delete[](Hidden(::operator new[](size, kAlign)), size, kAlign);
    ::operator delete[](Hidden(::operator new[](size, kAlign)), kAlign, std::nothrow);
    ::operator delete[](Hidden(::operator new[](size, kAlign, std::nothrow)), kAlign);
    expected += 16;
  }
  EXPECT_EQ(made, made_before + expected);
  EXPECT_EQ(live, live_before);
}

TEST(ReplacedTest, FailureOfTheProgramsOwnIsCaught) {
  volatile size_t size = SIZE_MAX / 2;
  EXPECT_EQ(::operator new(size, std::nothrow), nullptr);
  EXPECT_EQ(::operator new[](size, std::nothrow), nullptr);
  EXPECT_EQ(::operator new(size, kAlign, std::nothrow), nullptr);
  EXPECT_EQ(::operator new[](size, kAlign, std::nothrow), nullptr);
  EXPECT_THROW(Hidden(::operator new[](size)), std::bad_alloc);
  EXPECT_THROW(Hidden(::operator new[](size, kAlign)), std::bad_alloc);
}

TEST(ReplacedTest, Containers) {
  const size_t live_before = live;
  {
    std::vector<std::vector<int>> rows(100);
    for (size_t i = 0; i < 100; i++) rows[i].resize(i * 10);
  }
  EXPECT_EQ(live, live_before);
}

}  // namespace
