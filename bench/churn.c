// churn: threads that end while others hold their objects.
#include <stdatomic.h>

#include "bench/bench_common.h"

enum { LANES, LIVES, OBJECTS, MIN, MAX, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [LANES] = {"threads", 4, 1, 1024, "threads at once"},
    [LIVES] = {"lives", 2000, 1, UINT64_C(1) << 32, "threads that live one after the other, for each of those"},
    [OBJECTS] = {"objects", 400, 1, 1 << 24, "objects that each of them leaves behind"},
    [MIN] = {"min", 16, 1, 1 << 30, "smallest object in bytes"},
    [MAX] = {"max", 32768, 1, 1 << 30, "largest object in bytes; sizes are uniform"},
};

static struct bench_tool tool = {
    .name = "churn",
    .about = "A thread allocates its objects, swaps them for those that an earlier thread left, frees these, and ends;\n"
             "then the next thread begins. So all objects outlive the thread that allocated them. One operation is one\n"
             "object, allocated and freed.",
    .args = args,
    .args_count = ARGS_COUNT,
};

struct lane {
  struct run *run;
  unsigned index;
  uint64_t life;
  void **objects;  // what the next life fills: an array whose objects were freed
  uint64_t received;
};

struct run {
  struct lane *lanes;
  _Atomic(void **) *left;  // for each lane an array of objects that a thread left; NULLs at first
};

static uint64_t free_all(void **objects) {
  uint64_t n = 0;
  for (uint64_t i = 0; i < args[OBJECTS].value; i++) {
    if (objects[i] == NULL) continue;
    bench_release(&tool.options, objects[i]);
    n++;
  }
  return n;
}

static void *live(void *argument) {
  struct lane *lane = argument;
  const struct bench_options options = tool.options;
  const uint64_t objects = args[OBJECTS].value, min = args[MIN].value, sizes = args[MAX].value - min + 1;
  uint64_t random = bench_random_start(options.seed, lane->index * args[LIVES].value + lane->life);
  for (uint64_t i = 0; i < objects; i++) {
    lane->objects[i] = bench_obtain(&options, min + bench_pick((uint32_t)(bench_random(&random) >> 32), sizes));
  }
  // Another place each time, so that objects go round. Publishes them to who takes them by the same exchange.
  uint64_t place = (lane->index + lane->life + 1) % args[LANES].value;
  lane->objects = atomic_exchange_explicit(&lane->run->left[place], lane->objects, memory_order_acq_rel);
  lane->received += free_all(lane->objects);
  return NULL;
}

static void work(unsigned index, void *context) {
  struct lane *lane = &((struct run *)context)->lanes[index];
  for (lane->life = 0; lane->life < args[LIVES].value; lane->life++) {
    pthread_t thread;
    bench_start_thread(&thread, live, lane);
    pthread_join(thread, NULL);
  }
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  unsigned lanes = (unsigned)args[LANES].value;
  size_t array_bytes = args[OBJECTS].value * sizeof(void *);
  struct run run = {.lanes = bench_map(lanes * sizeof(struct lane)), .left = bench_map(lanes * sizeof(void **))};
  for (unsigned i = 0; i < lanes; i++) {
    run.lanes[i] = (struct lane){.run = &run, .index = i, .objects = bench_map(array_bytes)};
    atomic_init(&run.left[i], bench_map(array_bytes));
  }
  uint64_t objects = lanes * args[LIVES].value * args[OBJECTS].value;
  struct bench_result result = {.threads = lanes,
                                .ops = objects,
                                .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
                                .remote_pct = 100,
                                .allocated = objects,
                                .remote_sent = objects};
  bench_team(lanes, tool.options.pin, work, &run, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  for (unsigned i = 0; i < lanes; i++) {
    result.left_in_rings += free_all(atomic_load_explicit(&run.left[i], memory_order_relaxed));
    result.remote_received += run.lanes[i].received;
  }
  result.remote_received += result.left_in_rings;
  bench_report(&tool, &result);
  return 0;
}
