#include "hz4/report.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "hz4/guard.h"
#include "hz4/large.h"
#include "hz4/pagemap.h"
#include "hz4/slots.h"
#include "hz4/span.h"
#include "hz4/test/sys_fake.h"

namespace {

const uintptr_t kStack[] = {0x400001, 0x400002};
constexpr size_t kLarge = 300000;
const auto kSegv = testing::KilledBySignal(SIGSEGV);

char *AllocInSlot(size_t size) { return static_cast<char *>(hz4_slots_alloc(size, 16, false, kStack, 2)); }

char *AllocLarge(size_t bytes, size_t align = 16) {
  bool zeroed;
  return static_cast<char *>(hz4_large_alloc(bytes, align, &zeroed));
}
void FreeLarge(char *block) { hz4_large_free(hz4_pagemap_span(block)); }

class Report : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(hz4_slots_begin());
    hz4_guard_begin();
    ASSERT_TRUE(hz4_guards);
    hz4_report_faults();
  }
};

std::string Described(const void *address) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const bool known = hz4_report_block(ends[1], address);
  close(ends[1]);
  std::string text(4096, '\0');
  text.resize(static_cast<size_t>(read(ends[0], &text[0], text.size())));
  close(ends[0]);
  EXPECT_EQ(known, !text.empty());
  return text;
}

TEST_F(Report, DescribesTheNearestObjectInASlot) {
  char *block = AllocInSlot(100);
  EXPECT_NE(Described(block + 3).find("3 bytes into a block of 100 bytes at 0x"), std::string::npos);
  EXPECT_NE(Described(block + 3).find("allocated at 0x0000000000400001"), std::string::npos);
  EXPECT_NE(Described(block - 1).find("1 bytes before a block of 100 bytes"), std::string::npos);
  EXPECT_NE(Described(block + 100).find("0 bytes behind a block of 100 bytes"), std::string::npos);
  EXPECT_EQ(Described(block).find("freed"), std::string::npos);
  hz4_slots_free(block, __builtin_frame_address(0));
  EXPECT_NE(Described(block).find("which is freed"), std::string::npos);
  EXPECT_NE(Described(block).find("freed at 0x"), std::string::npos);
  EXPECT_EQ(Described(&block), "");
}

TEST_F(Report, DescribesLargeBlocksBetweenGuards) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const size_t bytes : {kLarge, size_t{1} << 20, (size_t{1} << 20) + 16, size_t{100} << 20}) {
    for (const size_t align : {size_t{16}, page, size_t{32} << 10}) {
      char *block = AllocLarge(bytes, align);
      const std::string size = std::to_string(hz4_round_up(bytes, align < page ? align : page));
      EXPECT_NE(Described(block).find(" 0 bytes into a block of " + size + " bytes"), std::string::npos);
      char *end = block + hz4_pagemap_span(block)->bytes;
      EXPECT_NE(Described(end).find(" 0 bytes behind a block of " + size + " bytes"), std::string::npos) << bytes;
      EXPECT_NE(Described(end + page - 1).find(" bytes behind a block of "), std::string::npos);
      char *first = block - reinterpret_cast<uintptr_t>(block) % page;
      EXPECT_NE(Described(first - 1).find(" bytes before a block of " + size + " bytes"), std::string::npos);
      FreeLarge(block);
      EXPECT_NE(Described(block + 7).find("7 bytes into a block of " + size + " bytes"), std::string::npos);
      EXPECT_NE(Described(block + 7).find("which is freed"), std::string::npos);
    }
  }
  hz4_large_trim();
  EXPECT_EQ(Described(&kLarge), "");
}

using ReportDeathTest = Report;

TEST_F(ReportDeathTest, FaultsOfSlotsAreReported) {
  char *block = AllocInSlot(100);
  EXPECT_EXIT(block[-1] = 1, kSegv, "hz4: (write|use) before the beginning of a block: 0x[0-9a-f]*\nhz4:   used at 0x");
  hz4_slots_free(block, __builtin_frame_address(0));
  EXPECT_EXIT(block[7] = 1, kSegv, "hz4: (write|use) after free: (.|\n)*7 bytes into a block of 100 bytes at (.|\n)*hz4:   freed at");
}

TEST_F(ReportDeathTest, FaultsOfLargeBlocksAreReported) {
  char *block = AllocLarge(kLarge);
  EXPECT_EXIT(block[kLarge] = 1, kSegv,
              "hz4: (write|use) past the end of a block: 0x(.|\n)*used at 0x(.|\n)* 0 bytes behind a block of 300000 bytes");
  EXPECT_EXIT(block[-static_cast<ptrdiff_t>(sysconf(_SC_PAGESIZE))] = 1, kSegv, "hz4: (write|use) before the beginning of a block");
  FreeLarge(block);
  EXPECT_EXIT(_exit(*static_cast<volatile char *>(block + 9)), kSegv, "hz4: (read|use) after free: 0x");
}

// qemu says so itself.
constexpr char kNothing[] = "^(qemu: .*\n)?$";

TEST_F(ReportDeathTest, OtherFaultsAreNot) {
  EXPECT_EXIT(*static_cast<volatile char *>(nullptr) = 1, kSegv, kNothing);
  char *block = AllocLarge(1 << 20, size_t{64} << 10);
  EXPECT_EXIT(
      {
        mprotect(block, 1 << 20, PROT_NONE);
        block[0] = 1;
      },
      kSegv, kNothing);
  EXPECT_EXIT(kill(getpid(), SIGSEGV), kSegv, kNothing);
  EXPECT_EXIT(raise(SIGSEGV), kSegv, kNothing);
  FreeLarge(block);
}

TEST_F(ReportDeathTest, TheProgramsHandlerComesNext) {
  char *block = AllocInSlot(100);
  hz4_slots_free(block, __builtin_frame_address(0));
  EXPECT_EXIT(
      {
        signal(SIGSEGV, [](int) { _exit(3); });
        hz4_report_faults();
        block[0] = 1;
      },
      testing::ExitedWithCode(3), "after free");
}

}  // namespace
