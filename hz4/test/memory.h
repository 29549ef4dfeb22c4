// What the tests of memory use share: resident bytes, and tables outside every heap.
#ifndef HZ4_TEST_MEMORY_H_
#define HZ4_TEST_MEMORY_H_

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "hz4/test/qemu.h"

// Under a sanitizer the resident bytes are mostly its own.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HZ4_TEST_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HZ4_TEST_SANITIZED 1
#endif
#ifndef HZ4_TEST_SANITIZED
#define HZ4_TEST_SANITIZED 0
#endif

namespace hz4_test {

constexpr bool kSanitized = HZ4_TEST_SANITIZED != 0;

inline bool ResidentIsOurs() { return !kSanitized && !UnderQemu(); }
#define HZ4_TEST_SKIP_UNLESS_RESIDENT_IS_OURS() \
  if (!ResidentIsOurs()) GTEST_SKIP() << "resident bytes are the sanitizer's, or qemu's"

constexpr size_t kKiB = 1024;
constexpr size_t kMiB = 1024 * kKiB;

// The process's resident bytes, without allocating. smaps_rollup is exact; status and statm lag by up to a batch of
// pages per CPU since Linux 6.2, and serve only where there is no rollup.
inline size_t ResidentBytes() {
  char text[2048];
  int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  if (fd < 0) fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (length < 0) return 0;
  text[length] = '\0';
  const char *field = strstr(text, "\nRss:");
  if (field == nullptr) field = strstr(text, "\nVmRSS:");
  if (field == nullptr) return 0;
  return strtoull(strchr(field, ':') + 1, nullptr, 10) * kKiB;
}

// How many mappings the process has. The kernel allows 65,530 by default.
inline size_t Mappings() {
  const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[4096];
  size_t lines = 0;
  ssize_t length;
  while ((length = read(fd, text, sizeof text)) > 0) {
    for (ssize_t i = 0; i < length; i++) lines += text[i] == '\n';
  }
  close(fd);
  return lines;
}

// An array of pointers in its own mapping, resident from the start, so that it is part of every baseline.
class PointerTable {
 public:
  explicit PointerTable(size_t capacity) : bytes_(capacity * sizeof(void *)) {
    void *map = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
      perror("mmap");
      abort();
    }
    memset(map, 1, bytes_);
    slots_ = static_cast<void **>(map);
  }
  PointerTable(const PointerTable &) = delete;
  PointerTable &operator=(const PointerTable &) = delete;
  ~PointerTable() { munmap(slots_, bytes_); }

  void *&operator[](size_t index) { return slots_[index]; }
  size_t capacity() const { return bytes_ / sizeof(void *); }

 private:
  size_t bytes_;
  void **slots_;
};

// A queue of blocks from one thread to another, in slots that the caller lends.
class Queue {
 public:
  Queue(void **slots, size_t room) : slots_(slots), room_(room) {}
  void Push(void *ptr) {
    const size_t head = head_.load(std::memory_order_relaxed);
    while (head - tail_.load(std::memory_order_acquire) == room_) std::this_thread::yield();
    slots_[head % room_] = ptr;
    head_.store(head + 1, std::memory_order_release);
  }
  void *Pop() {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    while (head_.load(std::memory_order_acquire) == tail) std::this_thread::yield();
    void *ptr = slots_[tail % room_];
    tail_.store(tail + 1, std::memory_order_release);
    return ptr;
  }

 private:
  void **slots_;
  size_t room_;
  std::atomic<size_t> head_{0}, tail_{0};
};

}  // namespace hz4_test

#endif  // HZ4_TEST_MEMORY_H_
