// large: threads that allocate and free large blocks at once.
#include "bench/bench_common.h"

enum { THREADS, ITERATIONS, BLOCKS, MIN, MAX, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [THREADS] = {"threads", 2, 1, 1024, "threads"},
    [ITERATIONS] = {"iterations", 4000, 1, UINT64_C(1) << 40, "for each of them"},
    [BLOCKS] = {"blocks", 8, 1, 1 << 20, "places for blocks of each of them"},
    [MIN] = {"min", 256 << 10, 1, 1 << 30, "smallest block in bytes"},
    [MAX] = {"max", 16 << 20, 1, 1 << 30, "largest block in bytes; of each doubling as many"},
};

static struct bench_tool tool = {
    .name = "large",
    .about = "Each iteration picks a random place of the thread's: a block that is there is freed, else one is\n"
             "allocated. One operation is one block, allocated and freed. With --touch all every byte of it is\n"
             "written, with --touch none it is never touched.",
    .args = args,
    .args_count = ARGS_COUNT,
};

struct lane {
  _Alignas(BENCH_LINE_BYTES) uint64_t allocated, local_freed, left;
};

// Of each doubling from min on as many.
static uint64_t pick_size(uint64_t *random, uint64_t min, uint64_t max) {
  uint64_t doublings = 0;
  while (min << (doublings + 1) <= max) doublings++;
  uint64_t bits = bench_random(random), from = min;
  if (doublings != 0) from <<= bench_pick((uint32_t)bits, doublings);
  uint64_t end = from * 2 <= max ? from * 2 - 1 : max;
  return from + bench_pick((uint32_t)(bits >> 32), end - from + 1);
}

static void work(unsigned index, void *context) {
  struct lane *lane = &((struct lane *)context)[index];
  const struct bench_options options = tool.options;
  const uint64_t iterations = args[ITERATIONS].value, blocks = args[BLOCKS].value;
  const uint64_t min = args[MIN].value, max = args[MAX].value;
  uint64_t random = bench_random_start(options.seed, index), allocated = 0, freed = 0;
  void **places = bench_map(blocks * sizeof *places);
  for (uint64_t i = 0; i < iterations; i++) {
    void **place = &places[bench_pick((uint32_t)bench_random(&random), blocks)];
    if (*place != NULL) {
      bench_release(&options, *place);
      *place = NULL;
      freed++;
    } else {
      *place = bench_obtain(&options, pick_size(&random, min, max));
      allocated++;
    }
  }
  lane->allocated = allocated;
  for (uint64_t i = 0; i < blocks; i++) {
    if (places[i] == NULL) continue;
    bench_release(&options, places[i]);
    lane->left++;
  }
  lane->local_freed = freed + lane->left;
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  const uint64_t threads = args[THREADS].value;
  struct lane *lanes = bench_map(threads * sizeof *lanes);
  struct bench_result result = {
      .threads = (unsigned)threads, .ping_pong_ns = bench_ping_pong_ns(tool.options.pin), .remote_pct = -1};
  bench_team((unsigned)threads, tool.options.pin, work, lanes, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  for (uint64_t i = 0; i < threads; i++) {
    result.allocated += lanes[i].allocated;
    result.local_freed += lanes[i].local_freed;
    result.left_in_slots += lanes[i].left;
  }
  result.ops = result.allocated;
  bench_report(&tool, &result);
  return 0;
}
