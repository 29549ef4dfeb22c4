// Live objects of size classes, for the fuzzers of Mid and of the thread cache: each is where it may be, overlaps no
// other, and keeps what was written into it, in every 512 bytes, so that memory given back under it shows.
#ifndef HZ4_FUZZ_OBJECTS_H_
#define HZ4_FUZZ_OBJECTS_H_

#include <string.h>

#include <vector>

#include "fuzz/check.h"
#include "fuzz/pattern.h"
#include "fuzz/shadow.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/sizeclass.h"

namespace hz4_fuzz {

// Sizes that are far apart: few classes, so that an input fills them.
constexpr uint32_t kClassesUsed[] = {1, 4, 7, 16, 33, 48, 57, 64, 73, 88, 95, 96};

class Objects {
 public:
  void Add(uint32_t size_class, void *object) {
    const size_t bytes = hz4_class_bytes(size_class);
    hz4_unpoison(object, bytes);  // as alloc.c does it
    FUZZ_CHECK(hz4_pagemap_class(object) == size_class);
    FUZZ_CHECK(hz4_pagemap_class(static_cast<char *>(object) + bytes - 1) == size_class);
    shadow_.Add(object, bytes);
    live_[size_class].push_back({static_cast<char *>(object), ++serial_});
    Visit(live_[size_class].back(), bytes, [](char *at, uint64_t word) { memcpy(at, &word, sizeof(word)); });
    live_bytes_ += bytes;
  }
  // Takes the object out of the list; the last takes its place.
  void *Remove(uint32_t size_class, size_t index) {
    std::vector<Live> &list = live_[size_class];
    std::swap(list[index], list.back());
    const Live object = list.back();
    list.pop_back();
    Visit(object, hz4_class_bytes(size_class), [](char *at, uint64_t word) {
      FUZZ_CHECK(memcmp(at, &word, sizeof(word)) == 0 && "a live object has changed");
    });
    hz4_poison(object.at, hz4_class_bytes(size_class));
    shadow_.Remove(object.at);
    live_bytes_ -= hz4_class_bytes(size_class);
    return object.at;
  }
  size_t Count(uint32_t size_class) const { return live_[size_class].size(); }
  size_t Count() const { return shadow_.size(); }
  size_t bytes() const { return live_bytes_; }

 private:
  struct Live {
    char *at;
    uint64_t serial;
  };
  template <class Function>
  static void Visit(const Live &object, size_t bytes, Function function) {
    for (size_t i = 0; i < bytes; i += 512) function(object.at + i, Mix(object.serial + i));
    function(object.at + bytes - sizeof(uint64_t), Mix(object.serial + (bytes > 512 ? bytes : 0)));
  }

  Shadow shadow_;
  std::vector<Live> live_[HZ4_CLASS_SLOTS];
  uint64_t serial_ = 0;
  size_t live_bytes_ = 0;
};

}  // namespace hz4_fuzz

#endif  // HZ4_FUZZ_OBJECTS_H_
