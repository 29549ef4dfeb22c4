// Huge pages: asked for where what came before is in memory, and told of everything else that there are to be none.
#include "hz4/huge.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/test/sys_fake.h"

namespace {

constexpr size_t kSegment = static_cast<size_t>(HZ4_SEGMENT_PAGES_MAX) << HZ4_PAGE_SHIFT;
constexpr size_t kPause = HZ4_HUGE_PAUSE;

class Huge : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    if (sysconf(_SC_PAGESIZE) != 4096) GTEST_SKIP() << "a segment has no huge page where system pages are larger";
    hz4_sys_fake.now_ns = 1;
    // A dense heap, whose turn of huge pages has just ended.
    while (!Map(8)) {
    }
    while (Map(8)) {
    }
  }
  void TearDown() override {
    for (char *base : segments_) hz4_os_unmap(base, kSegment);
    hz4_option.huge_pages = HZ4_OS_HUGE_AUTO;
    hz4_os_configure(HZ4_OS_HUGE_AUTO, nullptr);
    hz4_sys_fake_reset();
  }
  // Maps a segment, of which so many eighths are then touched. Whether it was asked for in huge pages.
  bool Map(size_t eighths) {
    const uint64_t before = hz4_sys_fake.huge_bytes;
    errno = 77;
    auto *base = static_cast<char *>(hz4_huge_map(kSegment));
    EXPECT_EQ(errno, 77);
    if (base == nullptr) return false;
    segments_.push_back(base);
    for (size_t at = 0; at < kSegment / 8 * eighths; at += 4096) base[at] = 1;
    const uint64_t asked = hz4_sys_fake.huge_bytes - before;
    EXPECT_TRUE(asked == 0 || asked == kSegment);
    return asked != 0;
  }
  std::vector<bool> MapMany(size_t count, size_t eighths) {
    std::vector<bool> asked;
    for (size_t i = 0; i < count; ++i) asked.push_back(Map(eighths));
    return asked;
  }

  // Until segments of small pages are such, and the next time one is looked at is now.
  void Thin(size_t eighths) { MapMany(2 * (HZ4_HUGE_TURN + 1) + 1 + kPause, eighths); }

  std::vector<char *> segments_;
};

TEST_F(Huge, AskedForWhenTheLastButOneOfSmallPagesIsDense) {
  Thin(0);
  EXPECT_FALSE(Map(0)) << "those before are sparse";
  MapMany(kPause - 1, 0);
  Map(8);
  EXPECT_FALSE(Map(0)) << "the newest is not full yet, and not looked at";
  MapMany(kPause - 2, 0);
  Map(8);
  Map(0);
  EXPECT_TRUE(Map(0)) << "the one before it is full";
}

TEST_F(Huge, SevenEighthsAreDenseAndLessIsNot) {
  for (size_t eighths : {0, 1, 4, 6}) {
    Thin(eighths);
    for (bool asked : MapMany(kPause + 2, eighths)) EXPECT_FALSE(asked) << eighths;
  }
  MapMany(kPause, 7);
  EXPECT_TRUE(Map(7));
}

TEST_F(Huge, OneSegmentInEightIsOfSmallPagesAndIsWhatCounts) {
  std::vector<bool> asked = MapMany(HZ4_HUGE_TURN, 0);
  EXPECT_EQ(asked, std::vector<bool>(HZ4_HUGE_TURN, true)) << "what is touched of huge pages is not seen";
  EXPECT_FALSE(Map(0));
  EXPECT_EQ(MapMany(HZ4_HUGE_TURN, 0), std::vector<bool>(HZ4_HUGE_TURN, true)) << "the last but one is still dense";
  EXPECT_FALSE(Map(0));
  for (bool again : MapMany(20, 0)) EXPECT_FALSE(again) << "the program is another now";
}

// A look keeps other threads from mapping.
TEST_F(Huge, ASparseHeapIsSeldomLookedAt) {
  Thin(0);
  const uint64_t before = hz4_sys_fake.looks;
  MapMany(1 + kPause, 0);
  EXPECT_EQ(hz4_sys_fake.looks - before, 1u);
  Map(0);
  EXPECT_EQ(hz4_sys_fake.looks - before, 2u);
}

TEST_F(Huge, MemoryThatIsGoneIsNotDense) {
  EXPECT_TRUE(hz4_os_purge(segments_[segments_.size() - 2 - HZ4_HUGE_TURN], kSegment / 4));
  EXPECT_FALSE(Map(8)) << "it was purged in part";
  MapMany(kPause, 8);
  ASSERT_TRUE(hz4_os_unmap(segments_[segments_.size() - 2], kSegment));
  segments_.erase(segments_.end() - 2);
  EXPECT_FALSE(Map(8)) << "it was unmapped";
}

TEST_F(Huge, ThereAreNoneForAWhileWhereTheyTakeLong) {
  hz4_sys_fake.huge_ns = HZ4_HUGE_SLOW_NS;
  EXPECT_TRUE(Map(8));
  EXPECT_TRUE(Map(8)) << "just fast enough";
  hz4_sys_fake.huge_ns = HZ4_HUGE_SLOW_NS + 1;
  EXPECT_TRUE(Map(8));
  EXPECT_EQ(MapMany(kPause, 8), std::vector<bool>(kPause, false));
  EXPECT_TRUE(Map(8)) << "one more try";
  EXPECT_FALSE(Map(8));
}

// Another thread's segment, mapped while this one's is.
void *beside;
uint64_t beside_asked;

void MapBeside(enum hz4_sys_call call, void *, size_t) {
  if (call != HZ4_SYS_MMAP || beside != nullptr) return;
  hz4_sys_fake.in_call = nullptr;
  const uint64_t before = hz4_sys_fake.huge_bytes;
  beside = hz4_huge_map(kSegment);
  beside_asked = hz4_sys_fake.huge_bytes - before;
}

TEST_F(Huge, OneThreadAtATimeAsks) {
  beside = nullptr;
  hz4_sys_fake.in_call = MapBeside;
  EXPECT_TRUE(Map(8));
  ASSERT_NE(beside, nullptr);
  EXPECT_EQ(beside_asked, 0u);
  EXPECT_TRUE(hz4_os_unmap(beside, kSegment));
}

// A process that is forked while another thread asks: that one is not in it.
TEST_F(Huge, AChildForkedMeanwhileAsks) {
  hz4_sys_fake.in_call = [](enum hz4_sys_call call, void *, size_t) {
    if (call != HZ4_SYS_MMAP) return;
    hz4_sys_fake.in_call = nullptr;
    hz4_huge_fork_child();
    const uint64_t before = hz4_sys_fake.huge_bytes;
    beside = hz4_huge_map(kSegment);
    beside_asked = hz4_sys_fake.huge_bytes - before;
  };
  beside = nullptr;
  segments_.push_back(static_cast<char *>(hz4_huge_map(kSegment)));
  ASSERT_NE(beside, nullptr);
  EXPECT_EQ(beside_asked, kSegment);
  EXPECT_TRUE(hz4_os_unmap(beside, kSegment));
}

TEST_F(Huge, ASegmentOfHugePagesBeginsAtOneAndLaterPagesOfItAreSmall) {
  const uint64_t small = hz4_sys_fake.small_bytes;
  ASSERT_TRUE(Map(0));
  EXPECT_TRUE(hz4_is_aligned(segments_.back(), HZ4_HUGE_BYTES));
  EXPECT_EQ(hz4_sys_fake.small_bytes - small, kSegment) << "when it was there";
}

TEST_F(Huge, NeverForSmallSegmentsOrWithoutMemory) {
  const uint64_t before = hz4_sys_fake.huge_bytes;
  void *half = hz4_huge_map(kSegment / 2);
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(hz4_sys_fake.huge_bytes, before);
  EXPECT_TRUE(hz4_os_unmap(half, kSegment / 2));
  hz4_sys_fake.limit_bytes = 1;
  EXPECT_FALSE(Map(8));
  EXPECT_EQ(hz4_sys_fake.huge_bytes, before);
}

TEST_F(Huge, OtherSettingsAskForNothingHere) {
  hz4_option.huge_pages = HZ4_OS_HUGE_NEVER;
  hz4_os_configure(HZ4_OS_HUGE_NEVER, nullptr);
  const uint64_t small = hz4_sys_fake.small_bytes;
  EXPECT_FALSE(Map(8));
  EXPECT_EQ(hz4_sys_fake.small_bytes, small) << "and the system's own setting applies";
}

}  // namespace
