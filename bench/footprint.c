// footprint: how much memory a program keeps after it freed, and after it went on with other sizes.
//
// Phases: fill to `live_mb` with sizes min..max, free `free_pct` percent at random, idle, refill to `live_mb` with sizes
// min..max2, free all, idle. The resident set after each phase is the result.
#define _GNU_SOURCE
#include <inttypes.h>
#include <time.h>

#include "bench/bench_common.h"

enum { LIVE_MB, FREE_PCT, MIN, MAX, MAX_2, IDLE_MS, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [LIVE_MB] = {"live_mb", 256, 1, 1 << 16, "MB of objects when full"},
    [FREE_PCT] = {"free_pct", 90, 0, 100, "percent of the objects freed before the sizes shift"},
    [MIN] = {"min", 16, 1, 1 << 20, "smallest object in bytes"},
    [MAX] = {"max", 4096, 16, 1 << 20, "largest object of the first fill in bytes; sizes are uniform"},
    [MAX_2] = {"max2", 32768, 1 << 10, 1 << 20, "largest object of the second"},
    [IDLE_MS] = {"idle_ms", 1000, 0, 60000, "milliseconds of idling"},
};

static struct bench_tool tool = {
    .name = "footprint",
    .about = "Fills with objects, frees most of them at random, idles, fills again with other sizes, frees all, idles.\n"
             "[EXTRA] has the resident set after each phase in KB, the harness's own arrays taken off, and the bytes\n"
             "that were live in KB. Every object is written whole.",
    .args = args,
    .args_count = ARGS_COUNT,
};

struct heap {
  void **objects;
  uint32_t *sizes;
  uint64_t count, room, live_bytes;
  uint64_t random, allocated, freed;
  uint64_t harness_kb;
  struct bench_extra extras[16];
  size_t extras_count;
};

static void fill(struct heap *heap, uint64_t max) {
  while (heap->live_bytes < args[LIVE_MB].value << 20) {
    uint64_t min = args[MIN].value < max ? args[MIN].value : max;
    uint64_t size = min + bench_pick((uint32_t)(bench_random(&heap->random) >> 32), max - min + 1);
    if (heap->count == heap->room) bench_die(1, "more than %" PRIu64 " objects: a larger min, or fewer MB", heap->room);
    heap->objects[heap->count] = bench_obtain(&tool.options, size);
    heap->sizes[heap->count++] = (uint32_t)size;
    heap->live_bytes += size;
    heap->allocated++;
  }
}

// Frees objects at random until `keep` are left.
static void thin(struct heap *heap, uint64_t keep) {
  while (heap->count > keep) {
    uint64_t at = bench_pick((uint32_t)(bench_random(&heap->random) >> 32), heap->count--);
    bench_release(&tool.options, heap->objects[at]);
    heap->live_bytes -= heap->sizes[at];
    heap->objects[at] = heap->objects[heap->count];
    heap->sizes[at] = heap->sizes[heap->count];
    heap->freed++;
  }
}

// Idling is not work: the clock is put on by as much.
static void idle(struct bench_clock *start) {
  struct bench_clock before = bench_clock_now();
  const uint64_t ms = args[IDLE_MS].value;
  nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
  // An allocator without a thread of its own learns of the time only when it is called.
  bench_release(&tool.options, bench_obtain(&tool.options, 16));
  start->wall_ns += bench_clock_now().wall_ns - before.wall_ns;
}

static void note(struct heap *heap, const char *rss_name, const char *live_name) {
  uint64_t rss_kb = bench_rss_kb();
  rss_kb = rss_kb > heap->harness_kb ? rss_kb - heap->harness_kb : 0;
  heap->extras[heap->extras_count++] = (struct bench_extra){rss_name, rss_kb};
  heap->extras[heap->extras_count++] = (struct bench_extra){live_name, heap->live_bytes >> 10};
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  tool.options.touch = BENCH_TOUCH_ALL;
  // Twice as many as of the mean size: room for chance.
  uint64_t room = 2 * (args[LIVE_MB].value << 20) / ((args[MIN].value + args[MAX].value) / 2) + 1024;
  struct heap heap = {.objects = bench_map(room * sizeof(void *)), .sizes = bench_map(room * sizeof(uint32_t)),
                      .room = room};
  heap.random = bench_random_start(tool.options.seed, 0);
  heap.harness_kb = bench_rss_kb();
  struct bench_result result = {.threads = 1, .remote_pct = -1, .start = bench_clock_now()};
  fill(&heap, args[MAX].value);
  note(&heap, "filled_kb", "filled_live_kb");
  thin(&heap, heap.count * (100 - args[FREE_PCT].value) / 100);
  note(&heap, "thinned_kb", "thinned_live_kb");
  idle(&result.start);
  note(&heap, "thinned_idle_kb", "thinned_idle_live_kb");
  fill(&heap, args[MAX_2].value);
  note(&heap, "shifted_kb", "shifted_live_kb");
  thin(&heap, 0);
  note(&heap, "empty_kb", "empty_live_kb");
  idle(&result.start);
  note(&heap, "empty_idle_kb", "empty_idle_live_kb");
  result.end = bench_clock_now();
  result.allocated = heap.allocated;
  result.local_freed = heap.freed;
  result.ops = heap.allocated + heap.freed;
  result.peak_rss_kb = bench_peak_rss_kb();
  result.extras = heap.extras;
  result.extras_count = heap.extras_count;
  bench_report(&tool, &result);
  return 0;
}
