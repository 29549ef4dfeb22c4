// The page map against a map of the standard library. It never looks at the memory it maps, so addresses are made up:
// near the borders of regions and chunks, and at the very end.
#include "hz4/pagemap.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <map>
#include <utility>

#include "fuzz/check.h"
#include "fuzz/hostile.h"

namespace {

constexpr uintptr_t kPage = HZ4_PAGE_BYTES;
constexpr uintptr_t kRegion = HZ4_PAGEMAP_REGION_PAGES * kPage;
constexpr uintptr_t kEnd = uintptr_t{1} << HZ4_ADDRESS_BITS;

using Entry = std::pair<hz4_span *, uint32_t>;

std::map<uintptr_t, Entry> shadow;  // by page number

const void *At(uintptr_t address) { return reinterpret_cast<const void *>(address); }

// A page at or near a border. Few regions, for their leaves stay for ever.
uintptr_t ConsumePage(FuzzedDataProvider *input) {
  const uintptr_t region = input->PickValueInArray({uintptr_t{0}, kRegion, 2 * kRegion, 1365 * kRegion, kEnd - kRegion, kEnd});
  const uintptr_t address = region + static_cast<uintptr_t>(input->ConsumeIntegralInRange(-16, 16)) * kPage;
  return address & ~(kPage - 1);
}

void CheckAddress(uintptr_t address) {
  const auto found = shadow.find(address / kPage);
  const Entry expected = found == shadow.end() ? Entry{nullptr, 0} : found->second;
  FUZZ_CHECK(hz4_pagemap_span(At(address)) == expected.first);
  const auto same = shadow.find(address % kEnd / kPage);  // the class does not know the difference
  FUZZ_CHECK(hz4_pagemap_class(At(address)) == (same == shadow.end() ? 0 : same->second.second));
}

void Set(uintptr_t base, size_t pages, hz4_span *span, uint32_t size_class) {
  hz4_pagemap_set(At(base), pages, span, size_class);
  for (size_t i = 0; i < pages; ++i) {
    if (span != nullptr) shadow[base / kPage + i] = {span, size_class};
    else shadow.erase(base / kPage + i);
  }
}

void ReserveAndSet(FuzzedDataProvider *input) {
  const uintptr_t base = ConsumePage(input);
  const size_t pages = input->ConsumeIntegralInRange<size_t>(1, input->ConsumeBool() ? 8 : 8200);
  const uint64_t failures = hz4_sys_fake.failures[HZ4_SYS_MMAP];
  const bool limited = hz4_sys_fake.limit_bytes != 0 || hz4_sys_fake.high_bytes != 0;
  const bool beyond = base >= kEnd || pages > (kEnd - base) / kPage;
  if (!hz4_pagemap_reserve(At(base), pages)) {
    FUZZ_CHECK(beyond || limited || hz4_sys_fake.failures[HZ4_SYS_MMAP] != failures);
    CheckAddress(base);
    return;
  }
  FUZZ_CHECK(!beyond);
  const auto number = input->ConsumeIntegralInRange<uintptr_t>(1, 255);
  const uint64_t calls = hz4_sys_fake.calls[HZ4_SYS_MMAP];
  Set(base, pages, reinterpret_cast<hz4_span *>(number * 64), input->ConsumeIntegralInRange<uint32_t>(0, HZ4_CLASS_COUNT));
  FUZZ_CHECK(hz4_sys_fake.calls[HZ4_SYS_MMAP] == calls);
}

// Part of what is set, from some page on.
void Clear(FuzzedDataProvider *input) {
  auto entry = shadow.lower_bound(ConsumePage(input) / kPage);
  if (entry == shadow.end()) return;
  const uintptr_t first = entry->first;
  size_t pages = 0;
  for (auto most = input->ConsumeIntegralInRange<size_t>(1, 64); pages < most && shadow.count(first + pages) != 0;) ++pages;
  Set(first * kPage, pages, nullptr, 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  FuzzedDataProvider input(data, size);
  for (int steps = 0; input.remaining_bytes() != 0 && steps < 200; ++steps) {
    switch (input.ConsumeIntegralInRange(0, 5)) {
      case 0: hz4_fuzz::TurnKnobs(&input); hz4_sys_fake.high_bytes = 0; break;
      case 1: Clear(&input); break;
      case 2: CheckAddress(input.ConsumeIntegral<uintptr_t>()); break;
      case 3: CheckAddress(ConsumePage(&input) + input.ConsumeIntegralInRange<uintptr_t>(0, kPage - 1)); break;
      default: ReserveAndSet(&input); break;
    }
  }
  for (const auto &entry : shadow) CheckAddress(entry.first * kPage + 1);
  while (!shadow.empty()) {
    const uintptr_t page = shadow.begin()->first;
    Set(page * kPage, 1, nullptr, 0);
    CheckAddress(page * kPage);
  }
  return 0;
}
