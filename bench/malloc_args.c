// malloc_args: one thread, random sizes, random slots.
#include "bench/bench_common.h"

enum { ITERS, WS, MIN, MAX, SEED, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [ITERS] = {"iters", 20000000, 1, UINT64_C(1) << 40, "iterations"},
    [WS] = {"ws", 400, 1, 1 << 24, "slots (the working set is half of them)"},
    [MIN] = {"min", 16, 1, 1 << 30, "smallest object in bytes"},
    [MAX] = {"max", 32768, 1, 1 << 30, "largest object in bytes; sizes are uniform"},
    [SEED] = {"seed", 1, 0, UINT64_MAX, "seed of the random numbers"},
};

static struct bench_tool tool = {
    .name = "malloc_args",
    .about =
        "Each iteration picks a random slot: an empty one is filled by malloc, a full one is freed. One operation is\n"
        "one iteration. What is left in the slots is freed after the timed phase (left_in_slots).",
    .args = args,
    .args_count = ARGS_COUNT,
};

static void work(struct bench_result *result, void **slots) {
  const struct bench_options options = tool.options;
  const uint64_t iters = args[ITERS].value, ws = args[WS].value, min = args[MIN].value;
  const uint64_t sizes = args[MAX].value - min + 1;
  uint64_t random = bench_random_start(options.seed, 0);
  uint64_t allocated = 0;
  struct bench_draw next = bench_draw(&random, ws);
  for (uint64_t i = 0; i < iters; i++) {
    struct bench_draw draw = next;
    next = bench_draw(&random, ws);
    void **slot = &slots[draw.slot];
    if (*slot == NULL) {
      *slot = bench_obtain(&options, min + bench_pick(draw.choice, sizes));
      allocated++;
    } else {
      bench_release(&options, *slot);
      *slot = NULL;
    }
  }
  result->allocated = allocated;
  result->local_freed = iters - allocated;
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  void **slots = bench_map(args[WS].value * sizeof(void *));
  struct bench_result result = {.threads = 1, .ops = args[ITERS].value, .remote_pct = -1};
  if (tool.options.pin) bench_pin(0);
  // On the main thread, before any other was ever created: some allocators are faster then, and may show it.
  result.start = bench_clock_now();
  work(&result, slots);
  result.end = bench_clock_now();
  result.peak_rss_kb = bench_peak_rss_kb();
  for (uint64_t i = 0; i < args[WS].value; i++) {
    if (slots[i] == NULL) continue;
    bench_release(&tool.options, slots[i]);
    result.left_in_slots++;
  }
  result.local_freed += result.left_in_slots;
  result.ping_pong_ns = bench_ping_pong_ns(tool.options.pin);
  bench_report(&tool, &result);
  return 0;
}
