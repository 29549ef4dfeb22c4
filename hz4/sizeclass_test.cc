// The theorem of sizeclass.h, for every size.
#include "hz4/sizeclass.h"

#include <gtest/gtest.h>

namespace {

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
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) EXPECT_EQ(hz4_class_bytes(c) % 16, 0u) << c;
}

TEST(SizeClass, EveryPowerOfTwoIsAClass) {
  for (size_t size = 16; size <= HZ4_CLASS_MAX_BYTES; size *= 2) {
    EXPECT_EQ(hz4_class_bytes(hz4_class_of_size(size)), size);
  }
}

TEST(SizeClass, IndexIsExactForEveryByteOfASpan) {
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
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
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    const hz4_class_info &info = hz4_class_table[c];
    EXPECT_GE(info.span_objects, 4u) << c;
    EXPECT_LE(info.span_pages, static_cast<uint32_t>(HZ4_SPAN_PAGES_MAX)) << c;
    EXPECT_EQ(info.span_objects, (info.span_pages << HZ4_PAGE_SHIFT) / info.object_bytes) << c;
    EXPECT_EQ(info.bin_slots_max & (info.bin_slots_max - 1), 0u) << c;
    EXPECT_GE(info.bin_slots_max, static_cast<uint32_t>(HZ4_BIN_SLOTS_MIN)) << c;
  }
}

}  // namespace
