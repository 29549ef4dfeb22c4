// The real kernel's calls, one by one: what they do, and that what they say of it is true.
#include <errno.h>
#include <gtest/gtest.h>
#include <inttypes.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "hz4/sys.h"
#include "hz4/test/qemu.h"

namespace {

class SysLinux : public testing::Test {
 protected:
  // Pages that are all written.
  char *Map(size_t pages) const {
    auto *base = static_cast<char *>(hz4_sys_mmap(nullptr, pages * page_));
    if (base == nullptr) abort();
    memset(base, 'x', pages * page_);
    return base;
  }
  // Whether the page belongs to a mapping.
  bool IsMapped(char *at) const {
    unsigned char resident;
    return mincore(at, page_, &resident) == 0;
  }
  const size_t page_ = hz4_sys_page_bytes();
};

TEST_F(SysLinux, PageIsTheKernels) { EXPECT_EQ(page_, static_cast<size_t>(sysconf(_SC_PAGESIZE))); }

TEST_F(SysLinux, MapsZeroedPagesAndTakesThemBack) {
  auto *base = static_cast<char *>(hz4_sys_mmap(nullptr, 3 * page_));
  ASSERT_NE(base, nullptr);
  for (size_t i = 0; i < 3 * page_; ++i) ASSERT_EQ(base[i], 0);
  EXPECT_TRUE(hz4_sys_munmap(base, page_));
  EXPECT_FALSE(IsMapped(base));
  base[page_] = 1;
  EXPECT_EQ(hz4_sys_mmap(base, page_), base) << "a hint that is free is taken";
  EXPECT_TRUE(hz4_sys_munmap(base, 3 * page_));
}

TEST_F(SysLinux, FailuresAreToldAndKeepErrno) {
  errno = 4321;  // no call sets it
  EXPECT_EQ(hz4_sys_mmap(nullptr, size_t{1} << 62), nullptr);
  char *base = Map(1);
  EXPECT_FALSE(hz4_sys_munmap(base + 1, page_));
  EXPECT_FALSE(hz4_sys_purge(base + 1, page_));
  EXPECT_EQ(hz4_sys_mremap(base + 1, page_, page_, nullptr), EINVAL);
  EXPECT_EQ(errno, 4321);
  EXPECT_EQ(base[page_ - 1], 'x');
  EXPECT_TRUE(hz4_sys_munmap(base, page_));
}

TEST_F(SysLinux, ComparesAWordThatMayNotBeThere) {
  char *base = Map(1);
  const uint32_t word = 4321;
  memcpy(base + page_ - 4, &word, 4);
  EXPECT_TRUE(hz4_sys_holds(base + page_ - 4, word));
  EXPECT_FALSE(hz4_sys_holds(base + page_ - 4, word + 1));
  EXPECT_FALSE(hz4_sys_holds(base, word));
  EXPECT_TRUE(hz4_sys_munmap(base, page_));
  EXPECT_FALSE(hz4_sys_holds(base + page_ - 4, word));
}

TEST_F(SysLinux, WhatIsPurgedReadsAsZero) {
  char *base = Map(2);
  EXPECT_TRUE(hz4_sys_purge(base, page_));
  EXPECT_EQ(base[0], 0);
  EXPECT_EQ(base[page_ - 1], 0);
  EXPECT_EQ(base[page_], 'x');
  EXPECT_TRUE(hz4_sys_munmap(base, 2 * page_));
}

// Whether `flag` is among those of the mapping.
bool HasFlag(const char *base, const char *flag) {
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t start = 0, end = 0;
    if (sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2) {
      inside = start <= reinterpret_cast<uintptr_t>(base) && reinterpret_cast<uintptr_t>(base) < end;
    } else if (inside && line.compare(0, 8, "VmFlags:") == 0) {
      return line.find(flag) != std::string::npos;
    }
  }
  return false;
}

// The kernel may have been built without huge pages.
TEST_F(SysLinux, HugePagesAreWishedForOrNot) {
  if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) GTEST_SKIP() << "no huge pages here";
  if (hz4_test::UnderQemu()) GTEST_SKIP() << "it takes no such advice";
  char *base = Map(3);
  hz4_sys_wish_huge(base, 3 * page_, true);
  EXPECT_TRUE(HasFlag(base, " hg"));
  hz4_sys_wish_huge(base, 3 * page_, false);
  EXPECT_TRUE(HasFlag(base, " nh"));
  EXPECT_TRUE(hz4_sys_munmap(base, 3 * page_));
}

// More pages than are asked for by one call.
TEST_F(SysLinux, ResidentIsWhatWasTouched) {
  const size_t pages = 600;
  auto *base = static_cast<char *>(hz4_sys_mmap(nullptr, pages * page_));
  ASSERT_NE(base, nullptr);
  hz4_sys_wish_huge(base, pages * page_, false);
  EXPECT_EQ(hz4_sys_resident(base, pages * page_), 0u);
  for (size_t i = 0; i < pages; i += 3) base[i * page_] = 1;
  EXPECT_EQ(hz4_sys_resident(base, pages * page_), pages / 3 * page_);
  EXPECT_TRUE(hz4_sys_munmap(base + 300 * page_, page_));
  EXPECT_EQ(hz4_sys_resident(base, pages * page_), 0u) << "not all of it is mapped";
  EXPECT_TRUE(hz4_sys_munmap(base, 300 * page_));
  EXPECT_TRUE(hz4_sys_munmap(base + 301 * page_, 299 * page_));
}

TEST_F(SysLinux, ResizesWhereItLiesOrNotAtAll) {
  char *base = Map(3);
  EXPECT_EQ(hz4_sys_mremap(base, page_, 2 * page_, nullptr), ENOMEM) << "the next page is taken";
  EXPECT_EQ(base[2 * page_], 'x');
  ASSERT_EQ(hz4_sys_mremap(base, 3 * page_, page_, nullptr), 0);
  EXPECT_FALSE(IsMapped(base + page_));
  ASSERT_EQ(hz4_sys_mremap(base, page_, 2 * page_, nullptr), 0);
  EXPECT_EQ(base[0], 'x');
  EXPECT_EQ(base[page_], 0);
  EXPECT_TRUE(hz4_sys_munmap(base, 2 * page_));
}

TEST_F(SysLinux, MovesOverTheTarget) {
  char *base = Map(2), *to = Map(4);
  memset(to, 'y', 4 * page_);
  ASSERT_EQ(hz4_sys_mremap(base, 2 * page_, 3 * page_, to), 0);
  EXPECT_FALSE(IsMapped(base));
  EXPECT_EQ(to[0], 'x');
  EXPECT_EQ(to[2 * page_ - 1], 'x');
  EXPECT_EQ(to[2 * page_], 0);
  EXPECT_EQ(to[3 * page_], 'y');
  EXPECT_TRUE(hz4_sys_munmap(to, 4 * page_));
}

TEST_F(SysLinux, TellsWhetherTheProgramHasRightsOfItsOwn) { EXPECT_EQ(hz4_sys_secure(), getauxval(AT_SECURE) != 0); }

uint64_t Clock() {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

TEST_F(SysLinux, ClockIsTheKernelsInNanoseconds) {
  const uint64_t before = Clock(), now = hz4_sys_now_ns(), after = Clock();
  EXPECT_GE(now, before);
  EXPECT_LE(now, after);
}

// First while there is no other: libc need not notice when the last of them has ended.
TEST(SysLinuxAlone, SingleThreadedUntilThereIsAnother) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";  // in a process of its own, in which no test ran before
  EXPECT_EXIT(
      {
        const bool alone = hz4_sys_single_threaded();
        bool beside = true;
        std::thread([&] { beside = hz4_sys_single_threaded(); }).join();
        _exit(alone && !beside ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
