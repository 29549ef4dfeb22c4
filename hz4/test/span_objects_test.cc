// The bitmap of one span.
#include "hz4/span_objects.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "hz4/os.h"
#include "hz4/misuse.h"
#include "hz4/sizeclass.h"
#include "hz4/test/sys_fake.h"

namespace {

class SpanObjects : public testing::Test {
 protected:
  void SetUp() override { hz4_sys_fake_reset(); }
  void TearDown() override {
    EXPECT_STREQ(hz4_span_broken(span_), nullptr);
    hz4_os_unmap(span_->base, span_->bytes);
  }

  void Cut(size_t object_bytes, bool zeroed = true) {
    class_ = hz4_class_of_size(object_bytes);
    memory_.assign(hz4_span_meta_bytes(class_, 0) / sizeof(Line) + 1, Line{});
    span_ = reinterpret_cast<struct hz4_span *>(memory_.data());
    span_->bytes = static_cast<size_t>(hz4_class_table[class_].span_pages) << HZ4_PAGE_SHIFT;
    span_->base = static_cast<char *>(hz4_os_map(span_->bytes, HZ4_PAGE_BYTES));
    ASSERT_NE(span_->base, nullptr);
    hz4_span_cut(span_, class_, zeroed, 0);
  }
  void *Object(uint32_t index) const { return span_->base + index * hz4_class_bytes(class_); }
  std::vector<void *> Take(uint32_t want) {
    std::vector<void *> objects(want);
    objects.resize(hz4_span_take(span_, objects.data(), want, &filled_));
    return objects;
  }
  // The bytes that were found, and are gone.
  size_t Purge() {
    struct hz4_sys_run runs[32];  // there are no more: every other of 64 parts
    const size_t count = hz4_span_purge(span_, runs, 32);
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i) bytes += runs[i].bytes;
    hz4_os_purge_runs(runs, count);
    return bytes;
  }
  uint32_t Put(const std::vector<void *> &objects) {
    return hz4_span_put(span_, objects.data(), static_cast<uint32_t>(objects.size()));
  }

  uint32_t class_ = 0;
  struct alignas(HZ4_CACHE_LINE) Line {
    uint64_t words[HZ4_CACHE_LINE / sizeof(uint64_t)];
  };
  std::vector<Line> memory_;
  struct hz4_span *span_ = nullptr;
  size_t filled_ = 0;
};

// Whoever had an object may have written to it, whatever else was never out.
TEST_F(SpanObjects, WhatWasNeverOutIsZero) {
  Cut(32 << 10);
  EXPECT_TRUE(hz4_span_next_is_zero(span_));
  Take(3);
  EXPECT_TRUE(hz4_span_next_is_zero(span_));
  Put({Object(1)});
  EXPECT_FALSE(hz4_span_next_is_zero(span_));
  EXPECT_EQ(Take(1), std::vector<void *>{Object(1)});
  EXPECT_TRUE(hz4_span_next_is_zero(span_)) << "object 3";
  const uint32_t all = span_->object_count;
  const std::vector<void *> rest = Take(all);
  EXPECT_EQ(Put(rest), all - 3);
  Purge();
  EXPECT_FALSE(hz4_span_next_is_zero(span_)) << "a purge may have done nothing";
}

TEST_F(SpanObjects, UsedMemoryIsNotZero) {
  Cut(32 << 10, false);
  EXPECT_FALSE(hz4_span_next_is_zero(span_));
  Take(1);
  EXPECT_FALSE(hz4_span_next_is_zero(span_));
}

TEST_F(SpanObjects, TheLowestGoFirst) {
  Cut(512);
  const uint32_t all = span_->object_count;
  ASSERT_EQ(all, 128u);
  std::vector<void *> first = Take(70);
  ASSERT_EQ(first.size(), 70u);
  for (uint32_t i = 0; i < 70; ++i) ASSERT_EQ(first[i], Object(i));
  EXPECT_EQ(Put({Object(65), Object(3)}), 2u);
  EXPECT_EQ(Take(3), (std::vector<void *>{Object(3), Object(65), Object(70)}));
  EXPECT_EQ(Take(all).size(), all - 71);
  EXPECT_TRUE(Take(1).empty());
  EXPECT_EQ(span_->free_count, 0u);
}

// From any object on, and round.
TEST_F(SpanObjects, FromAnywhere) {
  Cut(512);
  const uint32_t all = span_->object_count;
  for (uint32_t index : {0u, 5u, 64u, 100u, all - 1}) {
    std::vector<void *> objects(all + 1);
    ASSERT_EQ(hz4_span_take_from(span_, index, objects.data(), 3, &filled_), 3u);
    for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(objects[i], Object((index + i) % all));
    EXPECT_STREQ(hz4_span_broken(span_), nullptr);
    ASSERT_EQ(hz4_span_take_from(span_, index, objects.data() + 3, all, &filled_), all - 3);
    EXPECT_EQ(span_->free_count, 0u);
    objects.resize(all);
    std::sort(objects.begin(), objects.end());
    for (uint32_t i = 0; i < all; ++i) ASSERT_EQ(objects[i], Object(i));
    Put(objects);
  }
}

TEST_F(SpanObjects, NoBitIsThereBeyondTheLastObject) {
  Cut(1000);  // 1,024 bytes: 64 objects, a whole word
  EXPECT_EQ(Take(1000).size(), span_->object_count);
  hz4_os_unmap(span_->base, span_->bytes);
  Cut(1100);
  ASSERT_NE(span_->object_count % 64, 0u);
  EXPECT_EQ(Take(1000).size(), span_->object_count);
}

TEST_F(SpanObjects, PutStopsAtAnObjectOfAnotherSpan) {
  Cut(256);
  const std::vector<void *> objects = Take(3);
  EXPECT_EQ(Put({objects[2], objects[0], span_->base + span_->bytes, objects[1]}), 2u);
  EXPECT_EQ(Put({objects[1], span_->base - 256}), 1u);
  EXPECT_EQ(span_->free_count, span_->object_count);
}

TEST_F(SpanObjects, WhatIsNoObjectThatIsOutIsNotedAndLeftOut) {
  Cut(48);
  Take(3);
  auto put = [this](const std::vector<void *> &objects) {
    if (Put(objects) == objects.size() && hz4_span_broken(span_) == nullptr) hz4_misuse_report(__builtin_frame_address(0));
  };
  EXPECT_DEATH(put({Object(3)}), "double free");
  EXPECT_DEATH(put({Object(1), Object(1), Object(2)}), "double free");
  EXPECT_DEATH(put({static_cast<char *>(Object(1)) + 16}), "free of a pointer into the middle of an object");
  EXPECT_DEATH(put({Object(span_->object_count)}), "free of a pointer into the middle of an object");
  EXPECT_EXIT(
      {
        Put({Object(1), Object(1), static_cast<char *>(Object(0)) + 1, Object(0)});
        _exit(span_->free_count == span_->object_count - 1 && hz4_span_broken(span_) == nullptr ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

// Objects of 3,072 bytes do not end where system pages do.
TEST_F(SpanObjects, PartsWithoutAnObjectThatIsOutGoBack) {
  Cut(3072);
  const size_t granule = std::max(hz4_sys_page_bytes(), span_->bytes / 64);
  const uint32_t all = span_->object_count;
  std::vector<void *> objects = Take(all);
  for (void *object : objects) std::memset(object, 7, 3072);
  EXPECT_EQ(Purge(), 0u);
  objects.erase(objects.begin() + 5);
  Put(objects);
  const size_t begin = 5 * 3072 / granule, end = (6 * 3072 - 1) / granule + 1;
  const size_t granules = (all * 3072 + granule - 1) / granule;
  EXPECT_EQ(Purge(), (granules - (end - begin)) * granule);
  EXPECT_EQ(hz4_span_purged_bytes(span_), (granules - (end - begin)) * granule);
  EXPECT_EQ(Purge(), 0u) << "once";
  EXPECT_EQ(static_cast<char *>(Object(5))[0], 7);
  EXPECT_EQ(static_cast<char *>(Object(5))[3071], 7);
  EXPECT_EQ(static_cast<char *>(Object(0))[0], 0);
  EXPECT_EQ(static_cast<char *>(Object(all - 1))[3071], 0);

  filled_ = 0;
  Take(1);
  EXPECT_EQ(filled_, (3071 / granule + 1) * granule);
  EXPECT_EQ(hz4_span_purged_bytes(span_), (granules - (end - begin)) * granule - filled_);
  Put({Object(0)});
  Take(1);
  EXPECT_EQ(filled_, (3071 / granule + 1) * granule) << "that memory is there already";
}

// The most runs there can be: every other system page.
TEST_F(SpanObjects, EveryOtherPartIsARunOfItsOwn) {
  const size_t page = hz4_sys_page_bytes();
  Cut(page);
  const std::vector<void *> objects = Take(span_->object_count);
  std::vector<void *> half;
  for (size_t i = 0; i < objects.size(); i += 2) half.push_back(objects[i]);
  Put(half);
  struct hz4_sys_run runs[3];
  for (size_t i = 0, room = 3; i < half.size(); i += room) {
    const size_t count = std::min(room, half.size() - i);
    ASSERT_EQ(hz4_span_purge(span_, runs, room), count) << "no more than there is room for, and each once";
    for (size_t run = 0; run < count; ++run) {
      EXPECT_EQ(runs[run].base, half[i + run]);
      EXPECT_EQ(runs[run].bytes, page);
    }
  }
  EXPECT_EQ(hz4_span_purged_bytes(span_), half.size() * page);
}

TEST_F(SpanObjects, ABrokenBitmapIsFound) {
  Cut(128);
  Take(70);
  ++span_->free_count;
  EXPECT_STREQ(hz4_span_broken(span_), "span: free_count differs from the bitmap");
  --span_->free_count;
  ++span_->first_word;
  EXPECT_STREQ(hz4_span_broken(span_), "span: a free object lies before first_word");
  --span_->first_word;
}

}  // namespace
