// Mappings over a kernel that refuses: aligned, zeroed, counted, kept whole by every failure; errno too.
#include "hz4/os.h"

#include <errno.h>
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <vector>

#include "fuzz/hostile.h"
#include "fuzz/pattern.h"
#include "fuzz/shadow.h"

namespace {

constexpr size_t kLiveBytesMax = size_t{32} << 20;
constexpr int kErrno = 4321;  // no call sets it

struct Mapping {
  void *base;
  size_t bytes;
  uint64_t seed;
};

class Mappings {
 public:
  void Map(size_t bytes, size_t align) {
    if (live_bytes_ + bytes > kLiveBytesMax) return;
    void *base = hz4_os_map(bytes, align);
    if (base == nullptr) return;
    FUZZ_CHECK(hz4_is_aligned(base, align));
    if (reinterpret_cast<uintptr_t>(base) >> HZ4_ADDRESS_BITS != 0) {  // not memory: see high_bytes
      hz4_os_unmap(base, bytes);
      return;
    }
    FUZZ_CHECK(hz4_fuzz::IsZero(base, bytes));
    Put({base, bytes, ++serial_});
  }
  void Unmap(size_t index) {
    if (live_.empty()) return;
    const Mapping mapping = Take(index);
    if (!hz4_os_unmap(mapping.base, mapping.bytes)) Put(mapping);  // it must be there still, unchanged
  }
  void Purge(size_t index, size_t first, size_t bytes) {
    if (live_.empty()) return;
    Mapping mapping = Take(index);
    first = first % mapping.bytes & ~(hz4_sys_page_bytes() - 1);
    hz4_os_purge(static_cast<char *>(mapping.base) + first, std::min(bytes, mapping.bytes - first));
    if (first != 0) FUZZ_CHECK(hz4_fuzz::HasPattern(mapping.base, first, mapping.seed));
    Put(mapping);
  }
  void Grow(size_t index, size_t more) {
    if (live_.empty() || live_bytes_ + more > kLiveBytesMax) return;
    Mapping mapping = Take(index);
    const size_t bytes = mapping.bytes + more;
    const hz4_os_resized resized = hz4_os_resize(mapping.base, mapping.bytes, bytes);
    if (resized == HZ4_OS_RESIZED) {
      FUZZ_CHECK(!hz4_sys_fake.several_mappings && !hz4_sys_fake.never_in_place);
      CheckGrown(&mapping, bytes);
    } else {  // must be there still, unchanged
      FUZZ_CHECK(hz4_fuzz::HasPattern(mapping.base, mapping.bytes, mapping.seed));
    }
    Put(mapping);
  }
  void Move(size_t index, size_t more) {
    if (live_.empty()) return;
    Mapping mapping = Take(index);
    const size_t bytes = mapping.bytes + more;
    void *to = live_bytes_ + 2 * bytes > kLiveBytesMax ? nullptr : hz4_os_map(bytes, HZ4_PAGE_BYTES);
    if (to != nullptr) {
      const bool high = reinterpret_cast<uintptr_t>(to) >> HZ4_ADDRESS_BITS != 0;
      if (high) {
        hz4_os_unmap(to, bytes);
      } else if (hz4_os_move(mapping.base, mapping.bytes, to, bytes)) {
        mapping.base = to;
        CheckGrown(&mapping, bytes);
      }
    }
    Put(mapping);
  }
  void Check() const {
    struct hz4_os_stats stats;
    hz4_os_stats(&stats);
    FUZZ_CHECK(stats.mapped_bytes == hz4_sys_fake.mapped_bytes);
    FUZZ_CHECK(stats.peak_bytes >= stats.mapped_bytes);
  }
  bool empty() const { return live_.empty(); }

 private:
  static void CheckGrown(Mapping *mapping, size_t bytes) {
    FUZZ_CHECK(hz4_fuzz::HasPattern(mapping->base, mapping->bytes, mapping->seed));
    FUZZ_CHECK(hz4_fuzz::IsZero(static_cast<char *>(mapping->base) + mapping->bytes, bytes - mapping->bytes));
    mapping->bytes = bytes;
  }
  void Put(const Mapping &mapping) {
    shadow_.Add(mapping.base, mapping.bytes);
    hz4_fuzz::FillPattern(mapping.base, mapping.bytes, mapping.seed);
    live_.push_back(mapping);
    live_bytes_ += mapping.bytes;
  }
  Mapping Take(size_t index) {
    std::swap(live_[index % live_.size()], live_.back());
    const Mapping mapping = live_.back();
    live_.pop_back();
    FUZZ_CHECK(hz4_fuzz::HasPattern(mapping.base, mapping.bytes, mapping.seed) && "a mapping has changed");
    shadow_.Remove(mapping.base);
    live_bytes_ -= mapping.bytes;
    return mapping;
  }

  hz4_fuzz::Shadow shadow_;
  std::vector<Mapping> live_;
  size_t live_bytes_ = 0;
  uint64_t serial_ = 0;
};

size_t ConsumeBytes(FuzzedDataProvider *input) {
  const size_t pages = input->ConsumeIntegralInRange<size_t>(1, input->PickValueInArray({4, 64, 1024}));
  return pages * hz4_sys_page_bytes();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  FuzzedDataProvider input(data, size);
  Mappings mappings;
  errno = kErrno;
  for (int steps = 1; input.remaining_bytes() != 0 && steps < 200; ++steps) {
    const auto index = input.ConsumeIntegral<uint8_t>();
    switch (input.ConsumeIntegralInRange(0, 6)) {
      case 0:
        hz4_fuzz::TurnKnobs(&input);
        hz4_sys_fake.several_mappings = index % 8 == 0;
        break;
      case 1: mappings.Unmap(index); break;
      case 2: mappings.Purge(index, input.ConsumeIntegral<uint32_t>(), ConsumeBytes(&input)); break;
      case 3: mappings.Grow(index, ConsumeBytes(&input)); break;
      case 4: mappings.Move(index, ConsumeBytes(&input)); break;
      default:
        mappings.Map(ConsumeBytes(&input),
                     std::max(hz4_sys_page_bytes(), size_t{1} << input.ConsumeIntegralInRange(12, 23)));
        break;
    }
    FUZZ_CHECK(errno == kErrno);
    mappings.Check();
  }
  hz4_sys_fake_reset();
  while (!mappings.empty()) mappings.Unmap(0);
  mappings.Check();
  return 0;
}
