// prodcons: threads that only allocate, threads that only free.
#include <sched.h>

#include "bench/bench_common.h"
#include "bench/ring.h"

enum { PRODUCERS, CONSUMERS, ITERS, MIN, MAX, RING_SLOTS, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [PRODUCERS] = {"producers", 1, 1, 1024, "threads that allocate"},
    [CONSUMERS] = {"consumers", 1, 1, 1024, "threads that free"},
    [ITERS] = {"iters", 20000000, 1, UINT64_C(1) << 40, "objects of each producer"},
    [MIN] = {"min", 16, 1, 1 << 30, "smallest object in bytes"},
    [MAX] = {"max", 2048, 1, 1 << 30, "largest object in bytes; sizes are uniform"},
    [RING_SLOTS] = {"ring_slots", 65536, 1, 1 << 24, "capacity of each ring"},
};

static struct bench_tool tool = {
    .name = "prodcons",
    .about = "Every producer has one ring to every consumer and fills them in turn; it yields while a ring is full. A\n"
             "consumer frees whatever its rings hold; it yields while they are empty. One operation is one object,\n"
             "allocated and freed. The timed phase ends when the last object is freed.",
    .args = args,
    .args_count = ARGS_COUNT,
};

struct run {
  struct bench_ring *rings;  // producer p, consumer c: rings[p * consumers + c]
  _Alignas(BENCH_LINE_BYTES) _Atomic uint64_t producing;  // producers that are not done
  _Alignas(BENCH_LINE_BYTES) _Atomic uint64_t received;   // added to once by each consumer
};

static void produce(struct run *run, unsigned index) {
  const struct bench_options options = tool.options;
  const uint64_t iters = args[ITERS].value, consumers = args[CONSUMERS].value, min = args[MIN].value;
  const uint64_t sizes = args[MAX].value - min + 1;
  struct bench_ring *rings = &run->rings[index * consumers];
  uint64_t random = bench_random_start(options.seed, index), to = 0;
  for (uint64_t i = 0; i < iters; i++) {
    void *object = bench_obtain(&options, min + bench_pick((uint32_t)(bench_random(&random) >> 32), sizes));
    while (!bench_ring_push(&rings[to], object)) sched_yield();
    if (++to == consumers) to = 0;
  }
  // Publishes all pushes of this producer to consume().
  atomic_fetch_sub_explicit(&run->producing, 1, memory_order_release);
}

static void consume(struct run *run, unsigned index) {
  const struct bench_options options = tool.options;
  const uint64_t producers = args[PRODUCERS].value, consumers = args[CONSUMERS].value;
  uint64_t received = 0;
  for (;;) {
    // Before the rings are read, so that an empty round after it is the end. Acquire pairs with produce()'s release.
    bool last = atomic_load_explicit(&run->producing, memory_order_acquire) == 0;
    uint64_t got = 0;
    for (uint64_t p = 0; p < producers; p++) got += bench_ring_drain(&run->rings[p * consumers + index], &options);
    received += got;
    if (got == 0 && last) break;
    if (got == 0) sched_yield();
  }
  atomic_fetch_add_explicit(&run->received, received, memory_order_relaxed);  // read after the threads are joined
}

static void work(unsigned index, void *context) {
  unsigned producers = (unsigned)args[PRODUCERS].value;
  if (index < producers) {
    produce(context, index);
  } else {
    consume(context, index - producers);
  }
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  uint64_t producers = args[PRODUCERS].value, rings_count = producers * args[CONSUMERS].value;
  struct run run = {.rings = bench_map(rings_count * sizeof(struct bench_ring)), .producing = producers};
  for (uint64_t i = 0; i < rings_count; i++) bench_ring_init(&run.rings[i], args[RING_SLOTS].value);
  struct bench_result result = {.threads = (unsigned)(producers + args[CONSUMERS].value),
                                .ops = producers * args[ITERS].value,
                                .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
                                .remote_pct = 100};
  bench_team(result.threads, tool.options.pin, work, &run, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  result.allocated = result.remote_sent = result.ops;
  result.remote_received = atomic_load_explicit(&run.received, memory_order_relaxed);
  bench_report(&tool, &result);
  return 0;
}
