// Mid over the hostile kernel: objects stay apart, books add up, spans go home, misuse is named.
#include "hz4/mid.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "hz4/misuse.h"
#include "hz4/options.h"
#include "hz4/random.h"
#include "hz4/span.h"
#include "hz4/test/mid.h"
#include "hz4/test/regions.h"

namespace {

using namespace hz4_test;

TEST_F(Mid, EveryClassGivesObjectsOfItsOwn) {
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    const size_t bytes = hz4_class_bytes(c);
    const uint32_t in_a_span = hz4_class_table[c].span_objects;
    std::vector<void *> objects(in_a_span + 1);
    hz4_mid_result got = hz4_mid_take(c, objects.data(), in_a_span, kAll, nullptr, false);
    EXPECT_EQ(got.objects, in_a_span);
    EXPECT_EQ(got.spans_opened, 1u);
    EXPECT_EQ(got.from_depot, 0u);
    got = hz4_mid_take(c, objects.data() + in_a_span, 1, kAll, nullptr, false);
    EXPECT_EQ(got.objects, 1u);
    EXPECT_EQ(got.spans_opened, 1u);
    std::sort(objects.begin(), objects.end());
    for (size_t i = 0; i < objects.size(); ++i) {
      ASSERT_EQ(hz4_pagemap_class(objects[i]), c);
      ASSERT_TRUE(hz4_is_aligned(objects[i], 16));
      ASSERT_TRUE(i == 0 || static_cast<char *>(objects[i - 1]) + bytes <= objects[i]);
      const struct hz4_span *span = hz4_pagemap_span(objects[i]);
      ASSERT_NE(span, nullptr);
      ASSERT_LE(static_cast<char *>(objects[i]) + bytes, span->base + span->bytes);
    }
    EXPECT_EQ(Now().spans, 2u);
    EXPECT_EQ(Now().span_objects, 2 * in_a_span);
    EXPECT_EQ(Now().free_objects, in_a_span - 1);
    EXPECT_EQ(Now().free_bytes, (in_a_span - 1) * bytes);
    EXPECT_EQ(Now().span_bytes, Segments().used_bytes);
    hz4_mid_check();
    Give(c, objects);
    hz4_mid_trim();
    EXPECT_EQ(Now().spans, 0u);
  }
}

TEST_F(Mid, LowAddressesComeFirst) {
  const uint32_t c = ClassOf(1024);
  const std::vector<void *> objects = Take(c, 40);
  EXPECT_TRUE(std::is_sorted(objects.begin(), objects.end()));
  Give(c, objects);
}

TEST_F(Mid, FreshBoundsWhatAFreshSpanGives) {
  const uint32_t c = ClassOf(64);
  EXPECT_TRUE(Take(c, 10, 0).empty()) << "fresh 0 opens no span";
  EXPECT_EQ(Now().spans, 0u);
  std::vector<void *> objects = Take(c, 100, 7);
  EXPECT_EQ(objects.size(), 7u);
  // What the span still has is not fresh any more.
  const std::vector<void *> more = Take(c, 100, 0);
  EXPECT_EQ(more.size(), 100u);
  objects.insert(objects.end(), more.begin(), more.end());
  Give(c, objects);
}

// The array doubles; what it was goes back.
TEST_F(Mid, ADepotHasOneArray) {
  const uint32_t c = ClassOf(80);  // no other test's
  std::vector<void *> objects;
  while (objects.size() < 4000) {
    for (void *object : Take(c, 4000 - static_cast<uint32_t>(objects.size()))) objects.push_back(object);
  }
  struct hz4_meta_stats before, after;
  hz4_meta_stats(&before);
  for (int i = 0; i < 15; ++i) {
    Give(c, {objects.end() - 60, objects.end()});
    objects.resize(objects.size() - 60);
  }
  EXPECT_EQ(Now().depot_objects, 900u);
  hz4_meta_stats(&after);
  EXPECT_LE(after.used_bytes, before.used_bytes + 1024 * sizeof(void *));
  Give(c, objects);
}

TEST_F(Mid, DepotServesFirstAndNewestFirst) {
  const uint32_t c = ClassOf(256);
  const std::vector<void *> objects = Take(c, 200);
  Give(c, {objects.begin(), objects.begin() + 10});
  EXPECT_EQ(Now().depot_objects, 10u);
  EXPECT_EQ(Now().depot_bytes, 10 * hz4_class_bytes(c));
  std::vector<void *> again(4);
  const hz4_mid_result got = hz4_mid_take(c, again.data(), 4, kAll, nullptr, false);
  EXPECT_EQ(got.objects, 4u);
  EXPECT_EQ(got.from_depot, 4u);
  EXPECT_EQ(got.spans_opened, 0u);
  EXPECT_EQ(std::set<void *>(again.begin(), again.end()),
            std::set<void *>(objects.begin() + 6, objects.begin() + 10));
  EXPECT_EQ(Now().depot_objects, 6u);
  Give(c, again);
  Give(c, {objects.begin() + 10, objects.end()});
}

TEST_F(Mid, WhatAThreadGivesThatIsAloneGoesHome) {
  int one, two;
  const uint32_t c = ClassOf(256);
  const std::vector<void *> objects = Take(c, 200, kAll, &one);
  for (int visits = 0; visits < HZ4_MID_ALONE_VISITS; visits += 2) {
    Give(c, {objects[0]}, &one);
    EXPECT_EQ(Now().depot_objects, 1u) << visits;
    EXPECT_EQ(Take(c, 1, kAll, &one), std::vector<void *>{objects[0]});
  }
  const std::vector<void *> ten = {objects.rend() - 10, objects.rend()};
  Give(c, ten, &one);
  EXPECT_EQ(Now().depot_objects, 0u);
  EXPECT_EQ(Take(c, 10, kAll, &one), std::vector<void *>(objects.begin(), objects.begin() + 10)) << "by address";
  Give(c, ten, &two);
  EXPECT_EQ(Now().depot_objects, 10u) << "there are two";
  EXPECT_EQ(Take(c, 10, kAll, &one), ten);
  Give(c, ten, &one);
  EXPECT_EQ(Now().depot_objects, 10u) << "that was just now";
  Give(c, {objects.begin() + 10, objects.end()});
}

TEST_F(Mid, WhoGivesAnothersIsNotAlone) {
  int one, two;
  const uint32_t c = ClassOf(256);
  std::vector<void *> of_two = Take(c, 1, kAll, &two);
  while (Now().free_objects != 0) of_two.push_back(Take(c, 1, kAll, &two).at(0));  // the whole of a span
  std::vector<void *> of_one = Take(c, 200, kAll, &one);
  for (int visits = 0; visits <= HZ4_MID_ALONE_VISITS; visits += 2) Give(c, Take(c, 1, kAll, &one), &one);
  Give(c, {of_one.back()}, &one);
  EXPECT_EQ(Now().depot_objects, 0u);
  of_one.pop_back();
  Give(c, {of_two.back()}, &one);
  EXPECT_EQ(Now().depot_objects, 1u);
  of_two.pop_back();
  Give(c, of_one);
  Give(c, of_two);
}

TEST_F(Mid, SpansWhoseObjectsAreHomeGoBack) {
  const uint32_t c = ClassOf(HZ4_CLASS_MAX_BYTES);  // four to a span
  const std::vector<void *> objects = Take(c, 4), others = Take(c, 4);
  EXPECT_EQ(Now().spans, 2u);
  Give(c, objects);
  EXPECT_TRUE(hz4_mid_trim());  // what the depot has goes home
  EXPECT_EQ(Segments().used_bytes, Now().span_bytes);
  EXPECT_EQ(Now().spans, 1u);
  EXPECT_EQ(hz4_pagemap_class(objects[0]), 0u) << "a closed span is in the page map";
  EXPECT_EQ(hz4_pagemap_span(objects[0]), nullptr);
  Give(c, others);
  hz4_mid_trim();
  EXPECT_FALSE(hz4_mid_trim()) << "there is nothing more";
}

// Else one malloc or free of many is as long as there are objects in a refill, or a flush.
TEST_F(Mid, OneCallMeetsFewSpans) {
  int one;
  const uint32_t c = ClassOf(2048), in_a_span = hz4_class_table[c].span_objects, kSpans = 2 * HZ4_MID_SPANS;
  std::vector<void *> first, rest;  // of each span
  for (uint32_t i = 0; i < kSpans; ++i) {
    const std::vector<void *> span = Take(c, in_a_span, kAll, &one);
    first.push_back(span[0]);
    rest.insert(rest.end(), span.begin() + 1, span.end());
  }
  for (int visits = 0; visits <= HZ4_MID_ALONE_VISITS; visits += 2) Give(c, Take(c, 1, kAll, &one), &one);  // home from now on
  Give(c, {rest.begin(), rest.begin() + in_a_span - 1}, &one);
  EXPECT_EQ(hz4_mid_portion(c), HZ4_MOVE_OBJECTS) << "all to one span";
  Give(c, first, &one);
  EXPECT_EQ(hz4_mid_portion(c), HZ4_MID_SPANS) << "each to its own";
  const std::vector<void *> taken = Take(c, kSpans, 0, &one);
  EXPECT_EQ(taken.size(), static_cast<size_t>(HZ4_MID_SPANS));
  Give(c, taken, &one);
  Give(c, {rest.begin() + in_a_span - 1, rest.end()}, &one);
}

TEST_F(Mid, FullerSpansAreServedFirst) {
  const uint32_t c = ClassOf(2048);
  const uint32_t in_a_span = hz4_class_table[c].span_objects;
  const std::vector<void *> full = Take(c, in_a_span), sparse = Take(c, in_a_span);
  Give(c, {full[0]});
  Give(c, {sparse.begin() + 1, sparse.end()});
  hz4_mid_trim();  // out of the depot, into the spans
  const std::vector<void *> next = Take(c, 1);
  EXPECT_EQ(next, (std::vector<void *>{full[0]}));
  Give(c, full);
  Give(c, {sparse[0]});
}

TEST_F(Mid, OwnerIsWhoTookLast) {
  int one, two;
  const uint32_t c = ClassOf(512);
  const std::vector<void *> first = Take(c, 3, kAll, &one);
  EXPECT_EQ(hz4_mid_owner(first[0]), &one);
  const std::vector<void *> second = Take(c, 3, kAll, &two);
  EXPECT_EQ(hz4_mid_owner(first[0]), &two) << "of one span";
  EXPECT_EQ(hz4_mid_owner(&one), nullptr);
  Give(c, first);
  Give(c, second);
}

// By a quarter of the most, whatever the class, and once.
TEST_F(Mid, TheHeapDeclines) {
  while (hz4_policy_heap_declined()) continue;  // what earlier tests left
  const uint32_t few = ClassOf(64 << 10), many = ClassOf(4096);
  const auto take = [](uint32_t c, size_t n) {
    std::vector<void *> objects;
    while (objects.size() < n) {
      for (void *object : Take(c, static_cast<uint32_t>(n - objects.size()))) objects.push_back(object);
    }
    return objects;
  };
  std::vector<void *> some = take(few, 20 << 4), rest = take(many, 20 << 8);  // 20 MiB of each
  EXPECT_FALSE(hz4_policy_heap_declined());
  const auto give = [](uint32_t c, std::vector<void *> *from, size_t n) {
    Give(c, {from->end() - static_cast<std::ptrdiff_t>(n), from->end()}, nullptr);
    from->resize(from->size() - n);
  };
  hz4_mid_trim();
  give(few, &some, 9 << 4);
  hz4_mid_trim();  // of the depot
  EXPECT_FALSE(hz4_policy_heap_declined());
  give(many, &rest, 2 << 8);
  hz4_mid_trim();
  EXPECT_TRUE(hz4_policy_heap_declined());
  EXPECT_FALSE(hz4_policy_heap_declined());
  give(many, &rest, 3 << 8);
  hz4_mid_trim();
  EXPECT_FALSE(hz4_policy_heap_declined()) << "less than a quarter of what there is";
  Give(few, some);
  Give(many, rest);
}

TEST_F(Mid, NoMemoryIsNoObjects) {
  const uint32_t c = ClassOf(4096);
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;
  errno = 4321;
  std::vector<void *> objects;
  for (;;) {  // what the segments still have
    const std::vector<void *> more = Take(c, 16);
    if (more.empty()) break;
    objects.insert(objects.end(), more.begin(), more.end());
  }
  EXPECT_TRUE(Take(c, 1).empty());
  EXPECT_EQ(errno, 4321);
  hz4_mid_check();
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 0;
  const std::vector<void *> one = Take(c, 1);
  EXPECT_EQ(one.size(), 1u);
  objects.insert(objects.end(), one.begin(), one.end());
  Give(c, objects);
}

TEST_F(Mid, ForkGateGivesUp) {
  const uint32_t c = ClassOf(128);
  std::vector<void *> objects = Take(c, 5);
  hz4_mid_fork(hz4_lock_fork_acquire);
  EXPECT_TRUE(Take(c, 1).empty());
  EXPECT_EQ(hz4_mid_give(c, objects.data(), 5, nullptr, true).objects, 0u);
  EXPECT_FALSE(hz4_mid_trim());
  EXPECT_EQ(Now().spans, 0u) << "the books are fork's";
  hz4_mid_check();
  hz4_mid_fork(hz4_lock_fork_release);
  EXPECT_EQ(Now().spans, 1u);
  Give(c, objects);
  hz4_mid_fork(hz4_lock_fork_acquire);
  hz4_mid_fork(hz4_lock_fork_reset);
  Give(c, Take(c, 5));
}

TEST_F(Mid, RandomTraffic) {
  for (bool failing : {false, true}) {
    std::mt19937_64 random(6);
    if (failing) {
      for (int call = 0; call < HZ4_SYS_CALLS; ++call) hz4_sys_fake.fail_every[call] = 3;
    }
    const uint32_t classes[] = {1, 7, 16, ClassOf(1000), ClassOf(5000), ClassOf(40000), 90, HZ4_CLASS_COUNT};
    std::set<void *> out[HZ4_CLASS_SLOTS];
    size_t out_bytes = 0;
    for (int i = 0; i < 20000; ++i) {
      const uint32_t c = classes[random() % 8];
      const auto n = static_cast<uint32_t>(random() % 64 + 1);
      const bool grow = i / 3000 % 2 == 0;
      if (out_bytes < (32u << 20) && random() % 8 < (grow ? 5 : 3)) {
        for (void *object : Take(c, n, random() % 4 == 0 ? 0 : n)) {
          ASSERT_TRUE(out[c].insert(object).second) << "an object was handed out twice";
          ASSERT_EQ(hz4_pagemap_class(object), c);
          out_bytes += hz4_class_bytes(c);
        }
      } else {
        std::vector<void *> back;
        while (back.size() < n && !out[c].empty()) {
          auto it = out[c].lower_bound(reinterpret_cast<void *>(random() >> 16));
          if (it == out[c].end()) it = out[c].begin();
          back.push_back(*it);
          out[c].erase(it);
        }
        out_bytes -= back.size() * hz4_class_bytes(c);
        if (!back.empty()) Give(c, back);
        hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
      }
      if (random() % 500 == 0) hz4_mid_trim();
      if (i % 200 == 0) hz4_mid_check();
    }
    for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
      if (!out[c].empty()) Give(c, {out[c].begin(), out[c].end()});
    }
    hz4_mid_check();
  }
}

TEST_F(Mid, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      std::mt19937_64 random(t);
      std::vector<void *> mine[3];
      const uint32_t classes[] = {ClassOf(48), ClassOf(3000), ClassOf(65536)};
      for (int i = 0; i < 4000; ++i) {
        const size_t k = random() % 3;
        if (mine[k].size() < 100 && random() % 2 == 0) {
          for (void *object : Take(classes[k], 20)) {
            *static_cast<volatile int *>(object) = t;
            mine[k].push_back(object);
          }
        } else if (mine[k].size() >= 10) {
          for (size_t j = mine[k].size() - 10; j < mine[k].size(); ++j) {
            ASSERT_EQ(*static_cast<volatile int *>(mine[k][j]), t);
            hz4_mid_owner(mine[k][j]);
          }
          Give(classes[k], {mine[k].end() - 10, mine[k].end()});
          mine[k].resize(mine[k].size() - 10);
        }
        if (i % 1000 == 0) hz4_mid_check();
      }
      for (size_t k = 0; k < 3; ++k) Give(classes[k], mine[k]);
    });
  }
  for (std::thread &thread : threads) thread.join();
}

// ---- misuse: found when the object comes home to its span ----

// The page map has states in regions that are first used when hardened.
const bool kRegionsHaveStates = [] {
  hz4_option.harden = 1;
  const bool done = hz4_test::ReserveRegions();
  hz4_option.harden = 0;
  return done;
}();

// Hardened, no other class is given the memory at once: a span that is complete waits for the next one of its class.
TEST_F(Mid, HardenedACompleteSpanWaits) {
  hz4_option.harden = 1;
  for (size_t bytes : {16, 100, 1024, 8192, 65536, 262144}) {
    const uint32_t c = ClassOf(bytes), in_span = hz4_class_table[c].span_objects;
    std::vector<void *> first = Take(c, in_span), second = Take(c, in_span);
    ASSERT_EQ(Now().spans, 2u);
    ASSERT_NE(hz4_pagemap_span(first[0]), hz4_pagemap_span(second[0]));
    Give(c, first);
    hz4_mid_check();
    EXPECT_EQ(Now().spans, 2u) << bytes;
    EXPECT_EQ(hz4_pagemap_class(second[0]), 0u) << "free would push by itself";
    EXPECT_EQ(hz4_pagemap_class_of(second[0]), c);
    Give(c, second);
    hz4_mid_trim();
    EXPECT_EQ(Now().spans, 0u);
    // Three of them: of those that are complete one waits at most.
    std::vector<std::vector<void *>> spans;
    for (int i = 0; i < 3; ++i) spans.push_back(Take(c, in_span));
    for (auto &span : spans) Give(c, span);
    hz4_mid_check();
    const Stats now = Now();
    EXPECT_LE(now.spans, 1 + (now.depot_objects + in_span - 1) / in_span) << bytes;
    hz4_mid_trim();
    EXPECT_EQ(Now().spans, 0u);
  }
  hz4_option.harden = 0;
}

// Hardened, objects of a span do not come in the order of their addresses, nor from its begin.
TEST_F(Mid, HardenedObjectsComeFromAnywhere) {
  hz4_option.harden = 1;
  hz4_random_seed(1);
  const uint32_t c = ClassOf(64);
  std::vector<void *> objects;
  std::set<size_t> begins;
  for (int i = 0; i < 64; ++i) {
    std::vector<void *> eight = Take(c, 8);
    begins.insert(static_cast<size_t>(static_cast<char *>(eight[0]) - hz4_pagemap_span(eight[0])->base) / 64 / 64);
    objects.insert(objects.end(), eight.begin(), eight.end());
  }
  EXPECT_GE(begins.size(), 8u) << "of 16 words of the bitmap";
  EXPECT_EQ(std::set<void *>(objects.begin(), objects.end()).size(), objects.size());
  Give(c, objects);
  hz4_option.harden = 0;
}

using MidDeathTest = Mid;

std::string Line(const char *what, const void *ptr) {
  char line[128];
  snprintf(line, sizeof line, "hz4: %s: 0x%016zx\n", what, reinterpret_cast<size_t>(ptr));
  return line;
}

TEST_F(MidDeathTest, WrongPointersAreNamed) {
  const uint32_t c = ClassOf(1024);
  const std::vector<void *> objects = Take(c, 10);
  char *one = static_cast<char *>(objects[0]);
  const auto give_home = [c](void *object) {
    hz4_mid_give(c, &object, 1, nullptr, true);
    hz4_mid_trim();
    hz4_mid_check();  // what is wrong is left out
    hz4_misuse_report(__builtin_frame_address(0));
  };
  EXPECT_DEATH((give_home(one), give_home(one)), Line("double free", one));
  EXPECT_DEATH(give_home(one + 16), Line("free of a pointer into the middle of an object", one + 16));
  EXPECT_DEATH(give_home(one + 1), Line("free of a pointer into the middle of an object", one + 1));
  EXPECT_DEATH(give_home(&one), Line("free of a pointer that is not allocated", &one));
  const std::vector<void *> other = Take(ClassOf(512), 1);
  EXPECT_DEATH(give_home(other[0]), Line("free of a pointer that is not allocated", other[0]));
  Give(ClassOf(512), other);
  Give(c, objects);
}

TEST_F(MidDeathTest, TheTailOfASpanIsNoObject) {
  uint32_t c = 1;
  while (hz4_class_table[c].span_objects * hz4_class_bytes(c) == hz4_class_table[c].span_pages * HZ4_PAGE_BYTES) ++c;
  const std::vector<void *> objects = Take(c, 1);
  char *tail = static_cast<char *>(objects[0]) + hz4_class_table[c].span_objects * hz4_class_bytes(c);
  EXPECT_EQ(hz4_pagemap_class(tail), c);
  EXPECT_DEATH(
      {
        void *object = tail;
        hz4_mid_give(c, &object, 1, nullptr, true);
        hz4_mid_trim();
        hz4_misuse_report(__builtin_frame_address(0));
      },
      Line("free of a pointer into the middle of an object", tail));
  Give(c, objects);
}

TEST_F(MidDeathTest, AnObjectOfAClosedSpanIsNotAllocated) {
  const uint32_t c = ClassOf(1024);
  std::vector<void *> objects = Take(c, 1);
  Give(c, objects);
  hz4_mid_trim();
  EXPECT_DEATH((hz4_mid_give(c, objects.data(), 1, nullptr, true), hz4_mid_trim(), hz4_misuse_report(__builtin_frame_address(0))),
               Line("free of a pointer that is not allocated", objects[0]));
}

}  // namespace
