// What a live block holds: a pattern drawn from the block's own seed, so that every byte can be checked.
//
// The pattern repeats after 4,104 bytes: no whole number of pages, so that pages that changed places show. A repeating
// pattern is checked by comparing the block with itself, one period on, at the speed of memcmp.
#ifndef HZ4_FUZZ_PATTERN_H_
#define HZ4_FUZZ_PATTERN_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <array>

#include "fuzz/check.h"

namespace hz4_fuzz {

constexpr size_t kPatternWords = 513;
constexpr size_t kPatternPeriod = kPatternWords * sizeof(uint64_t);

using PatternBlock = std::array<uint64_t, kPatternWords>;

// splitmix64's finaliser.
inline uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

// The first `bytes` of the pattern, whole words.
inline void MakePattern(PatternBlock *out, uint64_t seed, size_t bytes) {
  const uint64_t key = Mix(seed + 1);
  const size_t words = std::min(kPatternWords, bytes / sizeof(uint64_t) + 1);
  for (size_t i = 0; i < words; ++i) (*out)[i] = key + i * UINT64_C(0x9e3779b97f4a7c15);
}

inline void FillPattern(void *block, size_t bytes, uint64_t seed) {
  PatternBlock pattern;
  MakePattern(&pattern, seed, bytes);
  auto *at = static_cast<unsigned char *>(block);
  memcpy(at, pattern.data(), std::min(bytes, kPatternPeriod));
  for (size_t done = kPatternPeriod; done < bytes; done += std::min(done, bytes - done)) {
    memcpy(at + done, at, std::min(done, bytes - done));
  }
}

inline bool HasPattern(const void *block, size_t bytes, uint64_t seed) {
  PatternBlock pattern;
  MakePattern(&pattern, seed, bytes);
  const auto *at = static_cast<const unsigned char *>(block);
  if (memcmp(at, pattern.data(), std::min(bytes, kPatternPeriod)) != 0) return false;
  return bytes <= kPatternPeriod || memcmp(at, at + kPatternPeriod, bytes - kPatternPeriod) == 0;
}

inline bool IsZero(const void *block, size_t bytes) {
  const auto *at = static_cast<const unsigned char *>(block);
  return bytes == 0 || (at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

}  // namespace hz4_fuzz

#endif  // HZ4_FUZZ_PATTERN_H_
