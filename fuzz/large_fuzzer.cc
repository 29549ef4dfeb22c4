// Large blocks over a kernel that refuses: allocated, grown, shrunk and moved, they keep every byte.
#include "hz4/large.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <vector>

#include "fuzz/hostile.h"
#include "fuzz/pattern.h"
#include "fuzz/shadow.h"
#include "hz4/meta.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/span.h"

namespace {

constexpr size_t kLiveBytesMax = size_t{32} << 20, kMiB = size_t{1} << 20;

struct Block {
  void *ptr;
  size_t bytes;  // usable
  uint64_t seed;
};

class Blocks {
 public:
  void Alloc(size_t bytes, size_t align) {
    if (live_bytes_ + bytes > kLiveBytesMax) return;
    bool zeroed = false;
    void *ptr = hz4_large_alloc(bytes, align, &zeroed);
    if (ptr == nullptr) return;
    const size_t usable = Span(ptr)->bytes;
    FUZZ_CHECK(usable >= bytes && hz4_is_aligned(ptr, std::max(align, HZ4_PAGE_BYTES)));
    FUZZ_CHECK(hz4_pagemap_class(ptr) == 0);
    FUZZ_CHECK(!zeroed || hz4_fuzz::IsZero(ptr, usable));
    Put({ptr, usable, ++serial_});
  }
  void Free(size_t index) {
    if (blocks_.empty()) return;
    void *ptr = Take(index).ptr;
    hz4_large_free(Span(ptr));
    FUZZ_CHECK(hz4_pagemap_span(ptr) == nullptr);
  }
  void Resize(size_t index, size_t bytes) {
    if (blocks_.empty() || live_bytes_ + bytes > kLiveBytesMax) return;
    Block block = Take(index);
    void *to = hz4_large_resize(Span(block.ptr), bytes);
    if (to != nullptr) {
      const size_t usable = Span(to)->bytes, kept = std::min(usable, block.bytes);
      FUZZ_CHECK(usable >= bytes);
      FUZZ_CHECK(to == block.ptr || hz4_pagemap_span(block.ptr) == nullptr);
      FUZZ_CHECK(hz4_fuzz::HasPattern(to, kept, block.seed) && "resize lost content");
      block = {to, usable, ++serial_};
    } else {
      FUZZ_CHECK(Span(block.ptr)->bytes == block.bytes && hz4_fuzz::HasPattern(block.ptr, block.bytes, block.seed));
    }
    Put(block);
  }
  void Check() const {
    hz4_large_check();
    hz4_segment_check();
    hz4_meta_check();
  }
  bool empty() const { return blocks_.empty(); }

 private:
  static hz4_span *Span(void *ptr) {
    hz4_span *span = hz4_pagemap_span(ptr);
    FUZZ_CHECK(span != nullptr && span->base == ptr);
    return span;
  }
  void Put(const Block &block) {
    shadow_.Add(block.ptr, block.bytes);
    hz4_fuzz::FillPattern(block.ptr, block.bytes, block.seed);
    blocks_.push_back(block);
    live_bytes_ += block.bytes;
  }
  Block Take(size_t index) {
    std::swap(blocks_[index % blocks_.size()], blocks_.back());
    const Block block = blocks_.back();
    blocks_.pop_back();
    FUZZ_CHECK(hz4_fuzz::HasPattern(block.ptr, block.bytes, block.seed) && "a live block has changed");
    shadow_.Remove(block.ptr);
    live_bytes_ -= block.bytes;
    return block;
  }

  hz4_fuzz::Shadow shadow_;
  std::vector<Block> blocks_;
  size_t live_bytes_ = 0;
  uint64_t serial_ = 0;
};

size_t ConsumeBytes(FuzzedDataProvider *input) {
  const size_t most = input->PickValueInArray({kMiB / 4, kMiB, kMiB + 1, 2 * kMiB, 5 * kMiB});
  return input->ConsumeBool() ? most : input->ConsumeIntegralInRange<size_t>(1, most);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  FuzzedDataProvider input(data, size);
  Blocks blocks;
  for (int steps = 1; input.remaining_bytes() != 0 && steps < 200; ++steps) {
    switch (input.ConsumeIntegralInRange(0, 9)) {
      case 0: hz4_fuzz::TurnKnobs(&input); break;
      case 1: hz4_large_trim(); break;
      case 2: blocks.Alloc(ConsumeBytes(&input), size_t{1} << input.ConsumeIntegralInRange(12, 24)); break;
      case 3:
      case 4: blocks.Free(input.ConsumeIntegral<uint8_t>()); break;
      case 5:
      case 6: blocks.Resize(input.ConsumeIntegral<uint8_t>(), ConsumeBytes(&input)); break;
      default: blocks.Alloc(ConsumeBytes(&input), HZ4_PAGE_BYTES); break;
    }
    blocks.Check();
  }
  while (!blocks.empty()) blocks.Free(0);
  hz4_sys_fake_reset();
  hz4_large_trim();
  hz4_segment_purge(0);
  blocks.Check();
  struct hz4_large_stats stats;
  hz4_large_stats(&stats);
  FUZZ_CHECK(stats.live_mapped_bytes == 0 && stats.cached_bytes == 0 && stats.retained_bytes == 0);
  return 0;
}
