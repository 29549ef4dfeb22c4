// A random workload on the whole hz4_ API that knows what each call owes its caller when the system has nothing left.
//
// It checks itself and ends the process at the first broken promise, so it can run in a child or in a thread.
#ifndef HZ4_TEST_HOSTILE_H_
#define HZ4_TEST_HOSTILE_H_

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utility>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/test/heap.h"
#include "hz4/test/sys_fake.h"

namespace hz4_test {

#define HZ4_DEMAND(condition)                                                     \
  do {                                                                            \
    if (!(condition)) {                                                           \
      fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                    \
    }                                                                             \
  } while (0)

constexpr int kErrno = 4321;  // no call sets it

// What holds for every result of an allocating call: success leaves errno alone, failure is ENOMEM.
inline void *Checked(void *ptr) {
  HZ4_DEMAND(errno == (ptr != nullptr ? kErrno : ENOMEM));
  return ptr;
}

// A block whose bytes are marked: all of a small block, and of a large one both ends and one word in 16 KiB. Marking
// every byte would make the time go into page faults.
struct MarkedBlock {
  unsigned char *ptr;
  size_t size, usable, alignment;
  uint64_t seed;

  // Calls visit(offset) for the offsets that are marked, below `end`.
  template <typename Visit>
  static void Each(size_t end, Visit visit) {
    const size_t edge = end < 4096 ? end : 512;
    for (size_t at = 0; at < edge; ++at) visit(at);
    for (size_t at = 16384; at < end; at += 16384) visit(at);
  }
  unsigned char ByteAt(size_t at) const { return static_cast<unsigned char>((seed ^ at * 0x9e3779b97f4a7c15u) >> 32 | 1); }
  void Mark() const {
    Each(usable, [this](size_t at) { ptr[at] = ByteAt(at); });
    if (usable != 0) ptr[usable - 1] = ByteAt(usable - 1);
  }
  // The first `bytes` bytes of the block, which now may lie elsewhere.
  void Check(const unsigned char *at, size_t bytes) const {
    const size_t edge = usable < 4096 ? usable : 512;
    Each(bytes, [&](size_t i) { HZ4_DEMAND((i >= edge && i % 16384 != 0) || at[i] == ByteAt(i)); });
    HZ4_DEMAND(bytes < usable || usable == 0 || at[usable - 1] == ByteAt(usable - 1));
  }
  void CheckHere() const {
    HZ4_DEMAND(hz4_malloc_usable_size(ptr) == usable);
    Check(ptr, usable);
  }
};

class HostileWork {
 public:
  HostileWork(uint64_t seed, size_t budget_bytes) : random_(seed), budget_(budget_bytes) {}
  HostileWork(const HostileWork &) = delete;
  HostileWork &operator=(const HostileWork &) = delete;
  ~HostileWork() { FreeAll(); }

  void Step() {
    const size_t draw = random_.Below(100);
    if (draw == 0) {
      errno = kErrno;
      hz4_malloc_trim(0);
    } else if (live_.empty() || (bytes_ < budget_ && draw < 60)) {
      Allocate();
    } else if (draw < 75) {
      Reallocate();
    } else {
      Free(Take());
    }
  }
  void FreeAll() {
    while (!live_.empty()) Free(Take());
  }
  size_t refused() const { return refused_; }
  size_t granted() const { return granted_; }

 private:
  size_t DrawSize() { return random_.OneIn(12) ? random_.PowerRange(17, 23) : random_.PowerRange(0, 17); }

  void Keep(void *ptr, size_t size, size_t alignment) {
    if (ptr == nullptr) {
      ++refused_;
      return;
    }
    ++granted_;
    const size_t least = alignment > 16 ? alignment : 16;
    HZ4_DEMAND(reinterpret_cast<uintptr_t>(ptr) % least == 0);
    const MarkedBlock block = {static_cast<unsigned char *>(ptr), size, hz4_malloc_usable_size(ptr), least,
                               random_.Next()};
    HZ4_DEMAND(block.usable >= size && (block.usable > 0 || size == 0));
    block.Mark();
    live_.push_back(block);
    bytes_ += block.usable;
  }
  MarkedBlock Take() {
    std::swap(live_[random_.Below(live_.size())], live_.back());
    const MarkedBlock block = live_.back();
    live_.pop_back();
    bytes_ -= block.usable;
    return block;
  }

  void Allocate() {
    const size_t size = DrawSize();
    errno = kErrno;
    switch (random_.Below(8)) {
      case 0: {
        const size_t count = 1 + random_.Below(7);
        auto *zeros = static_cast<unsigned char *>(Checked(hz4_calloc(count, size)));
        if (zeros != nullptr) MarkedBlock::Each(count * size, [zeros](size_t at) { HZ4_DEMAND(zeros[at] == 0); });
        return Keep(zeros, count * size, 0);
      }
      case 1: {
        const size_t alignment = size_t{1} << random_.Below(22);
        return Keep(Checked(hz4_aligned_alloc(alignment, size)), size, alignment);
      }
      case 2: {
        const size_t alignment = sizeof(void *) << random_.Below(18);
        void *out = this;
        const int result = hz4_posix_memalign(&out, alignment, size);
        HZ4_DEMAND(errno == kErrno && (result == 0 || (result == ENOMEM && out == this)));
        return Keep(result == 0 ? out : nullptr, size, alignment);
      }
      case 3:
        return Keep(Checked(hz4_realloc(nullptr, size)), size, 0);
      default:
        return Keep(Checked(hz4_malloc(size)), size, 0);
    }
  }

  void Reallocate() {
    const MarkedBlock old = Take();
    old.CheckHere();
    // Every other time a little more than twice the size, as growing arrays do.
    const size_t size = random_.OneIn(2) ? DrawSize() : old.size * 2 + 1;
    if (size > budget_) return Free(old);
    errno = kErrno;
    auto *ptr = static_cast<unsigned char *>(Checked(hz4_realloc(old.ptr, size)));
    if (ptr == nullptr) {
      ++refused_;
      old.CheckHere();
      return Free(old);
    }
    old.Check(ptr, old.usable < size ? old.usable : size);
    Keep(ptr, size, 0);
  }

  void Free(const MarkedBlock &block) {
    block.CheckHere();
    errno = kErrno;
    if (random_.OneIn(3) && block.alignment == 16) hz4_free_sized(block.ptr, block.size);
    else if (random_.OneIn(2)) hz4_free_aligned_sized(block.ptr, block.alignment, block.size);
    else hz4_free(block.ptr);
    HZ4_DEMAND(errno == kErrno);
  }

  Random random_;
  size_t budget_, bytes_ = 0, refused_ = 0, granted_ = 0;
  std::vector<MarkedBlock> live_;
};

// With an obliging system, all works, and the books are in order.
inline void DemandRecovery() {
  hz4_sys_fake_reset();
  hz4_check();
  {
    HostileWork work(7, 4u << 20);
    for (int i = 0; i < 300; ++i) work.Step();
    HZ4_DEMAND(work.refused() == 0 && work.granted() > 100);
    hz4_check();
  }
  hz4_malloc_trim(0);
  hz4_check();
}

}  // namespace hz4_test

#endif  // HZ4_TEST_HOSTILE_H_
