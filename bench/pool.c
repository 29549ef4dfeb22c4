// pool: what threads keep that all allocated at once, freed everything, and sleep; and what a chain of forks of such
// a process comes to.
#define _GNU_SOURCE
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench_common.h"

enum { THREADS, BLOCKS, MIN, MAX, GENERATIONS, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [THREADS] = {"threads", 64, 1, 1 << 16, "threads"},
    [BLOCKS] = {"blocks", 64, 1, 1 << 24, "blocks of each thread"},
    [MIN] = {"min", 16384, 1, 1 << 30, "smallest block in bytes"},
    [MAX] = {"max", 262144, 1, 1 << 30, "largest block in bytes; sizes are uniform"},
    [GENERATIONS] = {"generations", 0, 0, 1000, "processes that are forked, each by the one before"},
};

static struct bench_tool tool = {
    .name = "pool",
    .about = "Each thread allocates its blocks, writes to every page of them, frees them, and sleeps; that is the\n"
             "timed phase. One operation is one block, allocated and freed. [EXTRA] has the resident set when all\n"
             "sleep, and after malloc_trim(0), in KB. With generations, the process forks while its threads sleep;\n"
             "the child runs as many threads of its own that do the same, and forks, and so on: rss_chain_kb is what\n"
             "the last one has.",
    .args = args,
    .args_count = ARGS_COUNT,
};

struct thread {
  struct generation *generation;
  uint64_t index;
  void **blocks;
  pthread_t thread;
};

// The threads of one process.
struct generation {
  sem_t ready, go, slept, leave;
  struct thread *threads;
};

static void *work(void *argument) {
  struct thread *self = argument;
  struct generation *generation = self->generation;
  const uint64_t blocks = args[BLOCKS].value, min = args[MIN].value, sizes = args[MAX].value - min + 1;
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t random = bench_random_start(tool.options.seed, self->index);
  if (tool.options.pin) bench_pin((unsigned)self->index);
  sem_post(&generation->ready);
  bench_wait(&generation->go);
  for (uint64_t i = 0; i < blocks; i++) {
    uint64_t size = min + bench_pick((uint32_t)(bench_random(&random) >> 32), sizes);
    volatile char *block = self->blocks[i] = bench_obtain(&tool.options, size);
    // What is there, so that --verify's stamp stays.
    for (uint64_t at = 0; at < size; at += page) block[at] = block[at];
    block[size - 1] = block[size - 1];
  }
  for (uint64_t i = 0; i < blocks; i++) bench_release(&tool.options, self->blocks[i]);
  sem_post(&generation->slept);
  bench_wait(&generation->leave);
  return NULL;
}

// Returns when all threads of this process sleep.
static void run_threads(struct generation *generation, struct bench_clock *start, struct bench_clock *end) {
  const uint64_t threads = args[THREADS].value;
  sem_t *semaphores[] = {&generation->ready, &generation->go, &generation->slept, &generation->leave};
  for (unsigned i = 0; i < 4; i++) sem_init(semaphores[i], 0, 0);
  generation->threads = bench_map(threads * sizeof(struct thread));
  void **blocks = bench_map(threads * args[BLOCKS].value * sizeof(void *));
  for (uint64_t i = 0; i < threads; i++) {
    struct thread *thread = &generation->threads[i];
    *thread = (struct thread){.generation = generation, .index = i, .blocks = blocks + i * args[BLOCKS].value};
    bench_start_thread(&thread->thread, work, thread);
  }
  for (uint64_t i = 0; i < threads; i++) bench_wait(&generation->ready);
  *start = bench_clock_now();
  for (uint64_t i = 0; i < threads; i++) sem_post(&generation->go);
  for (uint64_t i = 0; i < threads; i++) bench_wait(&generation->slept);
  *end = bench_clock_now();
}

// One more generation, and those after it. The last writes its resident set into the pipe.
static void fork_chain(uint64_t left, int out) {
  pid_t child = fork();
  if (child < 0) bench_die(1, "fork failed with %d generations left", (int)left);
  if (child == 0) {
    struct generation generation;
    struct bench_clock start, end;
    run_threads(&generation, &start, &end);
    uint64_t rss_kb = bench_rss_kb();
    if (left > 1) {
      fork_chain(left - 1, out);
    } else if (write(out, &rss_kb, sizeof rss_kb) != sizeof rss_kb) {
      bench_die(1, "the pipe takes nothing");
    }
    _exit(0);
  }
  int status;
  if (waitpid(child, &status, 0) != child || status != 0) bench_die(1, "a child ended: %#x", (unsigned)status);
}

static uint64_t chain_rss_kb(void) {
  int ends[2];
  uint64_t rss_kb;
  if (pipe(ends) != 0) bench_die(1, "no pipe");
  fork_chain(args[GENERATIONS].value, ends[1]);
  if (read(ends[0], &rss_kb, sizeof rss_kb) != sizeof rss_kb) bench_die(1, "the last generation reported nothing");
  return rss_kb;
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  const uint64_t threads = args[THREADS].value, blocks = threads * args[BLOCKS].value;
  struct bench_result result = {.threads = (unsigned)threads,
                                .ops = blocks,
                                .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
                                .remote_pct = -1,
                                .allocated = blocks,
                                .local_freed = blocks};
  struct generation generation;
  run_threads(&generation, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  struct bench_extra extras[3] = {{"rss_asleep_kb", bench_rss_kb()}};
  result.extras = extras;
  malloc_trim(0);
  extras[1] = (struct bench_extra){"rss_trimmed_kb", bench_rss_kb()};
  result.extras_count = 2;
  if (args[GENERATIONS].value != 0) {
    extras[result.extras_count++] = (struct bench_extra){"rss_chain_kb", chain_rss_kb()};
  }
  for (uint64_t i = 0; i < threads; i++) sem_post(&generation.leave);
  for (uint64_t i = 0; i < threads; i++) pthread_join(generation.threads[i].thread, NULL);
  bench_report(&tool, &result);
  return 0;
}
