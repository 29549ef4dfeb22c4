// Page runs over a kernel that refuses: they overlap no other, keep their content, and are zero where they say so.
#include "hz4/segment.h"

#include <fuzzer/FuzzedDataProvider.h>
#include <string.h>

#include <vector>

#include "fuzz/hostile.h"
#include "fuzz/pattern.h"
#include "fuzz/shadow.h"
#include "hz4/meta.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"

namespace {

constexpr size_t kLivePagesMax = 384;

struct Taken {
  hz4_run run;
  size_t pages, seed;
};

class Runs {
 public:
  void Take(size_t pages, bool grow) {
    if (live_pages_ + pages > kLivePagesMax) return;
    const hz4_run run = hz4_segment_alloc(pages, grow);
    if (run.base == nullptr) return;
    const size_t bytes = pages << HZ4_PAGE_SHIFT;
    hz4_unpoison(run.base, bytes);
    FUZZ_CHECK(hz4_is_aligned(run.base, HZ4_PAGE_BYTES));
    FUZZ_CHECK(!run.zeroed || EachPage(run.base, bytes, 0, false));
    shadow_.Add(run.base, bytes);
    EachPage(run.base, bytes, ++serial_, true);
    hz4_pagemap_set(run.base, pages, reinterpret_cast<struct hz4_span *>(run.base), 0);
    live_.push_back({run, pages, serial_});
    live_pages_ += pages;
  }
  void Free(size_t index) {
    if (live_.empty()) return;
    std::swap(live_[index % live_.size()], live_.back());
    const Taken taken = live_.back();
    live_.pop_back();
    live_pages_ -= taken.pages;
    const size_t bytes = taken.pages << HZ4_PAGE_SHIFT;
    FUZZ_CHECK(EachPage(taken.run.base, bytes, taken.seed, false) && "a live run has changed");
    shadow_.Remove(taken.run.base);
    hz4_poison(taken.run.base, bytes);
    hz4_pagemap_set(taken.run.base, taken.pages, nullptr, 0);
    FUZZ_CHECK(hz4_segment_free(taken.run.segment, taken.run.base, taken.pages, false));
  }
  void Check() const {
    hz4_segment_check();
    hz4_meta_check();
    struct hz4_segment_stats now;
    hz4_segment_stats(&now);
    FUZZ_CHECK(now.used_bytes == live_pages_ << HZ4_PAGE_SHIFT);
    FUZZ_CHECK(now.acquired - now.released == now.segments);
  }
  bool empty() const { return live_.empty(); }

 private:
  // Writes or checks a word in each 4 KiB.
  static bool EachPage(char *base, size_t bytes, uint64_t value, bool write) {
    bool same = true;
    for (size_t i = 0; i < bytes; i += 4096) {
      uint64_t word = value;
      if (write) memcpy(base + i, &word, sizeof(word));
      else same &= memcmp(base + i, &word, sizeof(word)) == 0;
    }
    return same;
  }

  hz4_fuzz::Shadow shadow_;
  std::vector<Taken> live_;
  size_t live_pages_ = 0, serial_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  FuzzedDataProvider input(data, size);
  Runs runs;
  hz4_option.dirty_kib = input.PickValueInArray({0u, 1024u, 4096u});
  hz4_option.dirty_shift = input.PickValueInArray({0u, 1u, 4u, 63u});
  for (int steps = 1; input.remaining_bytes() != 0 && steps < 600; ++steps) {
    switch (input.ConsumeIntegralInRange(0, 9)) {
      case 0: hz4_fuzz::TurnKnobs(&input); break;
      case 1: hz4_segment_purge(0); break;
      case 2: hz4_segment_purge(input.ConsumeIntegral<uint32_t>()); break;
      case 3: hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT); break;
      case 4:
      case 5:
      case 6: runs.Free(input.ConsumeIntegral<uint8_t>()); break;
      case 7: runs.Take(input.ConsumeIntegralInRange<size_t>(1, 64), false); break;
      default: runs.Take(input.ConsumeIntegralInRange<size_t>(1, 64), true); break;
    }
    runs.Check();
  }
  while (!runs.empty()) runs.Free(0);
  hz4_sys_fake_reset();
  hz4_segment_purge(0);
  runs.Check();
  return 0;
}
