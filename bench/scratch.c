// scratch: neighbouring objects that their threads free, and write to again (passive false sharing: cache-scratch).
#include "bench/bench_common.h"

enum { THREADS, ROUNDS, WRITES, SIZE, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [THREADS] = {"threads", 2, 1, 1024, "threads"},
    [ROUNDS] = {"rounds", 20000, 1, UINT64_C(1) << 32, "objects that each of them allocates, one after the other"},
    [WRITES] = {"writes", 10000, 1, UINT64_C(1) << 32, "writes to each"},
    [SIZE] = {"size", 8, 1, 1 << 30, "size of all objects in bytes"},
};

static struct bench_tool tool = {
    .name = "scratch",
    .about = "The main thread allocates one object for each thread, side by side. Each thread frees its object, and\n"
             "then allocates one, writes to it, and frees it, again and again. An allocator that gives a thread back\n"
             "what it freed makes the threads write to one cache line. One operation is one write.",
    .args = args,
    .args_count = ARGS_COUNT,
};

static void work(unsigned index, void *context) {
  const struct bench_options options = tool.options;
  const uint64_t rounds = args[ROUNDS].value, writes = args[WRITES].value, size = args[SIZE].value;
  bench_release(&options, ((void **)context)[index]);
  for (uint64_t i = 0; i < rounds; i++) {
    volatile char *object = bench_obtain(&options, size);
    for (uint64_t j = 0; j < writes; j++) *object = *object;  // what is there, so that --verify's stamp stays
    bench_release(&options, (void *)(uintptr_t)object);
  }
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  const uint64_t threads = args[THREADS].value;
  void **objects = bench_map(threads * sizeof(void *));
  for (uint64_t i = 0; i < threads; i++) objects[i] = bench_obtain(&tool.options, args[SIZE].value);
  struct bench_result result = {.threads = (unsigned)threads,
                                .ops = threads * args[ROUNDS].value * args[WRITES].value,
                                .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
                                .remote_pct = -1};
  result.local_freed = threads * args[ROUNDS].value;
  result.remote_sent = result.remote_received = threads;
  result.allocated = result.local_freed + threads;
  bench_team(result.threads, tool.options.pin, work, objects, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  bench_report(&tool, &result);
  return 0;
}
