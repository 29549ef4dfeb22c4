// What the tests of the caches share: a cache as an object, and a fixture that counts what did not come home.
#ifndef HZ4_TEST_TCACHE_H_
#define HZ4_TEST_TCACHE_H_

#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/segment.h"
#include "hz4/sizeclass.h"
#include "hz4/tcache.h"
#include "hz4/transfer.h"
#include "hz4/test/sys_fake.h"

namespace hz4_test {

using MidStats = struct hz4_mid_stats;
using Front = struct hz4_front;

inline MidStats MidNow() {
  MidStats stats;
  hz4_mid_stats(&stats);
  return stats;
}

// Slots of a bin's array that hold no object.
constexpr uint32_t kNoObjects = 1;

inline uint32_t ClassOf(size_t bytes) { return hz4_class_of_size(bytes); }

// What malloc and free do at the cache that the thread is at.
inline void *MallocHere(uint32_t c) {
  void *object = hz4_sequence_pop(c);
  if (object == nullptr) object = hz4_tcache_refill(c, nullptr);
  if (object != nullptr) hz4_unpoison(object, hz4_class_bytes(c));  // as alloc.c does it
  return object;
}
inline void FreeHere(uint32_t c, void *object) {
  hz4_poison(object, hz4_class_bytes(c));
  if (!hz4_sequence_push(c, object)) hz4_tcache_overflow(c, object);
}

inline std::vector<void *> MallocSome(uint32_t c, size_t n) {
  std::vector<void *> objects(n);
  for (void *&object : objects) object = MallocHere(c);
  return objects;
}
inline void FreeSome(uint32_t c, const std::vector<void *> &objects) {
  for (void *object : objects) FreeHere(c, object);
}

// What Mid has without a fresh span: who misses now finds what waits in inboxes, or opens a span.
inline std::vector<void *> DrainMid(uint32_t c) {
  std::vector<void *> objects, some(HZ4_MOVE_OBJECTS);
  while (const uint32_t n = hz4_mid_take(c, some.data(), HZ4_MOVE_OBJECTS, 0, nullptr, false).objects) {
    objects.insert(objects.end(), some.begin(), some.begin() + n);
  }
  return objects;
}
inline void GiveToMid(uint32_t c, std::vector<void *> objects) {
  if (!objects.empty()) hz4_mid_give(c, objects.data(), static_cast<uint32_t>(objects.size()), nullptr, true);
}

// Somebody else looks into Mid: so nobody has the class for himself, for a while.
inline void PassBy(uint32_t c) {
  void *none;
  hz4_mid_take(c, &none, 0, 0, nullptr, false);
}

inline size_t Objects(const hz4_tcache *cache, uint32_t c) {
  const uintptr_t top = cache->top[c];
  if (top == HZ4_TOP_NONE) return 0;
  return (top + reinterpret_cast<uintptr_t>(cache) - reinterpret_cast<uintptr_t>(cache->bins[c].slots)) / sizeof(void *);
}
inline size_t Waiting(const hz4_tcache *cache, uint32_t c) {
  size_t n = 0;
  for (hz4_batch *b = hz4_inbox_batch(cache->inbox[c].word); b != nullptr; b = b->next) n += b->count;
  return n;
}

// As long as it lives, the thread is where `front` says; then where it was.
class At {
 public:
  explicit At(Front *front) : front_(front), saved_(hz4_front) { hz4_front = *front; }
  At(const At &) = delete;
  At &operator=(const At &) = delete;
  ~At() {
    *front_ = hz4_front;
    hz4_front = saved_;
  }

 private:
  Front *front_;
  const Front saved_;
};

// A thread's cache, and the thread: each call is made as by one that is attached to it. Caches are listed for ever, so
// that each serves again.
class Cache {
 public:
  Cache() : cache_(Take()) {
    hz4_transfer_open(cache_);
    const Front saved = hz4_front;
    hz4_cache_attach_own(cache_);
    hz4_front.ahead = hz4_front.overflow_run = 0;
    front_ = hz4_front;
    hz4_front = saved;
  }
  Cache(const Cache &) = delete;
  Cache &operator=(const Cache &) = delete;
  ~Cache() {
    if (open_) Close();
    Idle().push_back(cache_);
  }
  // What `function` does as this thread.
  template <class Function>
  auto Do(Function function) {
    const At at(&front_);
    return function();
  }
  void *Malloc(uint32_t c) {
    return Do([&] { return MallocHere(c); });
  }
  void Free(uint32_t c, void *object) {
    Do([&] { FreeHere(c, object); });
  }
  std::vector<void *> MallocMany(uint32_t c, size_t n) {
    return Do([&] { return MallocSome(c, n); });
  }
  void FreeAll(uint32_t c, const std::vector<void *> &objects) {
    Do([&] { FreeSome(c, objects); });
  }
  // What is in the bin, which keeps its size.
  std::vector<void *> PopAll(uint32_t c) {
    const At at(&front_);
    std::vector<void *> objects;
    while (void *object = hz4_sequence_pop(c)) objects.push_back(object);
    return objects;
  }
  void Empty() { Do(hz4_tcache_empty_here); }
  void Close() {
    Check();
    hz4_tcache_close(cache_);
    open_ = false;
    EXPECT_TRUE(cache_->capacity_bytes == 0 && cache_->large_bins == 0);
    for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) {
      EXPECT_TRUE(cache_->top[c] == HZ4_TOP_NONE && cache_->limit[c] == HZ4_TOP_NONE && Capacity(c) == 0) << c;
      EXPECT_EQ(cache_->inbox[c].word, HZ4_INBOX_CLOSED) << c;
    }
    EXPECT_EQ(SpareBatches(), 0u);
  }
  hz4_tcache *get() { return cache_; }
  const Front &front() const { return front_; }
  size_t Held(uint32_t c) const { return Objects(cache_, c); }
  size_t Capacity(uint32_t c) const { return cache_->bins[c].capacity; }
  uint64_t Count(hz4_counter id) const {
    return cache_->counters.value[HZ4_RANGE_SMALL][id] + cache_->counters.value[HZ4_RANGE_MID][id];
  }
  size_t Waiting(uint32_t c) const { return hz4_test::Waiting(cache_, c); }
  size_t SpareBatches() const {
    size_t n = 0;
    for (hz4_batch *b = hz4_inbox_batch(cache_->spare.word); b != nullptr; b = b->next) ++n;
    return n;
  }
  void Check() {
    Do(hz4_tcache_check);
    EXPECT_EQ(front_.claims, 0u);
    size_t bytes = 0;
    for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) bytes += Capacity(c) * hz4_class_bytes(c);
    EXPECT_EQ(bytes, cache_->capacity_bytes) << "capacity does not add up";
  }

 private:
  static std::vector<hz4_tcache *> &Idle() {
    static auto *idle = new std::vector<hz4_tcache *>;
    return *idle;
  }
  // Zero, but for what the list of caches knows of it.
  static hz4_tcache *Take() {
    hz4_tcache *next_listed = nullptr;
    uint32_t number = 0;
    bool listed = false;
    void *memory;
    if (Idle().empty()) {
      memory = static_cast<char *>(aligned_alloc(HZ4_CACHE_LINE, HZ4_CACHE_ZEROS + sizeof(hz4_tcache))) + HZ4_CACHE_ZEROS;
      memset(static_cast<char *>(memory) - HZ4_CACHE_ZEROS, 0, HZ4_CACHE_ZEROS);
    } else {
      next_listed = Idle().back()->next_listed;
      number = Idle().back()->number;
      listed = Idle().back()->listed;
      memory = Idle().back();
      Idle().pop_back();
    }
    auto *cache = static_cast<hz4_tcache *>(memset(memory, 0, sizeof(hz4_tcache)));
    cache->next_listed = next_listed;
    cache->number = number;
    cache->listed = listed;
    return cache;
  }
  hz4_tcache *cache_;
  Front front_;
  bool open_ = true;
};

// Caches of CPUs, side by side, and a thread that runs on one and then on another.
class Cpus {
 public:
  explicit Cpus(int count) : count_(count) {
    // Before the first one lies that of no id. Listed for ever.
    const size_t bytes = HZ4_CACHE_BYTES * (count + 1);
    caches_ = static_cast<char *>(memset(aligned_alloc(HZ4_CACHE_BYTES, bytes), 0, bytes)) + HZ4_CACHE_BYTES;
    area_.id = 0;
    front_ = hz4_front;
    front_.caches = caches_;
    front_.area = &area_;
  }
  Cpus(const Cpus &) = delete;
  Cpus &operator=(const Cpus &) = delete;
  hz4_tcache *cache(int id) { return reinterpret_cast<hz4_tcache *>(caches_ + id * static_cast<ptrdiff_t>(HZ4_CACHE_BYTES)); }
  void MoveTo(int id) { area_.id = id; }
  // What `function` does on this CPU, unless it moves on.
  template <class Function>
  auto Do(int id, Function function) {
    const At at(&front_);
    MoveTo(id);
    return function();
  }
  ~Cpus() {
    for (int id = 0; id < count_; ++id) {
      Do(id, hz4_tcache_empty_here);
      hz4_transfer_empty(cache(id), true);
    }
  }

 private:
  const int count_;
  char *caches_;
  hz4_area area_ = {};
  Front front_;
};

// Every test frees what it took, and closes its caches: then every span has gone home.
class Tcache : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    hz4_tcache_set_budget(HZ4_TCACHE_BYTES_MAX);
    hz4_option.inbox = 1;
    for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) PassBy(c);
  }
  void TearDown() override {
    hz4_sys_fake_reset();
    hz4_mid_trim();
    hz4_mid_check();
    EXPECT_EQ(MidNow().spans, 0u) << "objects were lost";
    hz4_meta_check();
  }
};

}  // namespace hz4_test

#endif  // HZ4_TEST_TCACHE_H_
