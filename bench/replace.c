// replace: threads that replace random ones of their blocks, and hand them on when they end (as larson does).
#include "bench/bench_common.h"

enum { THREADS, ITERATIONS, OBJECTS, MIN, MAX, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [THREADS] = {"threads", 2, 1, 1024, "threads at once"},
    [ITERATIONS] = {"iterations", 20000000, 1, UINT64_C(1) << 40, "replacements for each of those"},
    [OBJECTS] = {"objects", 5000, 1, 1 << 24, "objects of each of them"},
    [MIN] = {"min", 8, 1, 1 << 30, "smallest object in bytes"},
    [MAX] = {"max", 1000, 1, 1 << 30, "largest object in bytes; sizes are uniform"},
};

static struct bench_tool tool = {
    .name = "replace",
    .about = "Each iteration picks a random object of the thread's, frees it, and allocates another in its place.\n"
             "After a tenth of the iterations the thread hands its objects to a new one, and ends. One operation is\n"
             "one iteration. The first objects are allocated, and the last ones freed, outside of the timed phase.",
    .args = args,
    .args_count = ARGS_COUNT,
};

#define LIVES 10

struct slot {
  void *object;
  uint64_t life;  // the thread that allocated it
};

struct lane {
  unsigned index;
  uint64_t life;  // 1..LIVES; 0 is the main thread
  struct slot *slots;
  uint64_t local_freed, remote_freed;
};

static void *live(void *argument) {
  struct lane *lane = argument;
  const struct bench_options options = tool.options;
  const uint64_t objects = args[OBJECTS].value, min = args[MIN].value, sizes = args[MAX].value - min + 1;
  const uint64_t iterations = args[ITERATIONS].value, life = lane->life;
  uint64_t random = bench_random_start(options.seed, lane->index * (LIVES + 1) + life), remote = 0;
  struct slot *slots = lane->slots;
  // What does not divide by ten is spread.
  const uint64_t mine = iterations * life / LIVES - iterations * (life - 1) / LIVES;
  for (uint64_t i = 0; i < mine; i++) {
    struct bench_draw draw = bench_draw(&random, objects);
    struct slot *slot = &slots[draw.slot];
    remote += slot->life != life;
    bench_release(&options, slot->object);
    *slot = (struct slot){bench_obtain(&options, min + bench_pick(draw.choice, sizes)), life};
  }
  lane->remote_freed += remote;
  lane->local_freed += mine - remote;
  return NULL;
}

static void work(unsigned index, void *context) {
  struct lane *lane = &((struct lane *)context)[index];
  for (lane->life = 1; lane->life <= LIVES; lane->life++) {
    pthread_t thread;
    bench_start_thread(&thread, live, lane);
    pthread_join(thread, NULL);
  }
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  const uint64_t lanes_count = args[THREADS].value, objects = args[OBJECTS].value;
  const uint64_t min = args[MIN].value, sizes = args[MAX].value - min + 1;
  struct lane *lanes = bench_map(lanes_count * sizeof *lanes);
  for (unsigned i = 0; i < lanes_count; i++) {
    lanes[i] = (struct lane){.index = i, .slots = bench_map(objects * sizeof(struct slot))};
    uint64_t random = bench_random_start(tool.options.seed, i * (LIVES + 1));
    for (uint64_t j = 0; j < objects; j++) {
      uint32_t bits = (uint32_t)(bench_random(&random) >> 32);
      lanes[i].slots[j].object = bench_obtain(&tool.options, min + bench_pick(bits, sizes));
    }
  }
  struct bench_result result = {.threads = (unsigned)lanes_count,
                                .ops = lanes_count * args[ITERATIONS].value,
                                .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
                                .remote_pct = -1,
                                .allocated = lanes_count * (args[ITERATIONS].value + objects)};
  bench_team(result.threads, tool.options.pin, work, lanes, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  for (unsigned i = 0; i < lanes_count; i++) {
    for (uint64_t j = 0; j < objects; j++) bench_release(&tool.options, lanes[i].slots[j].object);
    result.local_freed += lanes[i].local_freed;
    result.remote_sent += lanes[i].remote_freed;
  }
  result.left_in_slots = lanes_count * objects;
  result.local_freed += result.left_in_slots;
  result.remote_received = result.remote_sent;
  bench_report(&tool, &result);
  return 0;
}
