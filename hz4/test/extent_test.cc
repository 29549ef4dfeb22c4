// extent: ranges join, fit, and are given up by age; a random run against a table of pages.
#include "hz4/extent.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace {

constexpr size_t kPage = HZ4_PAGE_BYTES;

class Extents : public testing::Test {
 protected:
  static char *At(size_t page) { return reinterpret_cast<char *>((size_t{1} << 32) + page * kPage); }
  static size_t PageOf(const char *base) { return (reinterpret_cast<size_t>(base) - (size_t{1} << 32)) / kPage; }

  // Returns how many descriptors it took.
  int Put(size_t page, size_t pages, hz4_extent_state state = HZ4_EXTENT_DIRTY, uint32_t island = 0) {
    auto *extent = new hz4_extent();
    extent->base = At(page);
    extent->bytes = pages * kPage;
    extent->state = state;
    extent->island = island;
    int taken = 0;
    for (hz4_extent *unneeded = hz4_extents_put(&book_, extent); unneeded != nullptr; ++taken) {
      delete std::exchange(unneeded, unneeded->next);
    }
    EXPECT_STREQ(hz4_extents_broken(&book_), nullptr);
    return taken;
  }
  hz4_extent *Find(size_t pages, size_t align = kPage, hz4_extent_state state = HZ4_EXTENT_DIRTY) {
    return hz4_extents_find(&book_, state, pages * kPage, align);
  }
  void TearDown() override {
    EXPECT_STREQ(hz4_extents_broken(&book_), nullptr);
    for (int state = 0; state < HZ4_EXTENT_STATES; ++state) {
      while (hz4_extent *oldest = hz4_extents_oldest(&book_, static_cast<hz4_extent_state>(state))) {
        hz4_extents_remove(&book_, oldest);
        delete oldest;
      }
      EXPECT_EQ(book_.bytes[state], 0u);
    }
    EXPECT_EQ(book_.root, nullptr);
  }

  hz4_extents book_{};
};

TEST_F(Extents, NeighboursJoin) {
  EXPECT_EQ(Put(0, 2), 0);
  EXPECT_EQ(Put(4, 2), 0);
  EXPECT_EQ(Put(2, 1), 1) << "with the one before";
  EXPECT_EQ(Put(3, 1), 2) << "with both";
  EXPECT_EQ(Put(6, 1), 1);
  EXPECT_EQ(book_.bytes[HZ4_EXTENT_DIRTY], 7 * kPage);
  ASSERT_NE(hz4_extents_at(&book_, At(0)), nullptr);
  EXPECT_EQ(hz4_extents_at(&book_, At(0))->bytes, 7 * kPage);
  EXPECT_EQ(hz4_extents_at(&book_, At(1)), nullptr) << "no range begins there";
}

TEST_F(Extents, OtherStatesAndIslandsDoNot) {
  EXPECT_EQ(Put(0, 2), 0);
  EXPECT_EQ(Put(2, 2, HZ4_EXTENT_CLEAN), 0);
  EXPECT_EQ(Put(4, 2, HZ4_EXTENT_FRESH), 0);
  EXPECT_EQ(Put(6, 2, HZ4_EXTENT_FRESH, 1), 0);
  EXPECT_EQ(Put(8, 2, HZ4_EXTENT_FRESH, 2), 0);
  EXPECT_EQ(Put(10, 2, HZ4_EXTENT_FRESH, 2), 1);
}

TEST_F(Extents, TheWholeOrAPartIsTaken) {
  Put(0, 10);
  hz4_extent *extent = Find(4);
  ASSERT_NE(extent, nullptr);
  EXPECT_EQ(hz4_extents_cut(&book_, extent, 4 * kPage), At(0));
  EXPECT_EQ(hz4_extents_cut_end(&book_, extent, 2 * kPage), At(8));
  EXPECT_STREQ(hz4_extents_broken(&book_), nullptr);
  EXPECT_EQ(Find(5), nullptr);
  extent = Find(4);
  ASSERT_NE(extent, nullptr);
  EXPECT_EQ(hz4_extents_cut(&book_, extent, 4 * kPage), At(4));
  delete extent;
  EXPECT_EQ(Find(1), nullptr);
}

// One size is in a list with others: those that are too small are passed over.
TEST_F(Extents, ARangeOfTheVerySizeIsFound) {
  for (size_t pages : {1, 7, 8, 9, 15, 16, 17, 18, 100, 149, 1000, 1 << 20}) {
    Put(0, pages);
    EXPECT_NE(Find(pages), nullptr) << pages;
    EXPECT_EQ(Find(pages + 1), nullptr) << pages;
    EXPECT_EQ(Find(pages, kPage, HZ4_EXTENT_CLEAN), nullptr);
    TearDown();
  }
  Put(0, 17);
  Put(100, 16);
  ASSERT_NE(Find(17), nullptr);
  EXPECT_EQ(Find(17)->base, At(0));
}

TEST_F(Extents, AlignedWherePossible) {
  Put(1, 6);  // At(4) is a multiple of 4 pages
  EXPECT_NE(Find(3, 4 * kPage), nullptr);
  EXPECT_EQ(Find(4, 4 * kPage), nullptr);
  EXPECT_EQ(Find(1, 8 * kPage), nullptr);
  EXPECT_EQ(Find(1, size_t{1} << 62), nullptr);
}

TEST_F(Extents, TheOldestIsTheOneThatCameFirst) {
  Put(0, 1);
  Put(10, 9);
  Put(30, 2);
  EXPECT_EQ(hz4_extents_oldest(&book_, HZ4_EXTENT_DIRTY)->base, At(0));
  Put(1, 1);  // joined, it came just now
  EXPECT_EQ(hz4_extents_oldest(&book_, HZ4_EXTENT_DIRTY)->base, At(10));
  hz4_extents_cut(&book_, Find(9), kPage);  // what is left of it has not come anew
  EXPECT_EQ(hz4_extents_oldest(&book_, HZ4_EXTENT_DIRTY)->base, At(11));
  EXPECT_EQ(hz4_extents_oldest(&book_, HZ4_EXTENT_CLEAN), nullptr);
}

// One fault at a time, which is then undone.
TEST_F(Extents, WhatIsBrokenIsSeen) {
  for (size_t page = 0; page < 90; page += 3) Put(page, 2);
  hz4_extent *root = book_.root, *left = root->left, *right = root->right;
  ASSERT_TRUE(left != nullptr && right != nullptr);
  const auto sees = [this](const char *what) { EXPECT_STRNE(hz4_extents_broken(&book_), nullptr) << what; };

  std::swap(root->left, root->right);
  sees("subtrees at the wrong sides");
  std::swap(root->left, root->right);
  for (hz4_extent *child : {left, right}) {
    const uint32_t priority = std::exchange(child->priority, root->priority);
    EXPECT_STREQ(hz4_extents_broken(&book_), nullptr) << "may be equal";
    child->priority = root->priority + 1;
    sees("a child above its parent");
    child->priority = priority;
  }
  for (hz4_extent **link : {&root->left, &root->right, &book_.root}) {
    hz4_extent *lost = std::exchange(*link, nullptr);
    sees("ranges that only the lists have");
    *link = lost;
  }
  for (hz4_extent *extent : {left, root, right}) {
    char *base = std::exchange(extent->base, extent->base + 2 * kPage);
    sees("overlaps the next");
    extent->base = base - kPage;
    sees("touches the one before, and is apart");
    extent->base = base + kPage;
    sees("touches the next, and is apart");
    extent->base = base + 30 * kPage;
    sees("out of order");
    extent->base = base - 30 * kPage;
    sees("out of order");
    extent->base = base;
  }
}

TEST_F(Extents, RandomRun) {
  constexpr size_t kPages = 3000;
  std::mt19937_64 random(5);
  std::vector<char> is_free(kPages, 0);
  Put(0, kPages);
  is_free.assign(kPages, 1);
  std::vector<std::pair<size_t, size_t>> live;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 2 == 0) {
      const size_t pages = 1 + random() % (random() % 8 == 0 ? 300 : 20), align = kPage << random() % 3;
      hz4_extent *extent = Find(pages, align);
      if (extent == nullptr) continue;
      // As large.c does it, without alignment: its beginning.
      const size_t bytes = pages * kPage;
      const bool all = extent->bytes == bytes;
      const size_t page = PageOf(hz4_extents_cut(&book_, extent, bytes));
      if (all) delete extent;
      for (size_t p = page; p < page + pages; ++p) {
        ASSERT_EQ(is_free[p], 1);
        is_free[p] = 0;
      }
      live.emplace_back(page, pages);
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      const auto [page, pages] = live.back();
      live.pop_back();
      Put(page, pages);
      for (size_t p = page; p < page + pages; ++p) is_free[p] = 1;
    }
    if (i % 100 != 0) continue;
    size_t free_pages = 0;
    for (char one : is_free) free_pages += one;
    ASSERT_EQ(book_.bytes[HZ4_EXTENT_DIRTY], free_pages * kPage);
    // The ranges are as large as can be.
    for (size_t p = 0; p < kPages; ++p) {
      const bool begins = is_free[p] && (p == 0 || !is_free[p - 1]);
      ASSERT_EQ(hz4_extents_at(&book_, At(p)) != nullptr, begins) << p;
    }
  }
}

}  // namespace
