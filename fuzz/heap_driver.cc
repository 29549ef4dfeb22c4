#include "fuzz/heap_driver.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>

#include "fuzz/check.h"
#include "fuzz/pattern.h"
#include "hz4/hz4.h"

namespace hz4_fuzz {
namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr size_t kLiveBytesMax = 64 * kMiB, kLiveBlocksMax = 20000, kWrittenBytesMax = 64 * kMiB, kBurstBytesMax = 4 * kMiB;
constexpr size_t kStepsMax = 1000, kCheckEvery = 16;
constexpr int kErrno = 4321;  // no call sets it

enum { kMalloc, kCalloc, kReallocOfNull, kAligned, kMemalign, kPosix };

size_t PowerAtLeast(size_t n) {
  size_t power = 1;
  while (power < n) power *= 2;
  return power;
}

// What the alignment asked for promises.
size_t Promised(int how, size_t alignment) {
  return how < kAligned ? 16 : std::max<size_t>(16, PowerAtLeast(alignment));
}

// Runs when a thread ends, after hz4's own destructor: its key is younger.
pthread_key_t late_key;

void Late(void *driver) { static_cast<HeapDriver *>(driver)->LastDeeds(); }

bool MakeLateKey() {
  hz4_free(hz4_malloc(1));  // hz4 makes its key
  return pthread_key_create(&late_key, Late) == 0;
}

}  // namespace

// ---- blocks ----

void HeapDriver::Put(Block block) {
  block.seed = ++serial_;
  FillPattern(block.ptr, block.usable, block.seed);
  shadow_.Add(block.ptr, block.usable);
  if (block.other != nullptr) FillPattern(block.other, block.size, block.seed);
  blocks_.push_back(block);
  live_bytes_ += block.usable;
  written_bytes_ += block.usable;
  digest_ = Mix(digest_ ^ reinterpret_cast<uintptr_t>(block.ptr)) + block.usable;
}

HeapDriver::Block HeapDriver::Take(size_t index) {
  Look(index);
  std::swap(blocks_[index], blocks_.back());
  const Block block = blocks_.back();
  blocks_.pop_back();
  shadow_.Remove(block.ptr);
  live_bytes_ -= block.usable;
  return block;
}

// The block is what it was when it was given.
void HeapDriver::Look(size_t index) const {
  const Block &block = blocks_[index];
  FUZZ_CHECK(HasPattern(block.ptr, block.usable, block.seed) && "a live block has changed");
  FUZZ_CHECK(hz4_malloc_usable_size(block.ptr) == block.usable);
  if (block.other != nullptr) FUZZ_CHECK(HasPattern(block.other, block.size, block.seed));
}

size_t HeapDriver::ConsumeSize() {
  size_t most = input_.PickValueInArray({64 * size_t{1}, kKiB, kKiB, 8 * kKiB, 64 * kKiB, 300 * kKiB, 2 * kMiB, 6 * kMiB});
  if (live_bytes_ + most > kLiveBytesMax || written_bytes_ > kWrittenBytesMax) most = 64;
  return input_.ConsumeIntegralInRange<size_t>(0, most);
}

// ---- allocation ----

HeapDriver::Got HeapDriver::Call(int how, size_t count, size_t size, size_t alignment) {
  Got got;
  static char untouched;  // posix_memalign writes its result on success only
  if (how == kPosix) got.ptr = &untouched;
  errno = kErrno;
  switch (how) {
    case kMalloc: got.ptr = hz4_malloc(size); break;
    case kCalloc: got.ptr = hz4_calloc(count, size); break;
    case kReallocOfNull: got.ptr = hz4_realloc(nullptr, size); break;
    case kAligned: got.ptr = hz4_aligned_alloc(alignment, size); break;
    case kMemalign: got.ptr = hz4_memalign(alignment, size); break;
    default: got.error = hz4_posix_memalign(&got.ptr, alignment, size); break;
  }
  if (got.ptr == &untouched) got.ptr = nullptr;
  FUZZ_CHECK((errno == kErrno || (got.ptr == nullptr && how != kPosix)) && "success, and posix_memalign, keep errno");
  if (how != kPosix && got.ptr == nullptr) got.error = errno;
  FUZZ_CHECK((got.ptr == nullptr) == (got.error != 0));
  if (peer_ == nullptr) return got;
  if (how == kPosix) got.other = &untouched;
  switch (how) {
    case kMalloc: got.other = peer_->malloc(size); break;
    case kCalloc: got.other = peer_->calloc(count, size); break;
    case kReallocOfNull: got.other = peer_->realloc(nullptr, size); break;
    case kAligned: got.other = peer_->aligned_alloc(alignment, size); break;
    case kMemalign: got.other = peer_->memalign(alignment, size); break;
    default: got.other_error = peer_->posix_memalign(&got.other, alignment, size); break;
  }
  if (got.other == &untouched) got.other = nullptr;
  if (how != kPosix && got.other == nullptr) got.other_error = errno;
  FUZZ_CHECK((got.ptr == nullptr) == (got.other == nullptr) && "one has a block, the other has none");
  FUZZ_CHECK(got.error == got.other_error);
  return got;
}

void HeapDriver::Alloc(int how, size_t size, size_t alignment) {
  const size_t count = how == kCalloc ? size % 7 + 1 : 1;
  const Got got = Call(how, count, size / count, alignment);
  size = size / count * count;
  if (got.ptr == nullptr) {
    FUZZ_CHECK(peer_ == nullptr && got.error == ENOMEM);
    return;
  }
  const size_t usable = hz4_malloc_usable_size(got.ptr), promised = Promised(how, alignment);
  FUZZ_CHECK(usable >= size);
  FUZZ_CHECK(reinterpret_cast<uintptr_t>(got.ptr) % promised == 0);
  if (how == kCalloc) FUZZ_CHECK(IsZero(got.ptr, size));
  if (got.other != nullptr) {
    FUZZ_CHECK(peer_->malloc_usable_size(got.other) >= size);
    FUZZ_CHECK(reinterpret_cast<uintptr_t>(got.other) % promised == 0);
    if (how == kCalloc) FUZZ_CHECK(IsZero(got.other, size));
  }
  Put({static_cast<unsigned char *>(got.ptr), static_cast<unsigned char *>(got.other), size, usable,
       how == kMalloc || how == kCalloc ? 0 : promised, 0});
}

void HeapDriver::AllocSome(int how) {
  const size_t size = ConsumeSize();
  size_t alignment = size_t{1} << input_.ConsumeIntegralInRange(0, 21);
  if (how == kPosix) alignment = std::max(alignment, sizeof(void *));
  if (how == kMemalign) alignment += input_.ConsumeIntegralInRange<size_t>(0, 3);  // it rounds up
  if (live_bytes_ + alignment > kLiveBytesMax) alignment = 4096;
  Alloc(how, size, alignment);
}

// Many of a size: what fills bins, depots and inboxes.
void HeapDriver::Burst() {
  const size_t size = ConsumeSize();
  const size_t most = std::min(live_bytes_ + kBurstBytesMax, kLiveBytesMax);
  for (auto n = input_.ConsumeIntegralInRange<size_t>(1, 400); n != 0; --n) {
    if (live_bytes_ + size > most || written_bytes_ > kWrittenBytesMax || blocks_.size() >= kLiveBlocksMax) return;
    Alloc(kMalloc, size, 0);
  }
}

// Sizes and alignments that nobody has.
void HeapDriver::Misuse() {
  const size_t huge = static_cast<size_t>(PTRDIFF_MAX) + 1 + input_.ConsumeIntegral<uint32_t>();
  const size_t odd = input_.PickValueInArray<size_t>({0, 3, 4, 12, 24, SIZE_MAX});
  switch (input_.ConsumeIntegralInRange(0, 10)) {
    case 0: FUZZ_CHECK(Call(kMalloc, 1, huge, 0).error == ENOMEM); break;
    case 1: FUZZ_CHECK(Call(kCalloc, huge / 3 + 1, 3, 0).error == ENOMEM); break;
    case 2: FUZZ_CHECK(Call(kCalloc, huge, huge, 0).error == ENOMEM); break;
    case 3: FUZZ_CHECK(Call(kPosix, 1, 100, odd).error == EINVAL); break;
    case 4: FUZZ_CHECK(Call(kPosix, 1, huge, 64).error == ENOMEM); break;
    case 5: FUZZ_CHECK(Call(kMemalign, 1, huge, 4096).error == ENOMEM); break;
    case 6: FUZZ_CHECK(Call(kAligned, 1, huge, 4096).error == ENOMEM); break;
    case 7: FUZZ_CHECK(Call(kReallocOfNull, 1, huge, 0).error == ENOMEM); break;
    case 8: FUZZ_CHECK(hz4_malloc_usable_size(nullptr) == 0); break;
    case 9: hz4_free(nullptr); break;
    default:
      // Older C libraries round the alignment up: nothing to compare.
      errno = kErrno;
      if (odd == 4) break;
      FUZZ_CHECK(hz4_aligned_alloc(odd, 100) == nullptr && errno == EINVAL);
      break;
  }
}

// ---- freeing and resizing ----

void HeapDriver::Free(size_t index, int how) {
  const Block block = Take(index);
  errno = kErrno;
  if (how == 1 && block.alignment == 0) hz4_free_sized(block.ptr, block.size);
  else if (how == 1) hz4_free_aligned_sized(block.ptr, block.alignment, block.size);
  else if (how == 2) FUZZ_CHECK(hz4_realloc(block.ptr, 0) == nullptr);
  else hz4_free(block.ptr);
  FUZZ_CHECK(errno == kErrno);
  if (block.other == nullptr) return;
  if (how == 2) FUZZ_CHECK(peer_->realloc(block.other, 0) == nullptr);
  else peer_->free(block.other);
}

// Some or all of the live blocks, in an order that the input chooses.
void HeapDriver::FreeSome() {
  auto n = input_.ConsumeIntegralInRange<size_t>(1, 600);
  const auto stride = input_.ConsumeIntegral<uint8_t>();
  if (input_.ConsumeBool()) n = blocks_.size();
  for (size_t at = input_.ConsumeIntegral<uint16_t>(); n != 0 && !blocks_.empty(); --n, at += stride) {
    Free(at % blocks_.size(), 0);
  }
}

void HeapDriver::Realloc(size_t index, size_t size) {
  Block block = Take(index);
  errno = kErrno;
  void *to = hz4_realloc(block.ptr, size);
  FUZZ_CHECK(errno == (to != nullptr ? kErrno : ENOMEM));
  FUZZ_CHECK(to != nullptr || peer_ == nullptr || size > PTRDIFF_MAX);
  FUZZ_CHECK(to == nullptr || size <= PTRDIFF_MAX);
  const size_t usable = hz4_malloc_usable_size(to != nullptr ? to : block.ptr);
  FUZZ_CHECK(to != nullptr ? usable >= size : usable == block.usable);
  FUZZ_CHECK(HasPattern(to != nullptr ? to : block.ptr, to != nullptr ? std::min(block.usable, size) : usable, block.seed));
  if (block.other != nullptr) {
    void *other = peer_->realloc(block.other, size);
    FUZZ_CHECK((other == nullptr) == (to == nullptr));
    FUZZ_CHECK(other != nullptr || errno == ENOMEM);
    if (other != nullptr) block.other = static_cast<unsigned char *>(other);
    FUZZ_CHECK(HasPattern(block.other, other != nullptr ? std::min(block.size, size) : block.size, block.seed));
  }
  if (to != nullptr) {
    FUZZ_CHECK(reinterpret_cast<uintptr_t>(to) % 16 == 0);
    block = {static_cast<unsigned char *>(to), block.other, size, usable, 0, 0};
  }
  Put(block);
}

// ---- schedule ----

// False when another thread goes on.
bool HeapDriver::Step() {
  const auto op = input_.ConsumeIntegralInRange(0, 19);
  const bool some = !blocks_.empty();
  const size_t index = some ? input_.ConsumeIntegral<uint16_t>() % blocks_.size() : 0;
  switch (op) {
    case 0: Burst(); break;
    case 1: FreeSome(); break;
    case 2:
    case 3: AllocSome(op == 2 ? kMalloc : kCalloc); break;
    case 4: AllocSome(kReallocOfNull + input_.ConsumeIntegralInRange(0, 3)); break;
    case 5:
    case 6:
    case 7: if (some) Free(index, op - 5); break;
    case 8:
    case 9: if (some) Realloc(index, std::max<size_t>(1, ConsumeSize())); break;
    case 10: if (some) Realloc(index, static_cast<size_t>(PTRDIFF_MAX) + 1 + index); break;
    case 11: Misuse(); break;
    case 12: hz4_malloc_trim(input_.PickValueInArray({size_t{0}, kMiB, SIZE_MAX / 2})); break;
    case 13: extra_(&input_); break;
    case 14: if (some) Look(index); break;
    default:
      next_ = static_cast<Next>(std::max(op - 16, 0));
      return false;
  }
  if (++steps_ % kCheckEvery == 0) hz4_check();
  return true;
}

void HeapDriver::LastDeeds() {
  for (int i = 0; i < 3; ++i) {
    if (!blocks_.empty()) Free(blocks_.size() / 2, 0);
    Alloc(kMalloc, 100 << (5 * i), 0);
  }
}

void HeapDriver::Exit(size_t thread) {
  if (input_.ConsumeBool()) threads_[thread].Run([this] { FUZZ_CHECK(pthread_setspecific(late_key, this) == 0); });
  threads_[thread].Exit();
}

// Every thread gives back what it caches, and then nothing that is free holds memory: what is left is accounted for by
// live blocks.
void HeapDriver::Purge() {
  for (VirtualThread &thread : threads_) {
    if (thread.running()) thread.Run([] { hz4_malloc_trim(0); });
  }
  hz4_malloc_trim(0);
  hz4_check();
  FUZZ_CHECK(hz4_stats_get("segment_dirty_bytes") == 0);
  FUZZ_CHECK(hz4_stats_get("large_cached_bytes") == 0);
  FUZZ_CHECK(hz4_stats_get("heap_depot_objects") == 0);
  const uint64_t object_bytes = hz4_stats_get("heap_span_bytes") - hz4_stats_get("heap_free_bytes");
  const uint64_t large_bytes = hz4_stats_get("segment_used_bytes") - hz4_stats_get("heap_span_bytes") +
                               hz4_stats_get("large_live_mapped_bytes");
  FUZZ_CHECK(object_bytes + large_bytes >= live_bytes_);
  FUZZ_CHECK(!blocks_.empty() || object_bytes + large_bytes == 0);
}

void HeapDriver::Schedule() {
  switch (next_) {
    case Next::kRemoteFree: threads_[ConsumeThread()].Run([this] { FreeSome(); }); break;
    case Next::kPurge: Purge(); break;
    case Next::kExit: Exit(current_); [[fallthrough]];
    case Next::kSwitch: current_ = ConsumeThread(); break;
  }
  next_ = Next::kSwitch;
  ++steps_;
}

void HeapDriver::Run(const std::function<void()> &before_the_end) {
  static const bool late = MakeLateKey();
  FUZZ_CHECK(late);
  while (input_.remaining_bytes() != 0 && steps_ < kStepsMax) {
    threads_[current_].Run([this] {
      while (input_.remaining_bytes() != 0 && steps_ < kStepsMax && Step()) continue;
    });
    Schedule();
  }
  threads_[current_].Run([&] {
    before_the_end();
    hz4_check();
    while (!blocks_.empty()) Free(blocks_.size() - 1, 0);
  });
  for (VirtualThread &thread : threads_) thread.Exit();
  hz4_malloc_trim(0);
  hz4_check();
  FUZZ_CHECK(hz4_stats_get("heap_spans") == 0 && "a span is held by nobody's object");
  FUZZ_CHECK(hz4_stats_get("segment_used_bytes") == 0);
  FUZZ_CHECK(hz4_stats_get("large_live_mapped_bytes") == 0);
  if (getenv("FUZZ_DIGEST") != nullptr) printf("digest %016" PRIx64 "\n", digest_);
}

}  // namespace hz4_fuzz
