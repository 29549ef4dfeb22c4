#include "hz4/slots.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "hz4/guarded.h"
#include "hz4/stack.h"
#include "hz4/test/sys_fake.h"

namespace {

const uintptr_t kStack[] = {0x400001, 0x400002};

char *Alloc(size_t size, bool at_end = false, size_t align = 16) {
  return static_cast<char *>(hz4_slots_alloc(size, align, at_end, kStack, 2));
}
const char *Free(char *block) { return hz4_slots_free(block, HZ4_FRAME()); }

// With marks in the page table, and by mappings. There is one pool in a process: so each is a process of its own.
class GuardTest : public testing::Test {
 protected:
  GuardTest() {
    hz4_sys_fake.no_guards = getenv("GUARD_BY_MAPPINGS") != nullptr;
    EXPECT_TRUE(hz4_slots_begin());
  }
};

TEST_F(GuardTest, ObjectsLieAtAnEnd) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const size_t size : {size_t{1}, size_t{16}, size_t{100}, page - 1, page, page + 1, size_t{HZ4_SLOT_BYTES_MAX}}) {
    char *first = Alloc(size), *last = Alloc(size, true);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % page, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(last) % 16, 0u);
    EXPECT_EQ((reinterpret_cast<uintptr_t>(last) + size + 15) / 16 * 16 % page, 0u) << size;
    for (char *block : {first, last}) {
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(block[i], 0);
      memset(block, 1, size);
      EXPECT_EQ(Free(block), nullptr);
    }
  }
  for (size_t align = 16; align <= page; align *= 2) {
    for (const bool at_end : {false, true}) {
      char *block = Alloc(100, at_end, align);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % align, 0u);
      EXPECT_EQ(Free(block), nullptr);
    }
  }
  EXPECT_EQ(Alloc(HZ4_SLOT_BYTES_MAX + 1), nullptr);
  EXPECT_EQ(Alloc(16, false, page * 2), nullptr);
}

TEST_F(GuardTest, TheSlotThatIsFreeForLongestIsNext) {
  std::vector<char *> blocks;
  for (char *block; (block = Alloc(16)) != nullptr;) blocks.push_back(block);
  ASSERT_EQ(blocks.size(), size_t{HZ4_SLOTS});
  EXPECT_EQ(std::set<char *>(blocks.begin(), blocks.end()).size(), blocks.size());
  std::deque<char *> freed;
  for (size_t i = 0; i < blocks.size(); i += 3) {
    Free(blocks[i]);
    freed.push_back(blocks[i]);
  }
  for (int i = 0; i < 1000; ++i) {
    char *block = Alloc(16);
    ASSERT_EQ(block, freed.front());
    freed.pop_front();
    Free(block);
    freed.push_back(block);
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 3 != 0) Free(blocks[i]);
  }
}

TEST_F(GuardTest, FreeFindsWhatWasWrittenBeside) {
  char *block = Alloc(100);
  block[100] = 1;
  EXPECT_STREQ(Free(block), "write past the end of a block");
  block = Alloc(100, true);
  block[-1] = 1;
  EXPECT_STREQ(Free(block), "write before the beginning of a block");
  block = Alloc(99, true);
  block[111] = 1;
  EXPECT_STREQ(Free(block), "write past the end of a block");
}

TEST_F(GuardTest, WrongFreesAreTold) {
  char *block = Alloc(100);
  EXPECT_STREQ(hz4_slots_wrong_free(block + 16), "free of a pointer into the middle of an object");
  EXPECT_STREQ(hz4_slots_wrong_free(block + 200), "free of a pointer that is not allocated");
  EXPECT_NE(hz4_slots_sample(block), nullptr);
  EXPECT_EQ(hz4_slots_sample(block + 16), nullptr);
  Free(block);
  EXPECT_STREQ(hz4_slots_wrong_free(block), "double free");
}

TEST_F(GuardTest, FindsTheNearestObject) {
  char *block = Alloc(100);
  struct hz4_guarded_block found;
  for (char *at : {block - 1, block, block + 3, block + 100}) {
    ASSERT_TRUE(hz4_slots_find(at, &found));
    EXPECT_EQ(found.base, block);
    EXPECT_EQ(found.bytes, 100u);
    EXPECT_FALSE(found.is_freed);
    ASSERT_EQ(found.allocated_depth, 2u);
    EXPECT_EQ(found.allocated_at[0], kStack[0]);
  }
  Free(block);
  ASSERT_TRUE(hz4_slots_find(block, &found));
  EXPECT_TRUE(found.is_freed);
  EXPECT_GT(found.freed_depth, 0u);
  EXPECT_FALSE(hz4_slots_find(&block, &found));
}

TEST_F(GuardTest, OneOwnerForEachSlot) {
  std::vector<std::thread> threads;
  std::atomic<uint64_t> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&wrong, t] {
      std::vector<char *> mine;
      for (int i = 0; i < 3000; ++i) {
        char *block = Alloc(64, i % 2 != 0);
        if (block != nullptr) memset(block, t + 1, 64), mine.push_back(block);
        if (mine.size() < 100 && block != nullptr) continue;
        for (int j = 0; j < 64; ++j) wrong += mine.front()[j] != t + 1;
        wrong += Free(mine.front()) != nullptr;
        mine.erase(mine.begin());
      }
      for (char *block : mine) Free(block);
    });
  }
  for (auto &thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

// ---- faults ----

using GuardDeathTest = GuardTest;

TEST_F(GuardDeathTest, UseAfterFreeAndBeyondTheObjectsPagesIsAFault) {
  const auto segv = testing::KilledBySignal(SIGSEGV);
  char *block = Alloc(100), *last = Alloc(112, true);
  EXPECT_EXIT(block[-1] = 1, segv, "");
  EXPECT_EXIT(last[112] = 1, segv, "");
  EXPECT_EXIT(block[sysconf(_SC_PAGESIZE)] = 1, segv, "");
  Free(block);
  Free(last);
  EXPECT_EXIT(block[0] = 1, segv, "");
  EXPECT_EXIT(_exit(*static_cast<volatile char *>(last)), segv, "");
}

}  // namespace
