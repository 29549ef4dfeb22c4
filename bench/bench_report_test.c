// Which runs count, at the bounds.
#include <stdio.h>

#include "bench/bench_common.h"

#define SECONDS(n) ((uint64_t)((n)*1e9))

// A run of one second that counts on two CPUs.
static struct bench_result run(unsigned threads, double cpus) {
  return (struct bench_result){.threads = threads,
                               .start = {0, 0},
                               .end = {SECONDS(1), SECONDS(cpus)},
                               .local_freed = 10000,
                               .remote_sent = 90000,
                               .remote_pct = 90};
}

// reason: a part of it; NULL: the run counts.
static void expect(const char *name, struct bench_result result, unsigned cpus, const char *reason) {
  const char *got = bench_invalid_reason(&result, cpus);
  if (reason == NULL ? got != NULL : got == NULL || strstr(got, reason) == NULL)
    bench_die(1, "%s: '%s' instead of '%s'", name, got == NULL ? "valid" : got, reason == NULL ? "valid" : reason);
}

int main(void) {
  struct bench_result result = run(2, 1.95);
  expect("a run", result, 2, NULL);

  result.ring_full_fallback = 90;  // of 90,090: a little less than 0.10%
  expect("little fallback", result, 2, NULL);
  result.ring_full_fallback = 100;
  expect("fallback", result, 2, "0.111% of sends met a full ring (0.10% may)");

  result = run(2, 1.95);
  result.local_freed = 10500;  // 89.55%
  expect("nearly the remote share", result, 2, NULL);
  result.local_freed = 10650;  // 89.42%
  expect("too little remote", result, 2, "89.4% of frees were remote instead of 90%");
  result.local_freed = 9350;  // 90.59%
  expect("too much remote", result, 2, "90.6%");
  result.left_in_slots = 5000;  // which are not timed
  result.local_freed = 15000;
  expect("what was left in slots", result, 2, NULL);
  result.remote_pct = -1;
  result.local_freed = 5000000;
  expect("no remote share is meant", result, 2, NULL);
  result.remote_pct = 0;
  result.remote_sent = 0;
  expect("none is remote", result, 2, NULL);

  expect("enough CPUs", run(2, 1.701), 2, NULL);
  expect("too few CPUs", run(2, 1.699), 2, "it ran on 1.69 of 2 CPUs (1.70 needed)");
  expect("more threads than CPUs", run(16, 1.6), 2, "of 2 CPUs");
  expect("one thread", run(1, 0.851), 2, NULL);
  expect("less than one thread", run(1, 0.84), 2, "of 1 CPUs");
  expect("one CPU", run(2, 0.9), 1, NULL);
  expect("some of many CPUs", run(4, 3.3), 8, "of 4 CPUs");
  return 0;
}
