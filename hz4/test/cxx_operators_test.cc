// All 20 replaceable operators of C++17 (8 new, 12 delete), which are hz4's in this program, as malloc is. Those 4 that do not
// throw are the C++ library's where hz4 comes out of an archive.
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <new>

#include "gtest/gtest.h"
#include "hz4/hz4.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr std::align_val_t kAlign{4096};
constexpr size_t kSize = 3000;

// The compiler may remove a pair of new and delete that it sees through, but not through these.
volatile size_t hidden_size;
void *Hidden(void *ptr) {
  asm volatile("" : "+r"(ptr) : : "memory");
  return ptr;
}

struct NewOperator {
  const char *name;
  void *(*allocate)(size_t);
  size_t alignment;
  bool throws;
};
const NewOperator kNew[] = {
    {"new", [](size_t n) { return ::operator new(n); }, 16, true},
    {"new[]", [](size_t n) { return ::operator new[](n); }, 16, true},
    {"new nothrow", [](size_t n) { return ::operator new(n, std::nothrow); }, 16, false},
    {"new[] nothrow", [](size_t n) { return ::operator new[](n, std::nothrow); }, 16, false},
    {"new aligned", [](size_t n) { return ::operator new(n, kAlign); }, 4096, true},
    {"new[] aligned", [](size_t n) { return ::operator new[](n, kAlign); }, 4096, true},
    {"new aligned nothrow", [](size_t n) { return ::operator new(n, kAlign, std::nothrow); }, 4096, false},
    {"new[] aligned nothrow", [](size_t n) { return ::operator new[](n, kAlign, std::nothrow); }, 4096, false},
};

struct DeleteOperator {
  const char *name;
  void (*release)(void *);
  bool array;
  bool aligned;
};
const DeleteOperator kDelete[] = {
    {"delete", [](void *p) { ::operator delete(p); }, false, false},
    {"delete[]", [](void *p) { ::operator delete[](p); }, true, false},
    {"delete nothrow", [](void *p) { ::operator delete(p, std::nothrow); }, false, false},
    {"delete[] nothrow", [](void *p) { ::operator delete[](p, std::nothrow); }, true, false},
    {"delete sized", [](void *p) { ::operator delete(p, kSize); }, false, false},
    {"delete[] sized", [](void *p) { ::operator delete[](p, kSize); }, true, false},
    {"delete aligned", [](void *p) { ::operator delete(p, kAlign); }, false, true},
    {"delete[] aligned", [](void *p) { ::operator delete[](p, kAlign); }, true, true},
    {"delete aligned nothrow", [](void *p) { ::operator delete(p, kAlign, std::nothrow); }, false, true},
    {"delete[] aligned nothrow", [](void *p) { ::operator delete[](p, kAlign, std::nothrow); }, true, true},
    {"delete sized aligned", [](void *p) { ::operator delete(p, kSize, kAlign); }, false, true},
    {"delete[] sized aligned", [](void *p) { ::operator delete[](p, kSize, kAlign); }, true, true},
};

bool IsArray(const NewOperator &one) { return strstr(one.name, "[]") != nullptr; }

// hz4_malloc_usable_size aborts, or at least disagrees, when the pointer is not hz4's.
TEST(CxxOperatorsTest, NewGivesMemoryOfHz4) {
  for (const NewOperator &one : kNew) {
    for (size_t size : {size_t{0}, size_t{1}, kSize, 300 * kKiB, 3 * kMiB}) {
      void *ptr = Hidden(one.allocate(size));
      ASSERT_NE(ptr, nullptr) << one.name;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(ptr) % one.alignment, 0u) << one.name;
      EXPECT_GE(hz4_malloc_usable_size(ptr), size) << one.name;
      EXPECT_EQ(hz4_malloc_usable_size(ptr), malloc_usable_size(ptr)) << one.name;
      memset(ptr, 1, size);
      hz4_free(ptr);
    }
  }
  hz4_check();
}

// Every delete with every new that it fits. Each pair moves 60 MB, which would stay if delete did not free.
TEST(CxxOperatorsTest, DeleteFreesWhatNewGave) {
  size_t pairs = 0;
  for (const DeleteOperator &release : kDelete) {
    release.release(nullptr);
    for (const NewOperator &allocate : kNew) {
      if (IsArray(allocate) != release.array || (allocate.alignment > 16) != release.aligned) continue;
      pairs++;
      const size_t before = ResidentBytes();
      for (size_t i = 0; i < 20000; i++) {
        void *ptr = Hidden(allocate.allocate(kSize));
        ASSERT_NE(ptr, nullptr);
        memset(ptr, 1, kSize);
        release.release(ptr);
      }
      if (ResidentIsOurs()) {
        EXPECT_LE(ResidentBytes(), before + 8 * kMiB) << allocate.name << ", " << release.name;
      }
    }
  }
  EXPECT_EQ(pairs, 24u);
  hz4_check();
}

// Rounded up to an alignment, the largest would be 0.
TEST(CxxOperatorsTest, FailureThrowsOrGivesNull) {
  for (const NewOperator &one : kNew) {
    for (size_t size : {size_t{PTRDIFF_MAX} + 1, size_t{PTRDIFF_MAX}, SIZE_MAX - 4096, SIZE_MAX - 4095, SIZE_MAX - 1, SIZE_MAX}) {
      hidden_size = size;
      if (one.throws) {
        EXPECT_THROW(Hidden(one.allocate(hidden_size)), std::bad_alloc) << one.name << " " << size;
      } else {
        EXPECT_EQ(Hidden(one.allocate(hidden_size)), nullptr) << one.name << " " << size;
      }
    }
  }
  hidden_size = SIZE_MAX / 4;
  // g++ checks the length itself, and throws bad_array_new_length; clang asks operator new for SIZE_MAX bytes.
  EXPECT_THROW(Hidden(new uint64_t[hidden_size]), std::bad_alloc);
  hz4_check();
}

// Of a block up to 256 KiB with HZ4_HARDEN=1: cxx_operators_harden_test.
TEST(CxxOperatorsDeathTest, WrongSizesAndAlignmentsAreFound) {
  const char *message = "^hz4: sized free with a wrong size or alignment: 0x[0-9a-f]{16}" HZ4_TEST_LAST_LINE_END;
  const size_t size = getenv("HZ4_HARDEN") != nullptr ? kSize : 3 * kMiB;
  void *one = Hidden(::operator new(size)), *many = Hidden(::operator new[](size));
  void *aligned = Hidden(::operator new(size, kAlign));
  EXPECT_EXIT(::operator delete(one, size / 20), ::testing::KilledBySignal(SIGABRT), message);
  EXPECT_EXIT(::operator delete[](many, size * 2), ::testing::KilledBySignal(SIGABRT), message);
  EXPECT_EXIT(::operator delete(aligned, size * 2, kAlign), ::testing::KilledBySignal(SIGABRT), message);
  EXPECT_EXIT(::operator delete(one, size, std::align_val_t{48}), ::testing::KilledBySignal(SIGABRT), message);
  ::operator delete(one, size);
  ::operator delete[](many, size);
  ::operator delete(aligned, size, kAlign);
}

TEST(CxxOperatorsTest, AlignmentsThatAreNoneThrow) {
  std::set_new_handler([] { abort(); });  // no memory is missing
  EXPECT_THROW(Hidden(::operator new(100, std::align_val_t{48})), std::bad_alloc);
  EXPECT_THROW(Hidden(::operator new[](100, std::align_val_t{0})), std::bad_alloc);
  std::set_new_handler(nullptr);
}

// The handler runs until memory is there, throws, or is gone: here it gives up at its third call.
int handler_calls;
void Handler() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

TEST(CxxOperatorsTest, NewHandlerRuns) {
  for (const NewOperator &one : kNew) {
    handler_calls = 0;
    std::set_new_handler(Handler);
    hidden_size = size_t{PTRDIFF_MAX};
    if (one.throws) {
      EXPECT_THROW(Hidden(one.allocate(hidden_size)), std::bad_alloc) << one.name;
    } else {
      EXPECT_EQ(Hidden(one.allocate(hidden_size)), nullptr) << one.name;
    }
    EXPECT_EQ(handler_calls, 3) << one.name;
    EXPECT_EQ(std::get_new_handler(), nullptr);
  }
}

// A handler that throws is the end of a throwing new, and NULL from the others.
struct OwnError : std::bad_alloc {};
void ThrowingHandler() { throw OwnError(); }

TEST(CxxOperatorsTest, NewHandlerThrows) {
  for (const NewOperator &one : kNew) {
    std::set_new_handler(ThrowingHandler);
    hidden_size = size_t{PTRDIFF_MAX};
    if (one.throws) {
      EXPECT_THROW(Hidden(one.allocate(hidden_size)), OwnError) << one.name;
    } else {
      EXPECT_EQ(Hidden(one.allocate(hidden_size)), nullptr) << one.name;
    }
    std::set_new_handler(nullptr);
  }
}

// ---- with no memory left, in a process of its own ----

constexpr size_t kTooMuchThen = 512 * kMiB;
void *reserve;

void LimitAddresses(size_t more_bytes) {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == nullptr || fscanf(file, "%lu", &pages) != 1) _exit(2);
  fclose(file);
  const rlim_t bytes = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + more_bytes;
  const struct rlimit limit = {bytes, bytes};
  if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
}

void FreeReserve() {
  handler_calls++;
  free(reserve);
  std::set_new_handler(nullptr);
}

void FailThenServe(const NewOperator &one) {
  LimitAddresses(kTooMuchThen / 4);
  bool threw = false;
  void *ptr = nullptr;
  try {
    ptr = Hidden(one.allocate(kTooMuchThen));
  } catch (const std::bad_alloc &) {
    threw = true;
  }
  if (ptr != nullptr || threw != one.throws) _exit(1);
  memset(Hidden(one.allocate(kMiB)), 1, kMiB);
  _exit(0);
}

void MakeRoom(const NewOperator &one) {
  handler_calls = 0;
  reserve = malloc(kTooMuchThen);
  if (reserve == nullptr) _exit(3);
  LimitAddresses(kTooMuchThen / 4);
  std::set_new_handler(FreeReserve);
  auto *ptr = static_cast<char *>(Hidden(one.allocate(kTooMuchThen)));
  if (ptr == nullptr || hz4_malloc_usable_size(ptr) < kTooMuchThen) _exit(1);
  ptr[0] = ptr[kTooMuchThen - 1] = 1;
  _exit(handler_calls == 1 ? 0 : 4);
}

TEST(CxxOperatorsTest, OutOfMemoryThrowsOrGivesNullAndIsSurvived) {
  if (UnderQemu()) GTEST_SKIP() << "it limits no addresses";
  for (const NewOperator &one : kNew) {
    EXPECT_EXIT(FailThenServe(one), ::testing::ExitedWithCode(0), "") << one.name;
  }
}

TEST(CxxOperatorsTest, NewHandlerThatFreesMakesRoom) {
  if (UnderQemu()) GTEST_SKIP() << "it limits no addresses";
  for (const NewOperator &one : kNew) EXPECT_EXIT(MakeRoom(one), ::testing::ExitedWithCode(0), "") << one.name;
}

struct alignas(256) Overaligned {
  unsigned char bytes[300];
};
struct Virtual {
  virtual ~Virtual() = default;
  int value = 7;
};

TEST(CxxOperatorsTest, Expressions) {
  auto *one = static_cast<Overaligned *>(Hidden(new Overaligned()));
  auto *many = static_cast<Overaligned *>(Hidden(new Overaligned[17]()));
  auto *objects = static_cast<Virtual *>(Hidden(new Virtual[1000]));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(one) % 256, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(many) % 256, 0u);
  EXPECT_EQ(many[16].bytes[299], 0);
  EXPECT_EQ(objects[999].value, 7);
  delete one;
  delete[] many;
  delete[] objects;
  hz4_check();
}

}  // namespace
}  // namespace hz4_test
