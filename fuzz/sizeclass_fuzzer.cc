// The theorems of sizeclass.h, for any size and any offset.
#include "hz4/sizeclass.h"

#include <fuzzer/FuzzedDataProvider.h>

#include "fuzz/check.h"

namespace {

void CheckSize(size_t size) {
  const uint32_t c = hz4_class_of_size(size);
  FUZZ_CHECK(c >= 1 && c <= HZ4_CLASS_COUNT);
  const size_t bytes = hz4_class_bytes(c);
  FUZZ_CHECK(bytes >= size && bytes % 16 == 0);
  FUZZ_CHECK(c == 1 || hz4_class_bytes(c - 1) < size);
  FUZZ_CHECK(bytes * 8 < size * 9 + 16 * 8);
  FUZZ_CHECK(hz4_class_by_size(hz4_class_of_malloc(size)) == c);
}

void CheckClass(uint32_t c, size_t offset) {
  const struct hz4_class_info &info = hz4_class_table[c];
  const size_t span_bytes = info.span_pages * HZ4_PAGE_BYTES;
  offset %= span_bytes;
  FUZZ_CHECK(hz4_class_object_index(c, offset) == offset / info.object_bytes);
  FUZZ_CHECK(info.span_pages <= HZ4_SPAN_PAGES_MAX && info.span_objects >= 1);
  FUZZ_CHECK(info.span_objects == span_bytes / info.object_bytes);
  FUZZ_CHECK(hz4_is_power_of_two(info.bin_slots_max) && info.bin_slots_max <= HZ4_BIN_SLOTS_MAX);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzedDataProvider input(data, size);
  while (input.remaining_bytes() != 0) {
    CheckSize(input.ConsumeIntegralInRange<size_t>(1, HZ4_CLASS_MAX_BYTES));
    CheckClass(input.ConsumeIntegralInRange<uint32_t>(1, HZ4_CLASS_SLOTS - 1), input.ConsumeIntegral<uint32_t>());
  }
  return 0;
}
