// calloc does not touch memory that is fresh from the system; what was used, it clears.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "hz4/config.h"
#include "hz4/hz4.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kTables = 24;

// System pages that hold memory, of those that lie in the block as a whole.
size_t ResidentPages(const char *block, size_t bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto start = (reinterpret_cast<uintptr_t>(block) + page - 1) / page * page;
  const size_t pages = (reinterpret_cast<uintptr_t>(block) + bytes - start) / page;
  std::vector<unsigned char> state(pages);
  if (mincore(reinterpret_cast<void *>(start), pages * page, state.data()) != 0) return SIZE_MAX;
  size_t resident = 0;
  for (unsigned char s : state) resident += s & 1;
  return resident;
}

// By libc's code, which a sanitizer has not slowed down.
bool IsZero(const char *block, size_t bytes) { return block[0] == 0 && memcmp(block, block + 1, bytes - 1) == 0; }

class CallocTest : public ::testing::TestWithParam<size_t> {
 protected:
  // What earlier tests used is not fresh.
  void SetUp() override { hz4_malloc_trim(0); }
  void TearDown() override {
    for (char *table : tables_) hz4_free(table);
    hz4_check();
  }
  void Fill() {
    for (size_t i = 0; i < kTables; i++) {
      tables_.push_back(static_cast<char *>(hz4_calloc(1, GetParam())));
      ASSERT_NE(tables_.back(), nullptr);
    }
  }
  std::vector<char *> tables_;
};

TEST_P(CallocTest, LeavesFreshMemoryUntouched) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer keeps freed memory, and its own";
  Fill();
  size_t resident = 0;
  for (char *table : tables_) resident += ResidentPages(table, GetParam());
  EXPECT_LE(resident, kTables / 8);
}

TEST_P(CallocTest, ClearsWhatWasUsed) {
  for (int round = 0; round < 4; round++) {
    const size_t stayed = tables_.size();
    Fill();
    for (size_t i = stayed; i < tables_.size(); i++) {
      ASSERT_TRUE(IsZero(tables_[i], GetParam()));
      memset(tables_[i], 0xa5, hz4_malloc_usable_size(tables_[i]));
    }
    // Some go back to where others never left, and all in an order of their own.
    for (size_t i = 0; i < tables_.size(); i++) std::swap(tables_[i], tables_[i * 7 % tables_.size()]);
    const size_t stay = round % 2 == 0 ? kTables / 3 : 0;
    while (tables_.size() > stay) {
      hz4_free(tables_.back());
      tables_.pop_back();
    }
    if (round == 1) hz4_malloc_trim(SIZE_MAX);  // empties caches, purges inside spans
  }
}

// What one thread used another gets, through depots.
TEST_P(CallocTest, ClearsWhatAnotherThreadUsed) {
  for (int round = 0; round < 4; round++) {
    Fill();
    std::thread([&] {
      for (char *table : tables_) {
        ASSERT_TRUE(IsZero(table, GetParam()));
        memset(table, 0x5a, hz4_malloc_usable_size(table));
        hz4_free(table);
      }
    }).join();
    tables_.clear();
  }
}

// Of classes that are a multiple of a page and others, of page runs, and of mappings.
INSTANTIATE_TEST_SUITE_P(Sizes, CallocTest,
                         ::testing::Values(HZ4_CALLOC_FRESH_MIN, 20000, 32 * kKiB, 50000, 64 * kKiB, 100000, 200000,
                                           256 * kKiB, 300000, kMiB, 3 * kMiB),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hz4_test
