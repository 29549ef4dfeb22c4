// Address ranges that are in use, by their start. A range that overlaps another is a block handed out twice.
#ifndef HZ4_FUZZ_SHADOW_H_
#define HZ4_FUZZ_SHADOW_H_

#include <stddef.h>
#include <stdint.h>

#include <iterator>
#include <map>

#include "fuzz/check.h"

namespace hz4_fuzz {

class Shadow {
 public:
  void Add(const void *base, size_t bytes) {
    const auto start = reinterpret_cast<uintptr_t>(base);
    FUZZ_CHECK(start + bytes >= start && "a block wraps around");
    const auto next = ends_.lower_bound(start);
    FUZZ_CHECK((next == ends_.end() || next->first >= start + bytes) && "a block reaches into the next one");
    FUZZ_CHECK((next == ends_.begin() || std::prev(next)->second <= start) && "a block lies in another one");
    ends_.emplace_hint(next, start, start + bytes);
  }
  void Remove(const void *base) { FUZZ_CHECK(ends_.erase(reinterpret_cast<uintptr_t>(base)) == 1); }
  size_t size() const { return ends_.size(); }

 private:
  std::map<uintptr_t, uintptr_t> ends_;
};

}  // namespace hz4_fuzz

#endif  // HZ4_FUZZ_SHADOW_H_
