// Three thread caches in the hands of one thread, over a kernel that refuses: whichever allocates, frees, steals,
// trims, ends or begins again, every object is in one place.
#include "hz4/tcache.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>

#include "fuzz/hostile.h"
#include "fuzz/objects.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"

namespace {

constexpr size_t kCaches = 3, kLiveBytesMax = size_t{24} << 20, kBurstBytesMax = size_t{4} << 20;

hz4_tcache caches[kCaches];
bool is_open[kCaches];

void Toggle(size_t i) {
  if (is_open[i]) hz4_tcache_close(&caches[i]);
  else hz4_tcache_open(&caches[i]);
  is_open[i] = !is_open[i];
}

// As alloc.c does it.
void *Malloc(hz4_tcache *cache, uint32_t c, hz4_tcache *victim) {
  void *object = hz4_tcache_pop(cache, c);
  if (object == nullptr) object = hz4_tcache_refill(cache, c, false);
  if (object == nullptr && victim != cache && hz4_tcache_steal(cache, victim, c)) object = hz4_tcache_pop(cache, c);
  if (object == nullptr) object = hz4_tcache_refill(cache, c, true);
  return object;
}

void Burst(FuzzedDataProvider *input, hz4_fuzz::Objects *objects, size_t i, uint32_t c) {
  hz4_tcache *victim = &caches[input->ConsumeIntegralInRange<size_t>(0, kCaches - 1)];
  const size_t most = std::min(objects->bytes() + kBurstBytesMax, kLiveBytesMax);
  for (auto n = input->ConsumeIntegralInRange<size_t>(1, 600); n != 0 && objects->bytes() < most; --n) {
    void *object = Malloc(&caches[i], c, victim);
    if (object == nullptr) return;
    objects->Add(c, object);
  }
}

void Free(hz4_fuzz::Objects *objects, size_t i, uint32_t c, size_t most, size_t stride) {
  for (size_t at = 0; objects->Count(c) != 0 && most != 0; --most, at += stride) {
    void *object = objects->Remove(c, at % objects->Count(c));
    if (!hz4_tcache_push(&caches[i], c, object)) hz4_tcache_overflow(&caches[i], c, object);
  }
}

void CheckAll() {
  for (size_t i = 0; i < kCaches; ++i) {
    if (is_open[i]) hz4_tcache_check(&caches[i]);
  }
  hz4_mid_check();
  hz4_segment_check();
  hz4_meta_check();
}

void Step(FuzzedDataProvider *input, hz4_fuzz::Objects *objects, size_t i, uint32_t c) {
  switch (input->ConsumeIntegralInRange(0, 11)) {
    case 0: hz4_fuzz::TurnKnobs(input); break;
    case 1: hz4_tcache_trim(&caches[i]); break;
    case 2: hz4_tcache_empty_inboxes(&caches[i], &caches[input->ConsumeIntegralInRange<size_t>(0, kCaches - 1)]); break;
    case 3: hz4_mid_trim(); break;
    case 4: hz4_tcache_set_budget(input->PickValueInArray({HZ4_TCACHE_BYTES_MIN, HZ4_TCACHE_BYTES_MAX})); break;
    case 5: Toggle(i); break;
    case 6: Free(objects, i, c, SIZE_MAX, input->ConsumeIntegralInRange<size_t>(0, 97)); break;
    case 7:
    case 8: Free(objects, i, c, input->ConsumeIntegralInRange<size_t>(1, 600), input->ConsumeIntegralInRange<size_t>(0, 97)); break;
    default: Burst(input, objects, i, c); break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  FuzzedDataProvider input(data, size);
  hz4_fuzz::Objects objects;
  hz4_options.inbox = input.ConsumeBool() || input.ConsumeBool();
  hz4_tcache_set_budget(HZ4_TCACHE_BYTES_MAX);
  for (size_t i = 0; i < kCaches; ++i) Toggle(i);
  for (int steps = 1; input.remaining_bytes() != 0 && steps < 400; ++steps) {
    const auto i = input.ConsumeIntegralInRange<size_t>(0, kCaches - 1);
    if (!is_open[i]) Toggle(i);
    Step(&input, &objects, i, input.PickValueInArray(hz4_fuzz::kClassesUsed));
    if (steps % 8 == 0) CheckAll();
  }
  if (!is_open[0]) Toggle(0);
  for (uint32_t c : hz4_fuzz::kClassesUsed) Free(&objects, 0, c, SIZE_MAX, 1);
  CheckAll();
  for (size_t i = 0; i < kCaches; ++i) {
    if (is_open[i]) Toggle(i);
  }
  hz4_sys_fake_reset();
  hz4_mid_trim();
  struct hz4_mid_stats stats;
  hz4_mid_stats(&stats);
  FUZZ_CHECK(stats.spans == 0 && "a cache that ended kept an object");
  hz4_segment_purge(0);
  CheckAll();
  return 0;
}
