// HZ4_HARDEN=1 from within: states, and in which order objects come back. What a program sees is in hz4/misuse.
#include "hz4/harden.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <set>
#include <vector>

#include "hz4/alloc.h"
#include "hz4/options.h"
#include "hz4/sizeclass.h"
#include "hz4/test/sys_fake.h"

namespace {

const bool is_set = setenv("HZ4_HARDEN", "1", 1) == 0;  // before the first malloc of hz4's

// An object begins where the offset is a multiple of the class's size, and nowhere else.
TEST(Harden, AStateIsWhereAnObjectBegins) {
  for (uint32_t c = 1; c <= HZ4_ZERO_CLASS; ++c) {
    void *block = hz4_alloc_malloc(c == HZ4_ZERO_CLASS ? 0 : hz4_class_bytes(c));
    const struct hz4_span *span = hz4_pagemap_find(block);
    ASSERT_EQ(span->size_class, c);
    uint32_t index = 0;
    for (size_t offset = 0; offset < span->bytes; ++offset) {
      const bool begins = offset == index * hz4_class_bytes(c);
      ASSERT_EQ(hz4_harden_state(span->base + offset), begins ? &span->state[index++] : nullptr) << c << " " << offset;
    }
    ASSERT_LE(index, span->object_count + 1) << "and one state more than objects is there";
    hz4_alloc_free(block);
  }
  EXPECT_EQ(hz4_harden_state(&is_set), nullptr);
  EXPECT_EQ(hz4_harden_state(reinterpret_cast<void *>(UINTPTR_MAX)), nullptr);
}

TEST(Harden, TheFastPathsFindNothing) {
  ASSERT_TRUE(is_set);
  for (size_t size : {0, 1, 48, 100, 5000, 262144}) {
    void *block = hz4_alloc_malloc(size);
    EXPECT_EQ(hz4_alloc_malloc_fast(size), nullptr) << size;
    EXPECT_FALSE(hz4_alloc_free_fast(block)) << size;
    hz4_alloc_free(block);
  }
}

TEST(Harden, ABlockOfNoBytesIsFreedByItsSizeWithWhateverAlignment) {
  for (size_t align : {1, 2, 8, 16, 32, 4096}) {
    hz4_alloc_free_sized(hz4_alloc_aligned(align, 0), align, 0);
  }
}

TEST(Harden, WhatWasFreedLastIsNotAllocatedNext) {
  for (size_t size : {16, 100, 1000, 10000}) {
    std::set<size_t> delays;
    for (int round = 0; round < 200; ++round) {
      std::vector<void *> blocks;
      void *const freed = hz4_alloc_malloc(size);
      hz4_alloc_free(freed);
      do {
        blocks.push_back(hz4_alloc_malloc(size));
        if (blocks.size() > 1) hz4_alloc_free(blocks.back());
      } while (blocks.back() != freed && blocks.size() < 10000);
      ASSERT_NE(blocks[0], freed) << size << " in round " << round;
      hz4_alloc_free(blocks[0]);
      delays.insert(blocks.size());
    }
    EXPECT_GE(delays.size(), 10u) << size;
  }
}

// Two threads that free one block within the same few instructions both find it live. Then it waits twice, and malloc
// finds it out.
TEST(HardenDeathTest, AFreeThatWasRacedIsFoundByMalloc) {
  void *block = hz4_alloc_malloc(100);
  EXPECT_DEATH(
      {
        hz4_alloc_free(block);
        hz4_store_relaxed(hz4_harden_state(block), HZ4_STATE_LIVE);
        hz4_alloc_free(block);
        for (int i = 0; i < 100000; ++i) hz4_alloc_malloc(100);
      },
      "hz4: double free, found by malloc: ");
  hz4_alloc_free(block);
}

TEST(HardenDeathTest, EachFreeIsLookedAtWhereverTheObjectWaits) {
  for (size_t size : {48, 100, 3000, 100000}) {
    void *neighbour = hz4_alloc_malloc(size), *block = hz4_alloc_malloc(size);
    EXPECT_DEATH(hz4_alloc_free(static_cast<char *>(block) + 16), "hz4: free of a pointer into the middle of an object: ")
        << size;
    hz4_alloc_free(block);
    EXPECT_DEATH(hz4_alloc_free(block), "hz4: double free: ") << "in the cache";
    EXPECT_DEATH(hz4_alloc_usable_size(block), "hz4: malloc_usable_size of a pointer that is not allocated: ");
    hz4_alloc_trim(0);
    EXPECT_DEATH(hz4_alloc_free(block), "hz4: double free: ") << "at home";
    EXPECT_DEATH(hz4_alloc_realloc(block, size), "hz4: realloc of a pointer that is not allocated: ");
    hz4_alloc_free(neighbour);
  }
}

}  // namespace
