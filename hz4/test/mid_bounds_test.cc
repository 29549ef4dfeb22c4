// How much Mid keeps: the depot's bound, the decline, and the memory inside spans that go on living.
#include <gtest/gtest.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "hz4/mid.h"
#include "hz4/os.h"
#include "hz4/test/mid.h"

namespace {

using namespace hz4_test;

using MidBounds = Mid;
using OsStats = struct hz4_os_stats;

// What was ever in use, of the segments and beside them. (What is less is added modulo 2^64.)
void SetPeak(size_t bytes) {
  static size_t beside = 0;
  struct hz4_segment_stats now;
  hz4_segment_stats(&now);
  const size_t more = bytes - now.peak_used_bytes - beside;
  hz4_policy_pages pages = {};
  hz4_policy_pages_taken(&pages, more, 0);
  beside += more;
}

// Whatever the program does, the depot holds at most a quarter of what is out, or an allowance of 1 MiB at most.
TEST_F(MidBounds, TheDepotTakesOfABatchWhatItHasRoomFor) {
  const uint32_t c = ClassOf(224);
  Forget(c);
  const std::vector<void *> objects = Take(c, 200);
  Give(c, {objects.begin(), objects.begin() + 80});
  // Of 200 that were out a quarter, 50; and when the other 30 were home, a quarter of 170.
  EXPECT_EQ(Now().depot_objects, 170u / 4);
  Give(c, {objects.begin() + 80, objects.end()});
}

TEST_F(MidBounds, DepotIsBounded) {
  for (size_t bytes : {size_t{16}, size_t{64}, size_t{1024}, size_t{32768}, HZ4_CLASS_MAX_BYTES}) {
    std::mt19937_64 random(7);
    const uint32_t c = ClassOf(bytes);
    const size_t many = bytes <= 64 ? 100000 : (16u << 20) / bytes;
    const size_t allowance = HZ4_DEPOT_ALLOWANCE_BYTES / bytes;
    uint64_t most = 0;
    std::vector<void *> objects;
    for (int wave = 0; wave < 4; ++wave) {
      while (objects.size() < many) {
        const std::vector<void *> more = Take(c, 200);
        ASSERT_FALSE(more.empty());
        objects.insert(objects.end(), more.begin(), more.end());
      }
      const size_t low = wave == 3 ? 0 : many / 3;
      while (objects.size() > low) {
        const size_t n = std::min<size_t>(objects.size(), random() % 100 + 1);
        Give(c, {objects.end() - n, objects.end()});
        objects.resize(objects.size() - n);
        const Stats now = Now();
        const size_t out = now.span_objects - now.free_objects;
        // It follows its falling bound within a batch.
        ASSERT_LE(now.depot_objects, std::min<size_t>(std::max(out / 4, allowance), HZ4_DEPOT_OBJECTS_MAX) + 100);
        most = std::max(most, now.depot_objects);
        if (random() % 4 == 0) {
          const std::vector<void *> more = Take(c, 30);
          objects.insert(objects.end(), more.begin(), more.end());
        }
      }
      hz4_mid_check();
    }
    EXPECT_GT(most, 0u) << "it never held anything";
    hz4_mid_trim();
  }
}

// A depot that was too small, and then empty, learns to hold what goes to and fro.
TEST_F(MidBounds, DepotGrowsForWhatComesBack) {
  const uint32_t c = ClassOf(448);
  const std::vector<void *> out = Take(c, 100);
  for (int i = 0; i < 12; ++i) {
    std::vector<void *> objects;
    while (objects.size() < 60) {  // the depot's, the span's, another span's
      const std::vector<void *> more = Take(c, static_cast<uint32_t>(60 - objects.size()));
      objects.insert(objects.end(), more.begin(), more.end());
    }
    for (size_t given = 0; given < 60; given += 20) {
      Give(c, {objects.begin() + given, objects.begin() + given + 20});
    }
    hz4_mid_check();
  }
  EXPECT_EQ(Now().depot_objects, 60u) << "a quarter of what is out would be 40";
  Give(c, out);
}

// What it learns has a bound, which is all that it holds when a quarter of what is out is less.
TEST_F(MidBounds, DepotLearnsUpToItsAllowance) {
  const uint32_t c = ClassOf(4096), most = HZ4_DEPOT_ALLOWANCE_BYTES / 4096, n = most + most / 2;
  std::vector<void *> out;  // so that the waves are no declines
  while (out.size() < n) out.push_back(Take(c, 1)[0]);
  for (int i = 0; i < 20; ++i) {
    std::vector<void *> objects;
    while (objects.size() < n) objects.push_back(Take(c, 1)[0]);
    for (void *object : objects) Give(c, {object});
  }
  EXPECT_EQ(Now().depot_objects, most);
  Give(c, out);
}

TEST_F(MidBounds, ObjectsThatComeHomeMakeADecline) {
  for (size_t bytes : {size_t{64}, size_t{3072}, size_t{65536}}) {
    const uint32_t c = ClassOf(bytes);
    std::vector<void *> objects;
    while (objects.size() < 1000) {
      const std::vector<void *> more = Take(c, 100);
      objects.insert(objects.end(), more.begin(), more.end());
    }
    const uint32_t before = hz4_mid_declines(c);
    uint32_t declines = before;
    while (objects.size() > 20) {
      const uint32_t now = Give(c, {objects.end() - 20, objects.end()}).declines;
      objects.resize(objects.size() - 20);
      if (now == declines) continue;
      declines = now;
      EXPECT_EQ(Now().depot_objects, 0u) << "a decline empties the depot";
    }
    EXPECT_GE(declines, before + 3) << "1,000 objects fell to 20";
    EXPECT_EQ(hz4_mid_declines(c), declines);
    Give(c, objects);
    hz4_mid_trim();
  }
}

TEST_F(MidBounds, AFallOfSoManyObjectsIsADecline) {
  for (uint32_t fall : {HZ4_DECLINE_OBJECTS_MIN - 1, HZ4_DECLINE_OBJECTS_MIN}) {
    const uint32_t c = ClassOf(192);
    Forget(c);
    const uint32_t before = hz4_mid_declines(c);
    int visitor;
    BeAlone(c, &visitor);
    const std::vector<void *> objects = Take(c, 2 * fall, kAll, &visitor);
    Give(c, {objects.begin(), objects.begin() + fall}, &visitor);
    EXPECT_EQ(hz4_mid_declines(c) - before, fall == HZ4_DECLINE_OBJECTS_MIN ? 1u : 0u);
    Give(c, {objects.begin() + fall, objects.end()});
  }
}

// The declines follow all the way down what a thread frees that is alone, and has no depot.
TEST_F(MidBounds, DeclinesFollowOneWhoIsAlone) {
  int visitor;
  const uint32_t c = ClassOf(208), before = hz4_mid_declines(c);
  BeAlone(c, &visitor);
  std::vector<void *> objects;
  while (objects.size() < 8192) objects.push_back(Take(c, 1, kAll, &visitor).at(0));
  for (size_t i = 0; i < 8192; i += 16) Give(c, {objects.begin() + i, objects.begin() + i + 16}, &visitor);
  EXPECT_EQ(Now().depot_objects, 0u);
  EXPECT_GE(hz4_mid_declines(c) - before, 6u);
}

// A fall of fewer objects than make a decline is one if they are large enough.
TEST_F(MidBounds, AFallOfSoManyBytesIsADecline) {
  const uint32_t large = ClassOf(131072), fall = HZ4_DECLINE_BYTES_MIN / 131072;
  ASSERT_LT(fall, static_cast<uint32_t>(HZ4_DECLINE_OBJECTS_MIN));
  for (uint32_t c : {large - 1, large}) {
    Forget(c);
    const uint32_t before = hz4_mid_declines(c);
    const std::vector<void *> objects = Take(c, 2 * fall);
    ASSERT_EQ(objects.size(), 2 * fall);
    Give(c, {objects.begin(), objects.begin() + fall});
    EXPECT_EQ(hz4_mid_declines(c) - before, c == large ? 1u : 0u);
    Give(c, {objects.begin() + fall, objects.end()});
  }
}

// What is free inside the emptier spans goes back from the second decline in a row on, and not before, but not while there is
// thrashing: when enough was taken again soon after, declines purge nothing, until ten times HZ4_REFAULT_MS have passed without
// that.
TEST_F(MidBounds, DeclinesPurgeInsideSpansAndThrashingEndsThem) {
  const uint32_t c = ClassOf(1024);
  const uint64_t soon = hz4_option.refault_ms * 1000000;
  hz4_sys_fake_later();
  std::vector<void *> objects;
  std::mt19937_64 random(4);
  auto flood = [&] {
    while (objects.size() < 32768) {
      const std::vector<void *> more = Take(c, 64);
      ASSERT_FALSE(more.empty());
      objects.insert(objects.end(), more.begin(), more.end());
    }
    std::shuffle(objects.begin(), objects.end(), random);
  };
  // Gives objects until there have been three declines, of which the first must not have purged, and what the others purge goes
  // on with what is given next; or nearly all, with thrashing, without any.
  auto fall = [&](uint32_t wanted, int line) {
    const uint32_t before = hz4_mid_declines(c);
    for (uint32_t declines = 0; declines != 3 && objects.size() > 1024;) {
      const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE];
      Give(c, {objects.end() - 16, objects.end()});
      objects.resize(objects.size() - 16);
      const bool declined = hz4_mid_declines(c) - before != declines, purged = hz4_sys_fake.calls[HZ4_SYS_PURGE] != calls;
      declines = hz4_mid_declines(c) - before;
      if (declined) ASSERT_EQ(purged, declines >= HZ4_DECLINES_TO_PURGE) << "line " << line;
      else ASSERT_TRUE(!purged || declines >= HZ4_DECLINES_TO_PURGE) << "line " << line;
    }
    ASSERT_EQ(hz4_mid_declines(c) - before, wanted) << "line " << line;
  };
  flood();
  fall(3, __LINE__);
  hz4_sys_fake.now_ns += soon;
  flood();  // takes the purged memory, but late
  for (int swings = 1; swings < HZ4_THRASHING_SWINGS; ++swings) {
    hz4_policy_purged();
    hz4_policy_wanted(0);
  }
  SetPeak(objects.size() * 1024 * 2);
  fall(3, __LINE__);
  flood();  // soon, and more than a quarter of all
  fall(0, __LINE__);
  hz4_sys_fake.now_ns += soon * HZ4_THRASHING_LASTS - 1;
  flood();
  fall(0, __LINE__);
  hz4_sys_fake.now_ns += 1;
  flood();
  fall(3, __LINE__);
  Give(c, objects);
}

// What a decline purges inside spans that are closed soon after, and taken again, is refaulted like what lies free.
TEST_F(MidBounds, WavesThatCloseSpansArePurgedForAWhileOnly) {
  const uint32_t c = ClassOf(4096), in_a_span = hz4_class_table[c].span_objects, wave = 20 * in_a_span;
  const uint32_t batch = in_a_span * 3 / 2;  // so that every other one ends in the middle of a span
  hz4_sys_fake_later();
  SetPeak(wave * 4096);
  int visitor;  // who is alone, and whose objects go home
  BeAlone(c, &visitor);
  uint64_t first = 0, last = 0;
  for (int i = 0; i < 8 * HZ4_THRASHING_SWINGS; ++i) {
    const uint64_t before = hz4_sys_fake.calls[HZ4_SYS_PURGE];
    std::vector<void *> objects;
    while (objects.size() < wave) {
      const std::vector<void *> more = Take(c, wave - static_cast<uint32_t>(objects.size()), kAll, &visitor);
      objects.insert(objects.end(), more.begin(), more.end());
    }
    hz4_segment_check();
    for (size_t at = 0; at < wave; at += batch) {
      Give(c, {objects.begin() + at, objects.begin() + std::min<size_t>(at + batch, wave)}, &visitor);
    }
    last = hz4_sys_fake.calls[HZ4_SYS_PURGE] - before;
    first += i == 0 ? last : 0;
  }
  EXPECT_GE(first, 1u);
  EXPECT_EQ(last, 0u);
}

// A decline purges inside every span of which half is free, whatever the number of its objects, and in no other. What is
// purged leaves the span with holes, until it is handed out again, or the span is closed.
TEST_F(MidBounds, DeclinesPurgeSpansThatAreHalfFree) {
  for (uint32_t c : {ClassOf(1024), ClassOf(3328), ClassOf(3840), ClassOf(16384)}) {
    const uint32_t in_a_span = hz4_class_table[c].span_objects, page = static_cast<uint32_t>(hz4_sys_page_bytes());
    // Spans that keep none, a third, half and two thirds of their objects, at their ends, so that whole pages are free.
    const uint32_t keeps[] = {0, in_a_span / 3, in_a_span / 2, in_a_span * 2 / 3}, spans = 400;
    std::vector<std::vector<void *>> held(spans);
    for (auto &objects : held) objects = Take(c, in_a_span);
    ASSERT_EQ(Segments().purged_inside_bytes, 0u);
    const uint32_t declines = hz4_mid_declines(c);
    uint64_t least = 0, most = 0;
    for (uint32_t i = 0; i < spans; ++i) {
      const uint32_t keep = i < 8 ? keeps[i % 4] : 0, away = in_a_span - keep;
      if (keep != 0 && away * 2 >= in_a_span) {
        least += away * hz4_class_bytes(c) - 2 * page;
        most += away * hz4_class_bytes(c) + page;  // behind the last object
      }
      if (i < 8) Give(c, {held[i].begin() + keep, held[i].end()});
    }
    for (uint32_t i = 8; i < spans; ++i) Give(c, held[i]);
    ASSERT_GE(hz4_mid_declines(c), declines + HZ4_DECLINES_TO_PURGE);
    EXPECT_GE(Segments().purged_inside_bytes, least) << hz4_class_bytes(c);
    EXPECT_LE(Segments().purged_inside_bytes, most) << hz4_class_bytes(c);
    for (uint32_t i = 0; i < 8; ++i) {
      if (keeps[i % 4] != 0) Give(c, {held[i].begin(), held[i].begin() + keeps[i % 4]});
    }
    hz4_mid_trim();
    EXPECT_EQ(Segments().purged_inside_bytes, 0u);
  }
}

// What the kernel purged.
uint64_t purged_bytes;

void CountPurged(enum hz4_sys_call call, void *, size_t bytes) {
  if (call == HZ4_SYS_PURGE) purged_bytes += bytes;
}

// However much a decline finds to be purged, no call purges more than HZ4_PURGE_BYTES and a span, in batches; the next ones go
// on, until all that was free then has gone back.
TEST_F(MidBounds, ADeclinePurgesABoundedPartAtOnce) {
  const uint32_t c = ClassOf(16384), in_a_span = hz4_class_table[c].span_objects, spans = 1024;
  const size_t span_bytes = hz4_class_table[c].span_pages * HZ4_PAGE_BYTES;
  std::vector<void *> kept, objects;
  for (uint32_t i = 0; i < spans; ++i) {
    const std::vector<void *> span = Take(c, in_a_span);
    kept.push_back(span[0]);
    objects.insert(objects.end(), span.begin() + 1, span.end());
  }
  hz4_sys_fake.in_call = CountPurged;
  const uint32_t declines = hz4_mid_declines(c);
  uint64_t all = 0, rounds = 0;
  for (size_t at = 0; at < objects.size(); at += 16) {
    purged_bytes = 0;
    const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE];
    Give(c, {objects.begin() + at, objects.begin() + std::min(at + 16, objects.size())});
    ASSERT_LT(purged_bytes, HZ4_PURGE_BYTES + span_bytes);
    ASSERT_LE(hz4_sys_fake.calls[HZ4_SYS_PURGE] - calls, 1 + purged_bytes / (32 * span_bytes / in_a_span));
    all += purged_bytes;
    rounds += purged_bytes != 0;
    hz4_mid_check();
  }
  EXPECT_GE(hz4_mid_declines(c), declines + HZ4_DECLINES_TO_PURGE);
  EXPECT_GT(rounds, all / (HZ4_PURGE_BYTES + span_bytes));
  // Of an eighth of the spans all but one object of each is free since the second decline.
  EXPECT_GE(Segments().purged_inside_bytes, spans * span_bytes / 2);
  Give(c, kept);
}

// No lock is held while the kernel purges, or this hangs; and nobody gets an object of what it purges.
std::vector<void *> taken_meanwhile;

TEST_F(MidBounds, OthersComeWhileMemoryIsPurged) {
  static uint32_t c;
  c = ClassOf(16384);
  const uint32_t in_a_span = hz4_class_table[c].span_objects;
  std::vector<void *> kept, objects;
  for (uint32_t i = 0; i < 64; ++i) {
    const std::vector<void *> span = Take(c, in_a_span);
    kept.push_back(span[0]);
    objects.insert(objects.end(), span.begin() + 1, span.end());
  }
  taken_meanwhile.clear();
  hz4_sys_fake.in_call = [](enum hz4_sys_call call, void *base, size_t bytes) {
    if (call != HZ4_SYS_PURGE) return;
    std::thread([&] {
      for (void *object : Take(c, 1)) {
        EXPECT_TRUE(object < base || object >= static_cast<char *>(base) + bytes);
        memset(object, 7, 16384);
        taken_meanwhile.push_back(object);
      }
      hz4_mid_check();
      hz4_segment_check();
    }).join();
  };
  Give(c, objects);
  hz4_mid_trim();
  hz4_sys_fake.in_call = nullptr;
  EXPECT_FALSE(taken_meanwhile.empty());
  for (void *object : taken_meanwhile) EXPECT_EQ(static_cast<char *>(object)[16383], 7) << "it was purged in use";
  Give(c, taken_meanwhile);
  Give(c, kept);
}

// A span whose last object comes home while it is being purged goes back to its segment afterwards.
TEST_F(MidBounds, ASpanThatIsCompleteWhenItWasPurgedIsClosed) {
  static uint32_t c;
  static std::vector<void *> last;
  static int visitor;  // who is alone gives past the depot
  c = ClassOf(16384);
  BeAlone(c, &visitor);
  std::vector<void *> span = Take(c, hz4_class_table[c].span_objects, kAll, &visitor);
  last = {span[0]};
  Give(c, {span.begin() + 1, span.end()}, &visitor);
  hz4_sys_fake.in_call = [](enum hz4_sys_call call, void *, size_t) {
    if (call != HZ4_SYS_PURGE || last.empty()) return;
    const std::vector<void *> object = last;
    last.clear();
    std::thread([&] {
      EXPECT_EQ(Give(c, object, &visitor).spans_closed, 0u);
      EXPECT_EQ(Now().spans, 1u);
      EXPECT_EQ(Now().depot_objects, 0u);
    }).join();
  };
  EXPECT_TRUE(hz4_mid_trim());
  EXPECT_TRUE(last.empty());
  EXPECT_EQ(Now().spans, 0u);
}

// While memory inside spans goes back the depot keeps half of its share.
TEST_F(MidBounds, TheDepotKeepsLessWhenItGoesOnDeclineing) {
  const uint32_t c = ClassOf(1024);
  std::vector<void *> objects;
  while (objects.size() < 32768) {
    const std::vector<void *> more = Take(c, 64);
    objects.insert(objects.end(), more.begin(), more.end());
  }
  uint64_t most[HZ4_DECLINES_TO_PURGE + 2] = {};
  for (uint32_t first = hz4_mid_declines(c), declines = 0; declines < HZ4_DECLINES_TO_PURGE + 1; declines = hz4_mid_declines(c) - first) {
    Give(c, {objects.end() - 16, objects.end()});
    objects.resize(objects.size() - 16);
    most[declines] = std::max(most[declines], Now().depot_objects * 1000 / (Now().span_objects - Now().free_objects));
  }
  EXPECT_NEAR(static_cast<double>(most[0]), 1000 >> HZ4_DEPOT_SHARE_SHIFT, 5);
  EXPECT_NEAR(static_cast<double>(most[HZ4_DECLINES_TO_PURGE]), 1000 >> (HZ4_DEPOT_SHARE_SHIFT + 1), 5);
  Give(c, objects);
}

// Of spans that single objects keep, the rest of the memory goes back, and not a byte of the objects that stay.
TEST_F(MidBounds, TrimPurgesAroundLiveObjects) {
  std::mt19937_64 random(8);
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    const size_t bytes = hz4_class_bytes(c), in_a_span = hz4_class_table[c].span_objects;
    size_t granule = hz4_sys_page_bytes();
    while (hz4_class_table[c].span_pages * HZ4_PAGE_BYTES / granule > 64) granule *= 2;
    std::vector<void *> objects = Take(c, static_cast<uint32_t>(in_a_span));
    ASSERT_EQ(objects.size(), in_a_span);
    for (void *object : objects) memset(object, static_cast<int>(c), bytes);
    std::shuffle(objects.begin(), objects.end(), random);
    size_t keep = in_a_span > 64 ? 3 : 1;
    for (int round = 0; round < 2; ++round) {
      OsStats before, after;
      hz4_os_stats(&before);
      Give(c, {objects.begin() + keep, objects.end()});
      hz4_mid_trim();
      hz4_os_stats(&after);
      ASSERT_EQ(after.failed_calls, before.failed_calls);
      const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_PURGE];
      hz4_mid_trim();
      EXPECT_EQ(hz4_sys_fake.calls[HZ4_SYS_PURGE], calls) << "what is purged is not purged again";
      // Each object that stays keeps the granules that it shares, at both of its ends.
      EXPECT_GE(after.purged_bytes - before.purged_bytes + keep * (bytes + 2 * granule), in_a_span * bytes) << bytes;
      for (size_t i = 0; i < keep; ++i) {
        const char *object = static_cast<char *>(objects[i]);
        for (size_t at = 0; at < bytes; ++at) ASSERT_EQ(object[at], static_cast<char>(c)) << bytes << " at " << at;
      }
      // What is handed out again may be written to, and is purged again.
      objects.resize(keep);
      const std::vector<void *> more = Take(c, static_cast<uint32_t>(in_a_span - keep), 0);
      ASSERT_EQ(more.size(), in_a_span - keep);
      for (void *object : more) memset(object, static_cast<int>(c), bytes);
      objects.insert(objects.end(), more.begin(), more.end());
    }
    Give(c, objects);
    hz4_mid_trim();
  }
}

TEST_F(MidBounds, TrimPurgesTheOneFreePageOfASpan) {
  const uint32_t c = ClassOf(1024), in_a_page = static_cast<uint32_t>(hz4_sys_page_bytes() / 1024);
  const std::vector<void *> objects = Take(c, hz4_class_table[c].span_objects);
  for (size_t first = 0; first < objects.size(); first += in_a_page) {
    Give(c, {objects.begin() + first, objects.begin() + first + in_a_page});
    OsStats before, after;
    hz4_os_stats(&before);
    hz4_mid_trim();
    hz4_os_stats(&after);
    EXPECT_EQ(after.purged_bytes - before.purged_bytes, hz4_sys_page_bytes()) << first;
    ASSERT_EQ(Take(c, in_a_page, 0).size(), in_a_page);
  }
  Give(c, objects);
}

// One object that went out and came home costs the purge of its granule, not of all others.
TEST_F(MidBounds, OnlyWhatWasHandedOutIsPurgedAgain) {
  for (size_t bytes : {size_t{16}, size_t{1024}, size_t{32} << 10}) {
    const uint32_t c = ClassOf(bytes);
    const size_t granule = hz4_sys_page_bytes(), span_bytes = hz4_class_table[c].span_pages * HZ4_PAGE_BYTES;
    ASSERT_LE(span_bytes / granule, 64u) << "else granules are larger";
    std::vector<void *> objects = Take(c, hz4_class_table[c].span_objects);
    void *last = objects.back();
    objects.pop_back();
    Give(c, objects);
    hz4_mid_trim();
    for (uint32_t n : {1u, 3u}) {
      const std::vector<void *> some = Take(c, n, 0);
      ASSERT_EQ(some.size(), n);
      Give(c, some);
      OsStats before, after;
      hz4_os_stats(&before);
      hz4_mid_trim();
      hz4_os_stats(&after);
      EXPECT_EQ(after.purged_bytes - before.purged_bytes, hz4_round_up(n * bytes, granule)) << bytes;
    }
    Give(c, {last});
  }
}

TEST_F(MidBounds, CheckFindsAnObjectOfAnotherClassInTheDepot) {
  const uint32_t c = ClassOf(64), d = ClassOf(128);
  const std::vector<void *> objects = Take(c, 100), other = Take(d, 1);
  EXPECT_DEATH((Give(c, {objects[0]}), Give(c, other), hz4_mid_check()), "hz4: mid: a depot object of another class\n");
  Give(c, objects);
  Give(d, other);
}

TEST_F(MidBounds, DepotThatCannotGrowLeavesTheSpans) {
  const uint32_t c = ClassOf(32);
  std::vector<void *> objects;
  while (objects.size() < 20000) {
    const std::vector<void *> more = Take(c, 2000);
    objects.insert(objects.end(), more.begin(), more.end());
  }
  hz4_sys_fake.fail_every[HZ4_SYS_MMAP] = 1;  // arrays of more than 8 KiB are mappings
  for (size_t given = 0, n; given < objects.size(); given += n) {
    n = std::min<size_t>(objects.size() - given, 2000);
    Give(c, {objects.begin() + given, objects.begin() + given + n});
  }
  EXPECT_GT(hz4_sys_fake.failures[HZ4_SYS_MMAP], 0u);
  hz4_mid_check();
}

}  // namespace
