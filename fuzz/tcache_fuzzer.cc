// Three caches in the hands of one thread, as its own in turn or as those of CPUs that it runs on, over a kernel that
// refuses: whichever allocates, frees, steals, is emptied, here or remotely, ends or begins again, every object is in one
// place. Fork may be on for a while.
#include "hz4/tcache.h"

#include <fuzzer/FuzzedDataProvider.h>
#include <string.h>

#include <algorithm>
#include <iterator>

#include "fuzz/hostile.h"
#include "fuzz/objects.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/transfer.h"

namespace {

constexpr size_t kCaches = 3, kLiveBytesMax = size_t{24} << 20, kBurstBytesMax = size_t{4} << 20;

// Side by side; before the first, that of no id.
alignas(HZ4_CACHE_BYTES) char memory[(kCaches + 1) * HZ4_CACHE_BYTES];
hz4_area area;
bool are_own, is_open[kCaches], fork_is_on;

hz4_tcache *CacheOf(size_t i) { return reinterpret_cast<hz4_tcache *>(memory + (i + 1) * HZ4_CACHE_BYTES); }

void Attach(size_t i) {
  if (are_own) {
    hz4_cache_attach_own(CacheOf(i));
    return;
  }
  area.id = static_cast<int32_t>(i);
  hz4_front.caches = memory + HZ4_CACHE_BYTES;
  hz4_front.area = &area;
}

// Zero, but for what the list of caches knows of it.
void Renew(size_t i) {
  hz4_tcache *cache = CacheOf(i), *next_listed = cache->next_listed;
  const uint32_t number = cache->number;
  const bool listed = cache->listed;
  memset(static_cast<void *>(cache), 0, sizeof(*cache));
  cache->next_listed = next_listed;
  cache->number = number;
  cache->listed = listed;
  if (are_own) cache->area.id = HZ4_AREA_NO_ID;
  is_open[i] = true;
}

void Fork(bool on) {
  if (on == fork_is_on) return;
  fork_is_on = on;
  if (on) {
    hz4_bin_fork_begin();
    hz4_mid_fork(hz4_lock_fork_acquire);
  } else {
    hz4_mid_fork(hz4_lock_fork_release);
    hz4_bin_fork_parent();
    hz4_transfer_settle();
  }
}

// A thread's cache ends, or begins again. A CPU's stays.
void Toggle(size_t i) {
  if (!are_own || fork_is_on) return;
  if (is_open[i]) hz4_tcache_close(CacheOf(i));
  else hz4_transfer_open(CacheOf(i));
  is_open[i] = !is_open[i];
}

// And tiny bins, whose objects are of the homes' classes.
bool IsTiny(uint32_t c) { return hz4_class_is_tiny_bin(c); }

uint32_t PickClass(FuzzedDataProvider *input) {
  const auto i = input->ConsumeIntegralInRange<size_t>(0, std::size(hz4_fuzz::kClassesUsed) + HZ4_TINY_CLASSES - 1);
  return i < HZ4_TINY_CLASSES ? static_cast<uint32_t>(HZ4_TINY_BIN + i) : hz4_fuzz::kClassesUsed[i - HZ4_TINY_CLASSES];
}

// As alloc.c does it.
void *Malloc(uint32_t c) {
  void *object = hz4_sequence_pop(c);
  return object != nullptr ? object : hz4_tcache_refill(c, nullptr);
}

void Burst(FuzzedDataProvider *input, hz4_fuzz::Objects *objects, uint32_t c) {
  const size_t most = std::min(objects->bytes() + kBurstBytesMax, kLiveBytesMax);
  for (auto n = input->ConsumeIntegralInRange<size_t>(1, 600); n != 0 && objects->bytes() < most; --n) {
    void *object = Malloc(c);
    if (object == nullptr) return;
    const auto of = static_cast<uint32_t>(hz4_pagemap_class(object));
    FUZZ_CHECK(IsTiny(c) ? of >= HZ4_TINY_HOME && hz4_class_by_size(of) == hz4_class_by_size(c) : of == c);
    objects->Add(of, object);
  }
}

void Free(hz4_fuzz::Objects *objects, uint32_t c, size_t most, size_t stride) {
  for (uint32_t home = 0; IsTiny(c) && home < HZ4_HOMES; ++home) Free(objects, hz4_class_at_home(c, home), most, stride);
  for (size_t at = 0; objects->Count(c) != 0 && most != 0; --most, at += stride) {
    void *object = objects->Remove(c, at % objects->Count(c));
    if (!hz4_sequence_push(c, object)) hz4_tcache_overflow(c, object);
  }
}

void CheckAll() {
  for (size_t i = 0; i < kCaches; ++i) {
    Attach(i);
    hz4_tcache_check();
    size_t bytes = 0;
    for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) bytes += CacheOf(i)->bins[c].capacity * hz4_class_bytes(c);
    FUZZ_CHECK(bytes == CacheOf(i)->capacity_bytes);
    FUZZ_CHECK(hz4_front.claims == 0);
  }
  hz4_mid_check();
  hz4_segment_check();
  hz4_meta_check();
}

void EmptyAnother(FuzzedDataProvider *input) {
  hz4_tcache *other = CacheOf(input->ConsumeIntegralInRange<size_t>(0, kCaches - 1));
  if (!are_own) hz4_tcache_empty_remote(other);
  if (input->ConsumeBool()) hz4_transfer_empty(other, false);
}

void Step(FuzzedDataProvider *input, hz4_fuzz::Objects *objects, size_t i, uint32_t c) {
  switch (input->ConsumeIntegralInRange(0, 12)) {
    case 0: hz4_fuzz::TurnKnobs(input); break;
    case 1: hz4_tcache_empty_here(); break;
    case 2: EmptyAnother(input); break;
    case 3: hz4_mid_trim(); break;
    case 4: hz4_tcache_set_budget(input->PickValueInArray({HZ4_TCACHE_BYTES_MIN, HZ4_TCACHE_BYTES_MAX})); break;
    case 5: Toggle(i); break;
    case 6: Free(objects, c, SIZE_MAX, input->ConsumeIntegralInRange<size_t>(0, 97)); break;
    case 7:
    case 8: Free(objects, c, input->ConsumeIntegralInRange<size_t>(1, 600), input->ConsumeIntegralInRange<size_t>(0, 97)); break;
    case 12: Fork(input->ConsumeBool()); break;
    default: Burst(input, objects, c); break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  FuzzedDataProvider input(data, size);
  hz4_fuzz::Objects objects;
  hz4_option.inbox = input.ConsumeBool() || input.ConsumeBool();
  are_own = input.ConsumeBool();
  hz4_tcache_set_budget(HZ4_TCACHE_BYTES_MAX);
  for (size_t i = 0; i < kCaches; ++i) Renew(i);
  for (int steps = 1; input.remaining_bytes() != 0 && steps < 400; ++steps) {
    const auto i = input.ConsumeIntegralInRange<size_t>(0, kCaches - 1);
    if (!is_open[i]) Toggle(i);
    Attach(i);
    Step(&input, &objects, i, PickClass(&input));
    if (steps % 8 == 0 && !fork_is_on) CheckAll();
  }
  Fork(false);
  if (!is_open[0]) Toggle(0);
  Attach(0);
  for (uint32_t c : hz4_fuzz::kClassesUsed) Free(&objects, c, SIZE_MAX, 1);
  for (uint32_t c = HZ4_TINY_BIN; IsTiny(c); ++c) Free(&objects, c, SIZE_MAX, 1);
  FUZZ_CHECK(objects.Count() == 0);
  CheckAll();
  for (size_t i = 0; i < kCaches; ++i) {
    if (is_open[i]) hz4_tcache_close(CacheOf(i));
    FUZZ_CHECK(CacheOf(i)->capacity_bytes == 0);
  }
  hz4_cache_attach_own(nullptr);
  hz4_sys_fake_reset();
  hz4_mid_trim();
  struct hz4_mid_stats stats;
  hz4_mid_stats(&stats);
  FUZZ_CHECK(stats.spans == 0 && "a cache that ended kept an object");
  hz4_segment_purge(0);
  hz4_mid_check();
  hz4_segment_check();
  hz4_meta_check();
  return 0;
}
