// mt_remote: threads that allocate, free, and send objects to their neighbour, who frees them.
//
// Each thread has `ws` slots and a ring to the next thread. See the help text for the iteration. Thread i's random
// numbers depend on the seed and i only, so that every allocator gets the same requests; in matched mode, where no
// ring is ever too full, also the same frees.
#define _POSIX_C_SOURCE 200809L
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench_common.h"
#include "bench/ring.h"

enum { THREADS, ITERS, WS, MIN, MAX, REMOTE_PCT, RING_SLOTS, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [THREADS] = {"threads", 16, 1, 4096, "threads"},
    [ITERS] = {"iters", 2000000, 1, UINT64_C(1) << 40, "iterations of each thread"},
    [WS] = {"ws", 400, 1, 1 << 24, "slots of each thread (its working set is half of them)"},
    [MIN] = {"min", 16, 1, 1 << 30, "smallest object in bytes"},
    [MAX] = {"max", 32768, 1, 1 << 30, "largest object in bytes; sizes are uniform"},
    [REMOTE_PCT] = {"remote_pct", 90, 0, 100, "percentage of frees that the next thread does"},
    [RING_SLOTS] = {"ring_slots", 65536, 1, 1 << 24, "capacity of each ring"},
};

static struct bench_tool tool = {
    .name = "mt_remote",
    .about =
        "Each iteration first frees whatever the thread's incoming ring holds, then picks a random slot: an empty one\n"
        "is filled by malloc; a full one is freed here or, remote_pct of the time, sent to the next thread. When that\n"
        "ring is full it is freed here after all (ring_full_fallback) or, matched, the thread drains its own ring and\n"
        "yields until there is room. One operation is one iteration: a malloc, a free, or a send. A thread that is\n"
        "done goes on emptying its ring, with naps, until all are; then the timed phase ends. What is left in slots\n"
        "and rings is freed after it, and counted as left_in_slots (part of local_freed) and left_in_rings (part of\n"
        "remote_received).",
    .args = args,
    .args_count = ARGS_COUNT,
    .takes_matched = true,
};

struct worker {
  void **slots;
  uint64_t allocated, local_freed, remote_sent, remote_received, ring_full_fallback;
};

struct run {
  struct worker *workers;
  struct bench_ring *rings;  // workers[i] sends into rings[i]
  _Atomic unsigned finished;
};

static void work(unsigned index, void *context) {
  struct run *run = context;
  struct worker *worker = &run->workers[index];
  const struct bench_options options = tool.options;
  const unsigned threads = (unsigned)args[THREADS].value;
  const uint64_t iters = args[ITERS].value, ws = args[WS].value, min = args[MIN].value;
  const uint64_t sizes = args[MAX].value - min + 1, remote_pct = args[REMOTE_PCT].value;
  struct bench_ring *out = &run->rings[index], *in = &run->rings[(index + threads - 1) % threads];
  void **slots = worker->slots;
  uint64_t random = bench_random_start(options.seed, index);
  uint64_t allocated = 0, local_freed = 0, sent = 0, received = 0, fallback = 0;
  struct bench_draw next = bench_draw(&random, ws);

  for (uint64_t i = 0; i < iters; i++) {
    received += bench_ring_drain(in, &options);
    struct bench_draw draw = next;
    next = bench_draw(&random, ws);
    void **slot = &slots[draw.slot];
    void *object = *slot;
    if (object == NULL) {
      *slot = bench_obtain(&options, min + bench_pick(draw.choice, sizes));
      allocated++;
      continue;
    }
    *slot = NULL;
    if (bench_pick(draw.choice, 100) >= remote_pct) {
      bench_release(&options, object);
      local_freed++;
    } else if (bench_ring_push(out, object)) {
      sent++;
    } else if (!options.matched) {
      bench_release(&options, object);
      local_freed++;
      fallback++;
    } else {
      do {
        received += bench_ring_drain(in, &options);
        sched_yield();
      } while (!bench_ring_push(out, object));
      sent++;
    }
  }
  // Whoever is done keeps draining, or else the sender, if it is late, would find a ring that nobody empties. Naps
  // leave the CPU to the others.
  atomic_fetch_add_explicit(&run->finished, 1, memory_order_relaxed);
  while (atomic_load_explicit(&run->finished, memory_order_relaxed) < threads) {
    uint64_t got = bench_ring_drain(in, &options);
    received += got;
    if (got != 0) {
      sched_yield();
    } else {
      nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
  }
  worker->allocated = allocated;
  worker->local_freed = local_freed;
  worker->remote_sent = sent;
  worker->remote_received = received;
  worker->ring_full_fallback = fallback;
}

static void add_up(struct bench_result *result, struct run *run) {
  for (unsigned i = 0; i < result->threads; i++) {
    const struct worker *worker = &run->workers[i];
    result->allocated += worker->allocated;
    result->local_freed += worker->local_freed;
    result->remote_sent += worker->remote_sent;
    result->remote_received += worker->remote_received;
    result->ring_full_fallback += worker->ring_full_fallback;
    for (uint64_t slot = 0; slot < args[WS].value; slot++) {
      if (worker->slots[slot] == NULL) continue;
      bench_release(&tool.options, worker->slots[slot]);
      result->left_in_slots++;
    }
    result->left_in_rings += bench_ring_drain(&run->rings[i], &tool.options);
  }
  if (result->allocated + result->local_freed + result->remote_sent != result->ops)
    bench_die(1, "the threads' operations do not add up to threads * iters");
  result->local_freed += result->left_in_slots;
  result->remote_received += result->left_in_rings;
}

// Without arguments it is run by who sees hz4 for the first time, and the first thing that ran was Bazel, whose server is still
// busy: so once more, up to twice, in a process as new.
static void try_again(char **argv) {
  const char *tries = getenv("MT_REMOTE_TRIES");
  if (tries != NULL && strcmp(tries, "2") == 0) return;
  puts("[NOTE] once more\n");
  fflush(stdout);
  setenv("MT_REMOTE_TRIES", tries == NULL ? "1" : "2", 1);
  execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  unsigned threads = (unsigned)args[THREADS].value;
  struct run run = {.workers = bench_map(threads * sizeof(struct worker)),
                    .rings = bench_map(threads * sizeof(struct bench_ring))};
  for (unsigned i = 0; i < threads; i++) {
    run.workers[i].slots = bench_map(args[WS].value * sizeof(void *));
    bench_ring_init(&run.rings[i], args[RING_SLOTS].value);
  }
  struct bench_result result = {.threads = threads,
                                .ops = threads * args[ITERS].value,
                                .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
                                .remote_pct = (int)args[REMOTE_PCT].value};
  bench_team(threads, tool.options.pin, work, &run, &result.start, &result.end);
  result.peak_rss_kb = bench_peak_rss_kb();
  add_up(&result, &run);
  bench_report(&tool, &result);
  if (argc == 1 && bench_invalid_reason(&result, bench_cpus()) != NULL) try_again(argv);
  return 0;
}
