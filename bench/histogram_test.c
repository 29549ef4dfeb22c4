// That a bucket holds what it says, and a percentile is never flattering.
#include "bench/bench_common.h"
#include "bench/histogram.h"

static void check_bucket(uint64_t value) {
  unsigned bucket = bench_histogram_bucket(value);
  uint64_t top = bench_histogram_top(bucket), below = bucket == 0 ? 0 : bench_histogram_top(bucket - 1) + 1;
  if (bucket >= BENCH_HISTOGRAM_BUCKETS || value > top || value < below)
    bench_die(1, "%llu is not in bucket %u, of %llu to %llu", (unsigned long long)value, bucket,
              (unsigned long long)below, (unsigned long long)top);
  if (top - value > value / 64) bench_die(1, "%llu counts as %llu", (unsigned long long)value, (unsigned long long)top);
}

static void check_percentile(const struct bench_histogram *histogram, uint64_t millionths, uint64_t want) {
  uint64_t got = bench_histogram_percentile(histogram, millionths);
  if (got < want || got - want > want / 64)
    bench_die(1, "%llu of a million: %llu instead of %llu", (unsigned long long)millionths, (unsigned long long)got,
              (unsigned long long)want);
}

int main(void) {
  for (unsigned shift = 0; shift < 64; shift++)
    for (int beside = -2; beside <= 2; beside++) check_bucket((UINT64_C(1) << shift) + (uint64_t)(int64_t)beside);
  for (uint64_t value = 0; value < 100000; value++) check_bucket(value);

  static struct bench_histogram one, other;
  check_percentile(&one, 500000, 0);
  for (uint64_t value = 1; value <= 50000; value++) {
    bench_histogram_add(&one, 2 * value);
    bench_histogram_add(&other, 2 * value - 1);
  }
  bench_histogram_merge(&one, &other);
  check_percentile(&one, 500000, 50000);
  check_percentile(&one, 990000, 99000);
  check_percentile(&one, 999900, 99990);
  check_percentile(&one, 1000000, 100000);
  if (one.total != 100000 || one.largest != 100000) bench_die(1, "the sums are wrong");
  bench_histogram_add(&one, UINT64_MAX);
  check_percentile(&one, 1000000, UINT64_MAX);
  return 0;
}
