// What the tests of Mid share: objects by the vector, and a fixture that finds what was not given back.
#ifndef HZ4_TEST_MID_H_
#define HZ4_TEST_MID_H_

#include <gtest/gtest.h>

#include <vector>

#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/policy.h"
#include "hz4/poison.h"
#include "hz4/segment.h"
#include "hz4/sizeclass.h"
#include "hz4/test/sys_fake.h"

namespace hz4_test {

using Stats = struct hz4_mid_stats;
using SegmentStats = struct hz4_segment_stats;

constexpr uint32_t kAll = UINT32_MAX;

inline Stats Now() {
  Stats stats;
  hz4_mid_stats(&stats);
  return stats;
}

inline SegmentStats Segments() {
  SegmentStats stats;
  hz4_segment_stats(&stats);
  return stats;
}

inline uint32_t ClassOf(size_t bytes) { return hz4_class_of_size(bytes); }

// At most `want` objects of the class.
inline std::vector<void *> Take(uint32_t c, uint32_t want, uint32_t fresh = kAll, void *owner = nullptr) {
  std::vector<void *> objects(want);
  const hz4_mid_result got = hz4_mid_take(c, objects.data(), want, fresh, owner, false);
  EXPECT_LE(got.objects, want);
  EXPECT_LE(got.from_depot, got.objects);
  objects.resize(got.objects);
  for (void *object : objects) hz4_unpoison(object, hz4_class_bytes(c));  // as alloc.c does it
  return objects;
}

inline hz4_mid_result Give(uint32_t c, std::vector<void *> objects, const void *giver = nullptr) {
  if (objects.empty()) return {};
  const hz4_mid_result result = hz4_mid_give(c, objects.data(), static_cast<uint32_t>(objects.size()), giver, true);
  EXPECT_EQ(result.objects, objects.size());
  return result;
}

// Of a class that only one visits: what he gives goes past the depot.
inline void BeAlone(uint32_t c, int *visitor) {
  for (int visits = 0; visits <= HZ4_MID_ALONE_VISITS; visits += 2) Give(c, Take(c, 1, kAll, visitor), visitor);
}

// Nothing is known any more of what other tests did with the class: each decline halves what its depot may hold.
inline void Forget(uint32_t c) {
  int visitor;
  BeAlone(c, &visitor);
  for (int declines = 0; declines < 20; ++declines) {
    std::vector<void *> objects;
    while (objects.size() < HZ4_DECLINE_OBJECTS_MIN) objects.push_back(Take(c, 1, kAll, &visitor).at(0));
    Give(c, objects, &visitor);
  }
  Take(c, 0, 0);  // somebody else comes by
}

// Every test gives back all it took.
class Mid : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
  }
  void TearDown() override {
    hz4_sys_fake_reset();
    hz4_mid_trim();
    hz4_mid_check();
    const Stats now = Now();
    EXPECT_EQ(now.spans, 0u);
    EXPECT_EQ(now.span_bytes, 0u);
    EXPECT_EQ(now.span_objects, 0u);
    EXPECT_EQ(now.free_objects, 0u);
    EXPECT_EQ(now.depot_objects, 0u);
    EXPECT_EQ(Segments().used_bytes, 0u);
    hz4_segment_purge(0);
    hz4_segment_check();
    hz4_meta_check();
  }
};

}  // namespace hz4_test

#endif  // HZ4_TEST_MID_H_
