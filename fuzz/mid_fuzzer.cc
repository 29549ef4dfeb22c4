// Mid over a kernel that refuses: every object is with one taker at most, and all come home.
#include "hz4/mid.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <vector>

#include "fuzz/hostile.h"
#include "fuzz/objects.h"
#include "hz4/meta.h"
#include "hz4/options.h"
#include "hz4/segment.h"

namespace {

constexpr size_t kLiveBytesMax = size_t{24} << 20, kTakeBytesMax = size_t{4} << 20;

struct hz4_mid_stats Now() {
  struct hz4_mid_stats stats;
  hz4_mid_stats(&stats);
  return stats;
}

void CheckAll(const hz4_fuzz::Objects &objects) {
  hz4_mid_check();
  hz4_segment_check();
  hz4_meta_check();
  const struct hz4_mid_stats now = Now();
  FUZZ_CHECK(now.span_objects - now.free_objects - now.depot_objects == objects.Count());
}

// One of three threads, the first more often than not: it is alone at times.
void *Visitor(FuzzedDataProvider *input) {
  static int visitors[3];
  return &visitors[std::max(0, input->ConsumeIntegralInRange(-5, 2))];
}

void Take(FuzzedDataProvider *input, hz4_fuzz::Objects *objects, uint32_t c) {
  auto want = input->ConsumeIntegralInRange<uint32_t>(1, 300);
  want = std::max<uint32_t>(1, std::min<uint32_t>(want, kTakeBytesMax / hz4_class_bytes(c)));
  const auto fresh = input->ConsumeIntegralInRange<uint32_t>(0, 300);
  void *owner = Visitor(input);
  if (objects->bytes() + want * hz4_class_bytes(c) > kLiveBytesMax) return;
  const struct hz4_mid_stats before = Now();
  std::vector<void *> out(want);
  const hz4_mid_result got = hz4_mid_take(c, out.data(), want, fresh, owner, false);
  FUZZ_CHECK(got.objects <= want && got.from_depot <= got.objects && got.spans_closed == 0);
  FUZZ_CHECK(fresh != 0 || got.spans_opened == 0);
  FUZZ_CHECK(got.spans_opened == 0 || got.objects <= fresh);
  FUZZ_CHECK(Now().spans == before.spans + got.spans_opened);
  for (uint32_t i = 0; i < got.objects; ++i) objects->Add(c, out[i]);
  if (got.objects > got.from_depot) FUZZ_CHECK(hz4_mid_owner(out[got.objects - 1]) == owner);
}

void Give(FuzzedDataProvider *input, hz4_fuzz::Objects *objects, uint32_t c, size_t most) {
  std::vector<void *> given;
  const auto stride = input->ConsumeIntegralInRange<size_t>(1, 97);
  for (size_t at = 0; objects->Count(c) != 0 && given.size() < most; at += stride) {
    given.push_back(objects->Remove(c, at % objects->Count(c)));
  }
  if (given.empty()) return;
  const uint64_t spans = Now().spans;
  const hz4_mid_result gave = hz4_mid_give(c, given.data(), static_cast<uint32_t>(given.size()), Visitor(input),
                                           input->ConsumeBool());
  FUZZ_CHECK(gave.objects == given.size() && Now().spans == spans - gave.spans_closed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  FuzzedDataProvider input(data, size);
  hz4_fuzz::Objects objects;
  hz4_option.dirty_kib = input.PickValueInArray({0u, 1024u, 4096u});
  for (int steps = 1; input.remaining_bytes() != 0 && steps < 400; ++steps) {
    const uint32_t c = input.PickValueInArray(hz4_fuzz::kClassesUsed);
    switch (input.ConsumeIntegralInRange(0, 7)) {
      case 0: hz4_fuzz::TurnKnobs(&input); break;
      case 1: hz4_mid_trim(); break;
      case 2: hz4_segment_purge(input.ConsumeBool() ? 0 : HZ4_SEGMENT_KEEP_LIMIT); break;
      case 3: Give(&input, &objects, c, SIZE_MAX); break;
      case 4: Give(&input, &objects, c, input.ConsumeIntegralInRange<size_t>(1, 300)); break;
      default: Take(&input, &objects, c); break;
    }
    if (steps % 8 == 0) CheckAll(objects);
  }
  for (uint32_t c : hz4_fuzz::kClassesUsed) Give(&input, &objects, c, SIZE_MAX);
  CheckAll(objects);
  hz4_sys_fake_reset();
  hz4_mid_trim();
  FUZZ_CHECK(Now().spans == 0);
  hz4_segment_purge(0);
  CheckAll(objects);
  return 0;
}
