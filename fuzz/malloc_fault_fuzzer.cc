// The whole allocator over a kernel that refuses, and under limits of its own: what fails, fails with ENOMEM and changes
// nothing, and what is counted against the limit is what the layers have.
#include "fuzz/check.h"
#include "fuzz/heap_driver.h"
#include "fuzz/hostile.h"
#include "hz4/hz4.h"

namespace {

uint64_t Sum() {
  return hz4_stats_get("segment_used_bytes") + hz4_stats_get("segment_dirty_bytes") -
         hz4_stats_get("segment_purged_inside_bytes") + hz4_stats_get("large_live_mapped_bytes") +
         hz4_stats_get("large_cached_bytes") + hz4_stats_get("meta_mapped_bytes");
}

void TurnAll(FuzzedDataProvider *input) {
  hz4_fuzz::TurnKnobs(input);
  const uint64_t used = hz4_stats_get("limit_used_bytes");
  FUZZ_CHECK(used == Sum());
  const size_t room = input->PickValueInArray({0, 0, 0, 1, 4, 16, 256}) << 16;
  const size_t hard = room == 0 ? 0 : used + room;
  FUZZ_CHECK(hz4_limit_set(input->ConsumeBool() ? hard / 2 : 0, hard) == 0);
}

void BeforeTheEnd() {
  hz4_sys_fake_reset();
  FUZZ_CHECK(hz4_limit_set(0, 0) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  BeforeTheEnd();
  hz4_fuzz::HeapDriver driver(data, size, nullptr, TurnAll);
  driver.Run(BeforeTheEnd);
  FUZZ_CHECK(hz4_stats_get("limit_used_bytes") == Sum());
  return 0;
}
