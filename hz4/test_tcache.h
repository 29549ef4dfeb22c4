// What the tests of the thread cache share: a cache as an object, and a fixture that counts what did not come home.
#ifndef HZ4_TEST_TCACHE_H_
#define HZ4_TEST_TCACHE_H_

#include <gtest/gtest.h>

#include <vector>

#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/segment.h"
#include "hz4/sizeclass.h"
#include "hz4/sys_fake.h"
#include "hz4/tcache.h"

namespace hz4_test {

using MidStats = struct hz4_mid_stats;

inline MidStats MidNow() {
  MidStats stats;
  hz4_mid_stats(&stats);
  return stats;
}

inline uint32_t ClassOf(size_t bytes) { return hz4_class_of_size(bytes); }

// What malloc and free do with a cache.
inline void *MallocFrom(hz4_tcache *cache, uint32_t c) {
  void *object = hz4_tcache_pop(cache, c);
  if (object == nullptr) object = hz4_tcache_refill(cache, c, false);
  if (object == nullptr) object = hz4_tcache_refill(cache, c, true);
  if (object != nullptr) hz4_unpoison(object, hz4_class_bytes(c));  // as alloc.c does it
  return object;
}
inline void FreeTo(hz4_tcache *cache, uint32_t c, void *object) {
  hz4_poison(object, hz4_class_bytes(c));
  if (!hz4_tcache_push(cache, c, object)) hz4_tcache_overflow(cache, c, object);
}

// One thread's cache.
class Cache {
 public:
  Cache() : cache_(static_cast<hz4_tcache *>(hz4_meta_alloc(sizeof(hz4_tcache)))) { hz4_tcache_open(cache_); }
  ~Cache() {
    if (open_) Close();
    hz4_meta_free(cache_, sizeof(hz4_tcache));
  }
  void *Malloc(uint32_t c) { return MallocFrom(cache_, c); }
  void Free(uint32_t c, void *object) { FreeTo(cache_, c, object); }
  std::vector<void *> MallocMany(uint32_t c, size_t n) {
    std::vector<void *> objects(n);
    for (void *&object : objects) object = Malloc(c);
    return objects;
  }
  void FreeAll(uint32_t c, const std::vector<void *> &objects) {
    for (void *object : objects) Free(c, object);
  }
  void Close() {
    hz4_tcache_check(cache_);
    hz4_tcache_close(cache_);
    open_ = false;
  }
  void Abandon() {
    hz4_tcache_abandon(cache_);
    open_ = false;
  }
  hz4_tcache *get() { return cache_; }
  size_t Held(uint32_t c) const { return Slots(c) == nullptr ? 0 : cache_->top[c] - Slots(c); }
  size_t Capacity(uint32_t c) const { return Slots(c) == nullptr ? 0 : cache_->limit[c] - Slots(c); }
  uint64_t Count(hz4_counter id) const {
    return cache_->counters.value[HZ4_RANGE_SMALL][id] + cache_->counters.value[HZ4_RANGE_MID][id];
  }
  size_t Waiting(uint32_t c) const {
    size_t n = 0;
    for (hz4_batch *b = hz4_inbox_batch(cache_->inbox[c].word); b != nullptr; b = b->next) n += b->count;
    return n;
  }
  void Check() const { hz4_tcache_check(cache_); }

 private:
  void **Slots(uint32_t c) const { return cache_->bins[c].slots; }
  hz4_tcache *cache_;
  bool open_ = true;
};

// Every test frees what it took, and closes its caches: then every span has gone home.
class Tcache : public testing::Test {
 protected:
  void SetUp() override {
    hz4_sys_fake_reset();
    hz4_tcache_set_budget(HZ4_TCACHE_BYTES_MAX);
    hz4_options.inbox = 1;
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
