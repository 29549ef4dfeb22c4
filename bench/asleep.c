// asleep: what threads allocated that sleep ever after is freed by others.
#include "bench/bench_common.h"

enum { THREADS, SLEEPERS, OBJECTS, MIN, MAX, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    // More than CPUs, for each waits at times.
    [THREADS] = {"threads", 8, 1, 1024, "threads that work"},
    [SLEEPERS] = {"sleepers", 100, 1, 1 << 16, "threads that sleep in the end, for each of those"},
    [OBJECTS] = {"objects", 2000, 1, 1 << 24, "objects that each of them leaves to its worker"},
    [MIN] = {"min", 16, 1, 1 << 30, "smallest object in bytes"},
    [MAX] = {"max", 32768, 1, 1 << 30, "largest object in bytes; sizes are uniform"},
};

static struct bench_tool tool = {
    .name = "asleep",
    .about = "For each sleeper in turn: it allocates its objects, and sleeps until all is over; its worker frees them in\n"
             "random order, and as many of its own. So nobody is awake to whom those objects could be returned. One\n"
             "operation is one object, allocated and freed.",
    .args = args,
    .args_count = ARGS_COUNT,
};

struct sleeper {
  pthread_t thread;
  uint64_t number;
  void **objects;
  sem_t filled, wake;
};

static void fill(void **objects, uint64_t *random) {
  const uint64_t min = args[MIN].value, sizes = args[MAX].value - min + 1;
  for (uint64_t i = 0; i < args[OBJECTS].value; i++) {
    objects[i] = bench_obtain(&tool.options, min + bench_pick((uint32_t)(bench_random(random) >> 32), sizes));
  }
}

static void free_in_random_order(void **objects, uint64_t *random) {
  for (uint64_t left = args[OBJECTS].value; left != 0; left--) {
    uint64_t i = bench_pick((uint32_t)(bench_random(random) >> 32), left);
    void *object = objects[i];
    objects[i] = objects[left - 1];
    bench_release(&tool.options, object);
  }
}

static void *fill_and_sleep(void *argument) {
  struct sleeper *sleeper = argument;
  uint64_t random = bench_random_start(tool.options.seed, sleeper->number);
  fill(sleeper->objects, &random);
  sem_post(&sleeper->filled);
  bench_wait(&sleeper->wake);
  return NULL;
}

static void work(unsigned index, void *context) {
  struct sleeper *sleepers = (struct sleeper *)context + index * args[SLEEPERS].value;
  uint64_t random = bench_random_start(tool.options.seed, args[THREADS].value * args[SLEEPERS].value + index);
  void **objects = bench_map(args[OBJECTS].value * sizeof(void *));
  for (uint64_t i = 0; i < args[SLEEPERS].value; i++) {
    struct sleeper *sleeper = &sleepers[i];
    sleeper->number = index * args[SLEEPERS].value + i;
    sleeper->objects = objects;
    sem_init(&sleeper->filled, 0, 0);
    sem_init(&sleeper->wake, 0, 0);
    bench_start_thread(&sleeper->thread, fill_and_sleep, sleeper);
    bench_wait(&sleeper->filled);
    free_in_random_order(objects, &random);
    fill(objects, &random);
    free_in_random_order(objects, &random);
  }
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  unsigned threads = (unsigned)args[THREADS].value;
  uint64_t sleepers = threads * args[SLEEPERS].value, objects = sleepers * args[OBJECTS].value;
  struct sleeper *all = bench_map(sleepers * sizeof(struct sleeper));  // those of one worker after those of the other
  struct bench_result result = {.threads = threads,
                                .ops = 2 * objects,
                                .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
                                .remote_pct = 50,
                                .allocated = 2 * objects,
                                .local_freed = objects,
                                .remote_sent = objects,
                                .remote_received = objects};
  bench_team(threads, tool.options.pin, work, all, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  for (uint64_t i = 0; i < sleepers; i++) {
    sem_post(&all[i].wake);
    pthread_join(all[i].thread, NULL);
  }
  bench_report(&tool, &result);
  return 0;
}
