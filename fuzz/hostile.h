// A kernel that refuses, as the input wants it (hz4/test/sys_fake.h).
#ifndef HZ4_FUZZ_HOSTILE_H_
#define HZ4_FUZZ_HOSTILE_H_

#include <fuzzer/FuzzedDataProvider.h>

#include "hz4/test/sys_fake.h"

namespace hz4_fuzz {

// A munmap that fails may leave a range behind for good, and the kernel has room for some 65,000 in a process. Beyond
// this none fails.
constexpr uint64_t kRangesMax = 30000;

inline void TurnKnobs(FuzzedDataProvider *input) {
  struct hz4_sys_fake *fake = &hz4_sys_fake;
  const uint8_t bits = input->ConsumeIntegral<uint8_t>();
  fake->odd_places = (bits & 1) != 0;
  fake->purge_keeps = (bits & 2) != 0;
  fake->never_in_place = (bits & 4) != 0;
  fake->now_ns += (bits & 56) << 22;  // up to 235 ms: more than HZ4_REFAULT_MS, or less
  fake->failure_unmaps_to = true;  // else what a failed move leaves behind would fill the ledger in the end
  // The sizes of whole segments and of large blocks, which nobody touches before the page map has agreed.
  fake->high_bytes = input->PickValueInArray({size_t{0}, size_t{0}, size_t{2} << 20, size_t{4} << 20});
  for (auto &every : fake->fail_every) every = input->PickValueInArray({0, 0, 0, 1, 2, 3, 5, 17});
  if (fake->mapped_ranges > kRangesMax) fake->fail_every[HZ4_SYS_MUNMAP] = 0;
  const size_t room = input->PickValueInArray({0, 0, 0, 1, 4, 16, 256});
  fake->limit_bytes = room == 0 ? 0 : fake->mapped_bytes + (room << 16);
}

}  // namespace hz4_fuzz

#endif  // HZ4_FUZZ_HOSTILE_H_
