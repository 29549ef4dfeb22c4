// Counts of values, in buckets that are as fine as the values are small: to 1/64 of a value, whatever its size.
#ifndef HZ4_BENCH_HISTOGRAM_H_
#define HZ4_BENCH_HISTOGRAM_H_

#include <stdint.h>

#define BENCH_HISTOGRAM_BITS 6  // of a value that tell buckets apart, below its highest: an error of 1/64 at most
#define BENCH_HISTOGRAM_BUCKETS ((64 - BENCH_HISTOGRAM_BITS + 1) << BENCH_HISTOGRAM_BITS)

struct bench_histogram {
  uint64_t counts[BENCH_HISTOGRAM_BUCKETS];
  uint64_t total, largest;
};

// Values below 128 have a bucket each.
static inline unsigned bench_histogram_bucket(uint64_t value) {
  unsigned octave = 63 - (unsigned)__builtin_clzll(value | 1);
  unsigned shift = octave < BENCH_HISTOGRAM_BITS ? 0 : octave - BENCH_HISTOGRAM_BITS;
  return (shift << BENCH_HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

// The largest value of a bucket, so that no figure flatters.
static inline uint64_t bench_histogram_top(unsigned bucket) {
  unsigned shift = bucket >> BENCH_HISTOGRAM_BITS;
  if (shift <= 1) return bucket;
  uint64_t first = (bucket & ((1u << BENCH_HISTOGRAM_BITS) - 1)) | (1u << BENCH_HISTOGRAM_BITS);
  return ((first + 1) << (shift - 1)) - 1;
}

static inline void bench_histogram_add(struct bench_histogram *histogram, uint64_t value) {
  histogram->counts[bench_histogram_bucket(value)]++;
  histogram->total++;
  if (value > histogram->largest) histogram->largest = value;
}

static inline void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from) {
  for (unsigned i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++) into->counts[i] += from->counts[i];
  into->total += from->total;
  if (from->largest > into->largest) into->largest = from->largest;
}

// The value that so many millionths of all values are not above: 990,000 for the 99th percentile. 0 without values.
static inline uint64_t bench_histogram_percentile(const struct bench_histogram *histogram, uint64_t millionths) {
  uint64_t rank = (histogram->total * millionths + 999999) / 1000000, seen = 0;
  for (unsigned i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++) {
    seen += histogram->counts[i];
    if (seen < rank) continue;
    uint64_t top = bench_histogram_top(i);
    return top < histogram->largest ? top : histogram->largest;
  }
  return histogram->largest;
}

#endif  // HZ4_BENCH_HISTOGRAM_H_
