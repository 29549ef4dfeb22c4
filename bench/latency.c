// latency: how long single calls take, while the live set swings.
#define _GNU_SOURCE  // barriers
#include "bench/bench_common.h"
#include "bench/histogram.h"
#include "bench/ticks.h"

enum { THREADS, WAVES, OBJECTS, MIN, MAX, HANDED, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [THREADS] = {"threads", 2, 1, 1024, "threads that work"},
    [WAVES] = {"waves", 20, 1, UINT64_C(1) << 32, "times that the live set falls and has risen"},
    [OBJECTS] = {"objects", 32768, 10, 1 << 24, "objects of a thread at the crest"},
    [MIN] = {"min", 16, 1, 1 << 30, "smallest object in bytes"},
    [MAX] = {"max", 2048, 1, 1 << 30, "largest object in bytes; sizes are uniform"},
    [HANDED] = {"handed_pct", 90, 0, 100, "objects that are handed round, of 100"},
};

static struct bench_tool tool = {
    .name = "latency",
    .about = "Each call of malloc and of free is timed by itself, as is the first write to each block (unless --touch\n"
             "none). The live set rises to its crest and falls to a fifth of it, again and again: on the way up three\n"
             "of four operations allocate, on the way down three of four free, whichever object comes. At each turn\n"
             "the threads wait for each other, and pass what is handed round on to the next, which frees it. One\n"
             "operation is one malloc or one free. [EXTRA] has the percentiles in ns, which are up to 1/64 too large\n"
             "and contain the clock's own time, clock_ns in the middle; _max is the longest of all. With more threads\n"
             "than CPUs, or beside other programs, the longest have a thread that was not running in them. The speed\n"
             "is that of the whole run, with the clock's readings.",
    .args = args,
    .args_count = ARGS_COUNT,
};

#define TROUGH_PART 5  // of the crest, live when the tide is out

struct object {
  void *block;
  uint64_t owner;  // who allocated it
};

// Objects in any order, the live ones first.
struct pool {
  struct object *objects;
  uint64_t live, crest;
};

enum timed { MALLOC, FREE, TOUCH, TIMED };

struct worker {
  uint64_t index, random, allocated, local_freed, remote_freed;
  struct bench_histogram times[TIMED];  // in ticks
};

struct run {
  struct worker *workers;
  struct pool *kept;    // of each thread, for itself
  struct pool *handed;  // of each thread, in the first phase
  pthread_barrier_t turn;
};

static void allocate(struct worker *self, struct pool *pool) {
  size_t size = args[MIN].value + bench_pick((uint32_t)(bench_random(&self->random) >> 32),
                                             args[MAX].value - args[MIN].value + 1);
  uint64_t before = bench_ticks();
  char *block = malloc(size);
  uint64_t after = bench_ticks();
  if (block == NULL) bench_die(1, "malloc(%zu) failed", size);
  bench_histogram_add(&self->times[MALLOC], after - before);
  if (tool.options.touch != BENCH_TOUCH_NONE) {
    before = bench_ticks();
    *(volatile char *)block = 1;
    after = bench_ticks();
    bench_histogram_add(&self->times[TOUCH], after - before);
    if (tool.options.touch == BENCH_TOUCH_ALL) memset(block, 1, size);
  }
  if (tool.options.verify) bench_stamp(block, size);
  pool->objects[pool->live++] = (struct object){block, self->index};
  self->allocated++;
}

static void free_any(struct worker *self, struct pool *pool) {
  struct object *chosen = &pool->objects[bench_pick((uint32_t)(bench_random(&self->random) >> 32), pool->live)];
  struct object object = *chosen;
  *chosen = pool->objects[--pool->live];
  if (tool.options.verify) bench_check_stamp(object.block);
  uint64_t before = bench_ticks();
  free(object.block);
  uint64_t after = bench_ticks();
  bench_histogram_add(&self->times[FREE], after - before);
  *(object.owner == self->index ? &self->local_freed : &self->remote_freed) += 1;
}

// Until both pools are full, or at their troughs. Which one an operation takes is as likely as it has more to go.
static void swing(struct worker *self, struct pool *kept, struct pool *handed, bool rising) {
  for (;;) {
    uint64_t kept_left = rising ? kept->crest - kept->live : kept->live - kept->crest / TROUGH_PART;
    uint64_t handed_left = rising ? handed->crest - handed->live : handed->live - handed->crest / TROUGH_PART;
    if (kept_left + handed_left == 0) return;
    uint64_t bits = bench_random(&self->random);
    struct pool *pool = bench_pick((uint32_t)bits, kept_left + handed_left) < kept_left ? kept : handed;
    bool against = bits >> 62 == 0;
    if (rising != against) {
      if (pool->live < pool->crest) allocate(self, pool);
    } else if (pool->live != 0) {
      free_any(self, pool);
    }
  }
}

static void work(unsigned index, void *context) {
  struct run *run = context;
  struct worker *self = &run->workers[index];
  for (uint64_t phase = 0; phase < 2 * args[WAVES].value + 1; phase++) {
    swing(self, &run->kept[index], &run->handed[(index + phase) % args[THREADS].value], phase % 2 == 0);
    pthread_barrier_wait(&run->turn);
  }
}

// What two readings of the clock are apart with nothing between them, in the middle.
static uint64_t clock_ticks(void) {
  static struct bench_histogram apart;
  for (int i = 0; i < 100000; i++) {
    uint64_t before = bench_ticks();
    bench_histogram_add(&apart, bench_ticks() - before);
  }
  return bench_histogram_percentile(&apart, 500000);
}

static void free_all(struct pool *pool) {
  for (uint64_t i = 0; i < pool->live; i++) bench_release(&tool.options, pool->objects[i].block);
}

static const struct {
  const char *names[TIMED];
  uint64_t millionths;
} percentiles[] = {
    {{"malloc_p50_ns", "free_p50_ns", "touch_p50_ns"}, 500000},
    {{"malloc_p99_ns", "free_p99_ns", "touch_p99_ns"}, 990000},
    {{"malloc_p999_ns", "free_p999_ns", "touch_p999_ns"}, 999000},
    {{"malloc_p9999_ns", "free_p9999_ns", "touch_p9999_ns"}, 999900},
    {{"malloc_max_ns", "free_max_ns", "touch_max_ns"}, 1000000},
};
#define PERCENTILES (sizeof percentiles / sizeof percentiles[0])

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  const uint64_t threads = args[THREADS].value, objects = args[OBJECTS].value;
  const uint64_t handed = objects * args[HANDED].value / 100;
  struct bench_result result = {
      .threads = (unsigned)threads,
      .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
      // What lives for several phases may have come back to who allocated it.
      .remote_pct = -1};
  struct run run = {bench_map(threads * sizeof(struct worker)), bench_map(threads * sizeof(struct pool)),
                    bench_map(threads * sizeof(struct pool)), {{0}}};
  struct object *all = bench_map(threads * objects * sizeof(struct object));
  pthread_barrier_init(&run.turn, NULL, (unsigned)threads);
  for (uint64_t i = 0; i < threads; i++) {
    run.workers[i].index = i;
    run.workers[i].random = bench_random_start(tool.options.seed, i);
    run.handed[i] = (struct pool){all + i * objects, 0, handed};
    run.kept[i] = (struct pool){all + i * objects + handed, 0, objects - handed};
  }
  uint64_t clock = clock_ticks(), first_tick = bench_ticks();
  bench_team((unsigned)threads, tool.options.pin, work, &run, &result.start, &result.end);
  uint64_t last_tick = bench_ticks();
  const double ns_per_tick = (double)(bench_clock_now().wall_ns - result.start.wall_ns) / (double)(last_tick - first_tick);
  result.peak_rss_kb = bench_peak_rss_kb();

  static struct bench_histogram sums[TIMED];
  for (uint64_t i = 0; i < threads; i++) {
    for (int timed = 0; timed < TIMED; timed++) bench_histogram_merge(&sums[timed], &run.workers[i].times[timed]);
    result.allocated += run.workers[i].allocated;
    result.local_freed += run.workers[i].local_freed;
    result.remote_sent += run.workers[i].remote_freed;
    result.left_in_slots += run.kept[i].live + run.handed[i].live;
    free_all(&run.kept[i]);
    free_all(&run.handed[i]);
  }
  result.ops = result.allocated + result.local_freed + result.remote_sent;
  result.local_freed += result.left_in_slots;
  result.remote_received = result.remote_sent;

  struct bench_extra extras[1 + TIMED * PERCENTILES] = {{"clock_ns", (uint64_t)((double)clock * ns_per_tick)}};
  result.extras = extras;
  result.extras_count = 1;
  for (int timed = 0; timed < (tool.options.touch == BENCH_TOUCH_NONE ? TOUCH : TIMED); timed++) {
    for (size_t i = 0; i < PERCENTILES; i++) {
      uint64_t ticks = bench_histogram_percentile(&sums[timed], percentiles[i].millionths);
      extras[result.extras_count++] =
          (struct bench_extra){percentiles[i].names[timed], (uint64_t)((double)ticks * ns_per_tick)};
    }
  }
  bench_report(&tool, &result);
  return 0;
}
