// One stream of operations for a whole allocator, on a few threads that take turns, against a shadow heap and, where
// there is one, a second allocator that does the same (peer.h).
//
// Every usable byte of every block is written, and checked whenever the block is touched again. What is compared with
// the peer is what the contract says for both: NULL or not, errno of a failure, alignment, zeroing, content after realloc,
// usable size. Sizes that one may have and the other not (some GiB to PTRDIFF_MAX) are not asked for.
#ifndef HZ4_FUZZ_HEAP_DRIVER_H_
#define HZ4_FUZZ_HEAP_DRIVER_H_

#include <fuzzer/FuzzedDataProvider.h>
#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <vector>

#include "fuzz/peer.h"
#include "fuzz/shadow.h"
#include "fuzz/virtual_thread.h"

namespace hz4_fuzz {

class HeapDriver {
 public:
  // peer: NULL when hz4 may fail where another does not. extra: an operation of the caller's own.
  HeapDriver(const uint8_t *data, size_t size, const Peer *peer, std::function<void(FuzzedDataProvider *)> extra)
      : input_(data, size), peer_(peer), extra_(std::move(extra)) {}

  // All operations; then everything is freed and the threads end.
  void Run(const std::function<void()> &before_the_end);

  // By a destructor of a thread that ends: what it may still do.
  void LastDeeds();

 private:
  struct Block {
    unsigned char *ptr, *other;
    size_t size, usable, alignment;
    uint64_t seed;
  };
  struct Got {
    void *ptr = nullptr, *other = nullptr;
    int error = 0, other_error = 0;  // errno, or what posix_memalign returned
  };
  static constexpr size_t kThreads = 4;
  // What the scheduler does once a thread has stopped.
  enum class Next { kSwitch, kExit, kRemoteFree, kPurge };

  bool Step();
  void Exit(size_t thread);
  size_t ConsumeThread() { return input_.ConsumeIntegralInRange<size_t>(0, kThreads - 1); }
  void Schedule();
  void Purge();
  Got Call(int how, size_t count, size_t size, size_t alignment);
  void Alloc(int how, size_t size, size_t alignment);
  void AllocSome(int how);
  void Burst();
  void FreeSome();
  void Free(size_t index, int how);
  void Realloc(size_t index, size_t size);
  void Look(size_t index) const;
  void Misuse();
  size_t ConsumeSize();
  void Put(Block block);
  Block Take(size_t index);

  FuzzedDataProvider input_;
  const Peer *peer_;
  std::function<void(FuzzedDataProvider *)> extra_;
  Shadow shadow_;
  std::vector<Block> blocks_;
  uint64_t digest_ = 0;  // of all that was seen, addresses too: see fuzz/deterministic_test.sh
  size_t live_bytes_ = 0, written_bytes_ = 0, steps_ = 0, current_ = 0;
  uint64_t serial_ = 0;
  Next next_ = Next::kSwitch;
  VirtualThread threads_[kThreads];
};

}  // namespace hz4_fuzz

#endif  // HZ4_FUZZ_HEAP_DRIVER_H_
