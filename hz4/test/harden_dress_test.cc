// HZ4_HARDEN=2: what lies behind the requested size, and in what was freed.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "hz4/alloc.h"
#include "hz4/harden.h"
#include "hz4/sizeclass.h"
#include "hz4/test/sys_fake.h"

namespace {

const bool is_set = setenv("HZ4_HARDEN", "2", 1) == 0;  // before the first malloc of hz4's

const size_t kSizes[] = {1, 15, 16, 24, 100, 2000, 5000, 65536, 100000, HZ4_CLASS_MAX_BYTES - 1};

void *Filled(size_t size) {
  void *block = hz4_alloc_malloc(size);
  return memset(block, 0x5a, size);
}

TEST(HardenDress, WhatWasAskedForMayBeUsed) {
  ASSERT_TRUE(is_set);
  for (size_t size : kSizes) {
    void *block = Filled(size);
    EXPECT_EQ(hz4_alloc_usable_size(block), size);
    hz4_alloc_free_sized(block, 16, size);
  }
  for (size_t align : {32, 4096, 65536}) {
    for (size_t size : kSizes) {
      void *block = hz4_alloc_aligned(align, size);
      ASSERT_TRUE(hz4_is_aligned(block, align));
      memset(block, 0x5a, size);
      if (hz4_pagemap_find(block)->slack != nullptr) {
        EXPECT_EQ(hz4_alloc_usable_size(block), size);
      }
      hz4_alloc_free_sized(block, align, size);
    }
  }
  void *empty = hz4_alloc_malloc(0);
  hz4_alloc_free_sized(empty, 16, 0);
}

TEST(HardenDress, RemainsByReallocInPlaceAndElsewhere) {
  for (size_t size : kSizes) {
    for (size_t resized : {size / 2 + 1, size - size / 4, size + 1, size + size / 3}) {
      auto *block = static_cast<char *>(Filled(size));
      block = static_cast<char *>(hz4_alloc_realloc(block, resized));
      if (hz4_pagemap_find(block)->slack != nullptr) {
        EXPECT_EQ(hz4_alloc_usable_size(block), resized);
      }
      for (size_t i = 0; i < std::min(size, resized); ++i) ASSERT_EQ(block[i], 0x5a);
      memset(block, 0xa5, resized);
      hz4_alloc_free_sized(block, 16, resized);
    }
  }
}

TEST(HardenDressDeathTest, WritesPastTheEndAreFoundByFreeAndRealloc) {
  const char *const kFound = "hz4: write past the end of a block: ";
  for (size_t size : kSizes) {
    for (int written : {0, 0x5a}) {
      auto *block = static_cast<char *>(Filled(size));
      const char saved = block[size];
      block[size] = static_cast<char>(written != saved ? written : written + 1);
      EXPECT_DEATH(hz4_alloc_free(block), kFound) << size;
      EXPECT_DEATH(hz4_alloc_realloc(block, size + size / 8), kFound) << size;
      EXPECT_DEATH(hz4_alloc_realloc(block, size * 3), kFound) << size;
      block[size] = saved;
      hz4_alloc_free(block);
    }
  }
}

TEST(HardenDress, SmallBlocksAreClearedAndComeClear) {
  for (size_t size : {16, 100, 1000, 2000}) {
    const std::vector<char> zeros(size);
    std::vector<void *> blocks(100);
    for (int round = 0; round < 3; ++round) {
      for (void *&block : blocks) {
        block = hz4_alloc_malloc(size);
        EXPECT_EQ(memcmp(block, zeros.data(), size), 0) << size;
        memset(block, 0x5a, size);
      }
      for (void *block : blocks) {
        hz4_alloc_free(block);
        EXPECT_EQ(memcmp(block, zeros.data(), size), 0) << size;
      }
    }
  }
}

TEST(HardenDressDeathTest, WritesAfterFreeAreFoundByMalloc) {
  for (size_t size : {16, 100, 1000, 2000}) {
    auto *block = static_cast<char *>(Filled(size));
    hz4_alloc_free(block);
    EXPECT_DEATH(
        {
          block[size / 2] = 1;
          for (int i = 0; i < 100000; ++i) hz4_alloc_malloc(size);
        },
        "hz4: write after free: ");
  }
}

TEST(HardenDressDeathTest, EveryWrongSizeIsFound) {
  void *block = Filled(100);
  EXPECT_DEATH(hz4_alloc_free_sized(block, 16, 99), "hz4: sized free with a wrong size or alignment: ");
  EXPECT_DEATH(hz4_alloc_free_sized(block, 16, 101), "hz4: sized free with a wrong size or alignment: ");
  hz4_alloc_free(block);
  EXPECT_DEATH(hz4_alloc_free_sized(block, 16, 100), "hz4: double free: ");
}

}  // namespace
