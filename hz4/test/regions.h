// The page map of all addresses that the system will give, so that no test is the first to use a region of it: that maps memory,
// and what was mapped when nothing was hardened has no room for states.
#ifndef HZ4_TEST_REGIONS_H_
#define HZ4_TEST_REGIONS_H_

#include <sys/mman.h>

#include "hz4/pagemap.h"

namespace hz4_test {

// pre: hz4_option says whether it is hardened.
inline bool ReserveRegions() {
  constexpr size_t kAround = size_t{8} << 30;
  // Where mappings come, and where those that wanted a place that is taken: qemu-user has another for these.
  void *first = mmap(nullptr, HZ4_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void *other = mmap(first, HZ4_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bool done = true;
  for (void *mapping : {first, other}) {
    const auto page = reinterpret_cast<uintptr_t>(mapping) & ~(uintptr_t{HZ4_PAGE_BYTES} - 1);
    done = done && hz4_pagemap_reserve(reinterpret_cast<void *>(page - kAround), 2 * kAround / HZ4_PAGE_BYTES);
    munmap(mapping, HZ4_PAGE_BYTES);
  }
  return done;
}

}  // namespace hz4_test

#endif  // HZ4_TEST_REGIONS_H_
