// A shadow heap for the whole-allocator tests.
//
// Every usable byte of every live block holds a pattern that is drawn from the block's own seed. Blocks that overlap,
// move without their content, or are written by the allocator while they live, fail the next check of their pattern.
// A broken pattern ends the process: nothing that runs after it would mean anything. The shadow's own memory comes
// from the C library, so it does not disturb what it watches.
#ifndef HZ4_TEST_HEAP_H_
#define HZ4_TEST_HEAP_H_

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mutex>
#include <utility>
#include <vector>

#include "hz4/hz4.h"

namespace hz4_test {

// splitmix64: any seed is good, 0 included.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
  }
  size_t Below(size_t limit) { return static_cast<size_t>(Next() % limit); }
  bool OneIn(size_t n) { return Below(n) == 0; }

  // A size in [2^low_shift, 2^high_shift), each doubling equally likely.
  size_t PowerRange(unsigned low_shift, unsigned high_shift) {
    const size_t base = size_t{1} << (low_shift + Below(high_shift - low_shift));
    return base + Below(base);
  }

 private:
  uint64_t state_;
};

// The seed of a test: TEST_SEED, else a fixed one. Printed, so that a failure can be run again.
inline uint64_t TestSeed() {
  const char *text = getenv("TEST_SEED");
  const uint64_t seed = text != nullptr ? strtoull(text, nullptr, 0) : 20240229;
  printf("TEST_SEED=%" PRIu64 "\n", seed);
  fflush(stdout);
  return seed;
}

struct Block {
  unsigned char *ptr;
  size_t size;       // what was asked for
  size_t usable;     // what malloc_usable_size said at birth
  size_t alignment;  // 0: not from an aligned entry
  uint64_t seed;
};

[[noreturn]] inline void Broken(const Block &block, const char *what, size_t offset) {
  fprintf(stderr, "shadow heap: %s: block %p, size %zu, usable %zu, alignment %zu, seed %" PRIu64 ", offset %zu\n",
          what, static_cast<void *>(block.ptr), block.size, block.usable, block.alignment, block.seed, offset);
  abort();
}

inline uint64_t PatternWord(uint64_t seed, size_t index) { return seed ^ (index * UINT64_C(0x9e3779b97f4a7c15)); }

inline void FillPattern(const Block &block) {
  size_t offset = 0;
  for (; offset + 8 <= block.usable; offset += 8) {
    const uint64_t word = PatternWord(block.seed, offset / 8);
    memcpy(block.ptr + offset, &word, 8);
  }
  const uint64_t last = PatternWord(block.seed, offset / 8);
  memcpy(block.ptr + offset, &last, block.usable - offset);
}

// Checks the first `bytes` bytes of what FillPattern wrote for `block`; the bytes may have moved to `at`.
inline void CheckPattern(const Block &block, const unsigned char *at, size_t bytes) {
  size_t offset = 0;
  for (; offset + 8 <= bytes; offset += 8) {
    const uint64_t word = PatternWord(block.seed, offset / 8);
    if (memcmp(at + offset, &word, 8) != 0) Broken(block, "the content changed", offset);
  }
  const uint64_t last = PatternWord(block.seed, offset / 8);
  if (memcmp(at + offset, &last, bytes - offset) != 0) Broken(block, "the content changed", offset);
}

inline void CheckBlock(const Block &block) {
  if (hz4_malloc_usable_size(block.ptr) != block.usable) Broken(block, "the usable size changed", 0);
  CheckPattern(block, block.ptr, block.usable);
}

inline void CheckZero(const Block &block, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    if (block.ptr[i] != 0) Broken(block, "calloc gave a byte that is not zero", i);
  }
}

// Takes over a fresh pointer: checks what holds for every block, and fills it.
inline Block Adopt(void *ptr, size_t size, size_t alignment, uint64_t seed) {
  Block block = {static_cast<unsigned char *>(ptr), size, 0, alignment, seed};
  if (ptr == nullptr) Broken(block, "the allocation failed", 0);
  block.usable = hz4_malloc_usable_size(ptr);
  if (block.usable < size) Broken(block, "usable size below the size", 0);
  const size_t aligned = alignment > 16 ? alignment : 16;
  if (reinterpret_cast<uintptr_t>(ptr) % aligned != 0) Broken(block, "misaligned", 0);
  FillPattern(block);
  return block;
}

inline Block NewBlock(size_t size, uint64_t seed) { return Adopt(hz4_malloc(size), size, 0, seed); }

inline void CheckAndFree(const Block &block) {
  CheckBlock(block);
  hz4_free(block.ptr);
}

using SizeDraw = size_t (*)(Random &);

inline size_t SmallSizes(Random &random) { return random.Below(2049); }
inline size_t MixedSizes(Random &random) {
  const size_t percent = random.Below(1000);
  if (percent < 900) return random.PowerRange(0, 12);
  if (percent < 990) return random.PowerRange(12, 17);
  return random.PowerRange(17, 21);
}
inline size_t LargeSizes(Random &random) { return random.PowerRange(15, 22); }

// One thread's blocks. Swings between an eighth of its budget and the whole, so that memory is given back and taken
// again, and not only exchanged.
class ShadowHeap {
 public:
  ShadowHeap(uint64_t seed, SizeDraw draw, size_t budget_bytes) : random_(seed), draw_(draw), budget_(budget_bytes) {}
  ShadowHeap(const ShadowHeap &) = delete;
  ShadowHeap &operator=(const ShadowHeap &) = delete;
  ~ShadowHeap() { FreeAll(); }

  // One allocation, reallocation or free.
  void Step() {
    if (bytes_ > budget_) growing_ = false;
    if (bytes_ <= budget_ / 8) growing_ = true;
    const size_t percent = random_.Below(100);
    if (live_.empty() || percent < (growing_ ? 55u : 25u)) {
      Give(Allocate());
    } else if (percent < (growing_ ? 70u : 40u)) {
      Give(Reallocate(Take()));
    } else {
      Free(Take());
    }
  }

  // Removes a random block; the caller owns it then. Needs a block.
  Block Take() {
    std::swap(live_[random_.Below(live_.size())], live_.back());
    const Block block = live_.back();
    live_.pop_back();
    bytes_ -= block.usable;
    return block;
  }
  void Give(const Block &block) {
    live_.push_back(block);
    bytes_ += block.usable;
  }

  Block Allocate() {
    const size_t size = draw_(random_);
    const uint64_t seed = random_.Next();
    const size_t entry = random_.Below(16);
    if (entry < 10) return Adopt(hz4_malloc(size), size, 0, seed);
    if (entry < 13) {
      const size_t count = 1 + random_.Below(8);
      const size_t each = size / count;
      Block block = {static_cast<unsigned char *>(hz4_calloc(count, each)), count * each, 0, 0, seed};
      if (block.ptr != nullptr) CheckZero(block, block.size);
      return Adopt(block.ptr, block.size, 0, seed);
    }
    const size_t alignment = size_t{8} << random_.Below(10);
    if (entry < 14) return Adopt(hz4_aligned_alloc(alignment, size), size, alignment, seed);
    if (entry < 15) return Adopt(hz4_memalign(alignment, size), size, alignment, seed);
    void *ptr = nullptr;
    if (hz4_posix_memalign(&ptr, alignment, size) != 0) ptr = nullptr;
    return Adopt(ptr, size, alignment, seed);
  }

  Block Reallocate(const Block &old) {
    const size_t size = draw_(random_) + 1;  // realloc(p, 0) would free
    CheckBlock(old);
    auto *ptr = static_cast<unsigned char *>(hz4_realloc(old.ptr, size));
    if (ptr == nullptr) Broken(old, "realloc failed", size);
    CheckPattern(old, ptr, old.usable < size ? old.usable : size);
    return Adopt(ptr, size, 0, random_.Next());
  }

  void Free(const Block &block) {
    CheckBlock(block);
    if (random_.OneIn(4) && block.alignment == 0) {
      hz4_free_sized(block.ptr, block.size);
    } else if (random_.OneIn(2) && block.alignment != 0) {
      hz4_free_aligned_sized(block.ptr, block.alignment, block.size);
    } else {
      hz4_free(block.ptr);
    }
  }

  void FreeAll() {
    while (!live_.empty()) Free(Take());
  }

  bool Empty() const { return live_.empty(); }
  Random &random() { return random_; }

 private:
  Random random_;
  SizeDraw draw_;
  size_t budget_;
  size_t bytes_ = 0;
  bool growing_ = true;
  std::vector<Block> live_;
};

// Where threads leave blocks for each other.
class Mailbox {
 public:
  void Post(const Block &block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks_.push_back(block);
  }
  std::vector<Block> TakeAll() {
    std::vector<Block> taken;
    const std::lock_guard<std::mutex> lock(mutex_);
    taken.swap(blocks_);
    return taken;
  }

 private:
  std::mutex mutex_;
  std::vector<Block> blocks_;
};

}  // namespace hz4_test

#endif  // HZ4_TEST_HEAP_H_
