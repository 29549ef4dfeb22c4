// The theorem of sizeclass.h, for every size.
#include "hz4/sizeclass.h"

#include <gtest/gtest.h>

#include <set>

namespace {

// Where an object begins in a page, by free's arithmetic: exact in spans of one page; in longer ones nothing is refused.
TEST(SizeClass, FreeKnowsWhereAnObjectMayBegin) {
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) {
    const size_t bytes = hz4_class_bytes(c), step = bytes & -bytes;
    const bool exact = hz4_class_table[c].span_pages == 1;
    for (size_t offset = 0; offset < HZ4_PAGE_BYTES; ++offset) {
      const auto *ptr = reinterpret_cast<const void *>((size_t{5} << HZ4_PAGE_SHIFT) + offset);
      const bool begins = hz4_class_may_begin_at(c, ptr);
      if (exact) ASSERT_EQ(begins, offset % bytes == 0) << c << " " << offset;
      else ASSERT_TRUE(begins || offset % step != 0) << c << " " << offset;
      ASSERT_FALSE(begins && !exact && offset % 1024 != 0) << c << " " << offset;
    }
  }
}

TEST(SizeClass, EverySizeGetsTheFirstClassThatFits) {
  for (size_t size = 1; size <= HZ4_CLASS_MAX_BYTES; ++size) {
    uint32_t c = hz4_class_of_size(size);
    ASSERT_GE(c, 1u);
    ASSERT_LE(c, static_cast<uint32_t>(HZ4_CLASS_COUNT));
    ASSERT_GE(hz4_class_bytes(c), size);
    if (c > 1) {
      ASSERT_LT(hz4_class_bytes(c - 1), size);
    }
    ASSERT_LT(hz4_class_bytes(c), size * 9 / 8 + 16);
  }
}

TEST(SizeClass, SizesKeepSixteenByteAlignment) {
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) EXPECT_EQ(hz4_class_bytes(c) % 16, 0u) << c;
}

TEST(SizeClass, EveryPowerOfTwoIsAClass) {
  for (size_t size = 16; size <= HZ4_CLASS_MAX_BYTES; size *= 2) {
    EXPECT_EQ(hz4_class_bytes(hz4_class_of_size(size)), size);
  }
}

TEST(SizeClass, IndexIsExactForEveryByteOfASpan) {
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) {
    size_t bytes = hz4_class_bytes(c), span = hz4_class_table[c].span_pages << HZ4_PAGE_SHIFT;
    // The borders are where a reciprocal that is off by a little shows.
    for (size_t start = 0; start < span; start += bytes) {
      ASSERT_EQ(hz4_class_object_index(c, start), start / bytes) << c;
      if (start > 0) {
        ASSERT_EQ(hz4_class_object_index(c, start - 1), (start - 1) / bytes) << c;
      }
    }
  }
}

TEST(SizeClass, SpansHoldEnoughAndFitASegment) {
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) {
    const hz4_class_info &info = hz4_class_table[c];
    EXPECT_GE(info.span_objects, 4u) << c;
    EXPECT_LE(info.span_pages, static_cast<uint32_t>(HZ4_SPAN_PAGES_MAX)) << c;
    EXPECT_EQ(info.span_objects, (info.span_pages << HZ4_PAGE_SHIFT) / info.object_bytes) << c;
    EXPECT_EQ(info.bin_slots_max & (info.bin_slots_max - 1), 0u) << c;
    EXPECT_GE(info.bin_slots_max, static_cast<uint32_t>(HZ4_BIN_SLOTS_MIN)) << c;
  }
}

// ---- sampled objects ----

TEST(SizeClass, SampledOnesHaveTheFirstPowerOfTwoThatFits) {
  for (size_t bytes = 1; bytes <= HZ4_CLASS_MAX_BYTES; ++bytes) {
    const uint32_t c = hz4_class_of_sample(bytes);
    ASSERT_GE(c, uint32_t{HZ4_SAMPLE_CLASS});
    ASSERT_LT(c, uint32_t{HZ4_MID_CLASSES});
    const size_t object = hz4_class_bytes(c);
    ASSERT_EQ(object & (object - 1), 0u);
    ASSERT_GE(object, bytes);
    ASSERT_TRUE(object / 2 < bytes || object == HZ4_SAMPLE_BYTES_MIN) << bytes;
  }
}

// ---- tiny objects ----

TEST(SizeClass, TinyOnesAreSmallerThanACacheLine) {
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    EXPECT_EQ(hz4_class_bytes(c) < HZ4_CACHE_LINE, c <= HZ4_TINY_CLASSES) << c;
  }
}

TEST(SizeClass, ClassesAreOfFourRanges) {
  for (uint32_t c = 0; c < HZ4_CLASS_SLOTS; ++c) {
    const bool by_size = c <= HZ4_ZERO_CLASS, at_home = c >= HZ4_TINY_HOME;
    EXPECT_EQ(hz4_class_is_tiny_bin(c), !by_size && !at_home) << c;
    const uint32_t size_class = hz4_class_by_size(c);
    if (by_size) {
      EXPECT_EQ(size_class, c);
    } else {
      EXPECT_TRUE(size_class >= 1 && size_class <= HZ4_TINY_CLASSES) << c;
    }
    const hz4_class_info &info = hz4_class_table[c], &same = hz4_class_table[size_class];
    EXPECT_EQ(info.object_bytes, same.object_bytes) << c;
    EXPECT_EQ(info.span_pages, same.span_pages) << c;
    EXPECT_EQ(info.span_objects, same.span_objects) << c;
    EXPECT_EQ(info.bin_slots_max, same.bin_slots_max) << c;
    EXPECT_EQ(info.reciprocal, same.reciprocal) << c;
  }
}

// Each tiny bin has a class of its own at each home; no two share one, and no class is left over. Others are at home
// everywhere.
TEST(SizeClass, EveryHomeHasItsTinyClasses) {
  std::set<uint32_t> all;
  for (uint32_t home = 0; home < HZ4_HOMES; ++home) {
    for (uint32_t i = 0; i < HZ4_TINY_CLASSES; ++i) {
      const uint32_t bin = HZ4_TINY_BIN + i, c = hz4_class_at_home(bin, home);
      ASSERT_TRUE(hz4_class_is_tiny_bin(bin));
      EXPECT_GE(c, uint32_t{HZ4_TINY_HOME});
      EXPECT_LT(c, uint32_t{HZ4_CLASS_SLOTS});
      EXPECT_TRUE(all.insert(c).second) << c;
      EXPECT_EQ(hz4_class_by_size(c), i + 1);
      EXPECT_EQ(hz4_class_by_size(bin), i + 1);
      for (uint32_t n : {1u, 2u, 100u, UINT32_MAX / HZ4_HOMES}) {
        EXPECT_EQ(hz4_class_at_home(bin, n * HZ4_HOMES + home), c) << "homes are counted modulo HZ4_HOMES";
      }
    }
    for (uint32_t c = 0; c < HZ4_CLASS_SLOTS; ++c) {
      ASSERT_EQ(hz4_class_at_home(c, home) == c, !hz4_class_is_tiny_bin(c)) << c;
    }
  }
  EXPECT_EQ(all.size(), size_t{HZ4_HOMES * HZ4_TINY_CLASSES});
  EXPECT_EQ(all.size(), size_t{HZ4_CLASS_SLOTS - HZ4_TINY_HOME});
}

// For good: so this is the only test that parts them.
TEST(SizeClass, MallocsClassBeforeAndAfterParting) {
  for (size_t size = 0; size <= HZ4_CLASS_MAX_BYTES; ++size) {
    ASSERT_EQ(hz4_class_of_malloc(size), size == 0 ? HZ4_ZERO_CLASS : hz4_class_of_size(size)) << size;
  }
  for (int times : {1, 2}) {
    hz4_class_part_tiny();
    for (size_t size = 0; size <= HZ4_CLASS_MAX_BYTES; ++size) {
      const uint32_t c = hz4_class_of_malloc(size), by_size = size == 0 ? HZ4_ZERO_CLASS : hz4_class_of_size(size);
      ASSERT_EQ(c, by_size <= HZ4_TINY_CLASSES ? HZ4_TINY_BIN + by_size - 1 : by_size) << size << " " << times;
      ASSERT_EQ(hz4_class_by_size(c), by_size) << size;
      ASSERT_EQ(hz4_class_is_tiny_bin(c), size != 0 && size <= 48) << size;
      ASSERT_GE(hz4_class_bytes(c), size);
    }
  }
}

}  // namespace
