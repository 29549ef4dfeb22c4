// server: requests that some threads build, and others answer and free, or keep.
//
// A request wanders: an acceptor allocates its blocks, a worker, most often woken for it, frees most of them and adds
// those of the answer, and what is kept is freed by whoever's request takes its place. Most workers sleep.
#include <stdatomic.h>

#include "bench/bench_common.h"

enum { WORKERS, REQUESTS, KEPT, MIN, MAX, ARGS_COUNT };

static struct bench_arg args[ARGS_COUNT] = {
    [WORKERS] = {"workers", 64, 1, 1 << 16, "threads that answer"},
    [REQUESTS] = {"requests", 60000, 1, UINT64_C(1) << 32, "requests in all"},
    [KEPT] = {"kept", 5000, 1, 1 << 24, "requests that the cache holds"},
    [MIN] = {"min", 16, 1, 1 << 20, "smallest block in bytes"},
    [MAX] = {"max", 1 << 20, 1, 1 << 20, "largest block in bytes; most are small"},
};

static struct bench_tool tool = {
    .name = "server",
    .about = "4 acceptors build requests of 10 to 40 blocks, and hand each to a worker at random, which sleeps when\n"
             "it has none; at most 64 requests are under way. The worker frees three of four blocks and allocates half\n"
             "as many for the answer. Of four requests it frees three, and puts one into the cache in the place of\n"
             "another, which it frees. A block has 1 KB in the mean: 85% up to 512 B, 14% up to 8 KB, 0.95% up to\n"
             "64 KB, the rest up to 1 MB. One operation is one block, allocated and freed. [EXTRA] has what the\n"
             "cache's blocks hold, and the resident set when all is answered and all threads sleep, when the main\n"
             "thread has freed the cache, and when all threads have ended, in KB, the harness's own arrays taken off.",
    .args = args,
    .args_count = ARGS_COUNT,
};

#define ACCEPTORS 4
#define UNDER_WAY 64  // so that acceptors do not run ahead, and the backlog does not count as the allocator's memory
#define FEWEST_BLOCKS 10
#define MOST_BLOCKS 40

// Sizes as programs have them, each octave of a band as likely as the others.
static const struct {
  uint32_t weight;  // of 10,000
  uint32_t low, octaves;
} bands[] = {{8500, 16, 5}, {1400, 512, 4}, {95, 8192, 3}, {5, 65536, 4}};

struct block {
  void *object;
  uint32_t size;
  uint32_t thread;  // that allocated it
};

struct request {
  struct request *next;  // in a queue, or among the unused
  bool keep;
  unsigned count;
  struct block blocks[MOST_BLOCKS];
};

struct thread {
  struct run *run;
  unsigned index;  // acceptors before workers
  uint64_t random, allocated, local_freed, remote_freed;
  pthread_t thread;
  // A worker's queue, under lock.
  pthread_mutex_t lock;
  pthread_cond_t filled;
  struct request *first, **end;
  bool over;  // no more requests will come
};

struct run {
  struct thread *threads;
  _Atomic(struct request *) *cache;
  sem_t ready, go, answered, leave;
  _Atomic uint64_t unanswered;
  sem_t room;  // counts requests that may still be under way; there are as many unused ones
  pthread_mutex_t lock;
  struct request *unused;  // under lock
};

// ---- blocks ----

static uint64_t draw_size(uint64_t *random) {
  uint64_t bits = bench_random(random), band = 0;
  uint64_t weight = bench_pick((uint32_t)bits, 10000);
  while (weight >= bands[band].weight) weight -= bands[band++].weight;
  uint64_t low = (uint64_t)bands[band].low << bench_pick((uint32_t)(bits >> 32), bands[band].octaves);
  uint64_t size = low + 1 + bench_pick((uint32_t)(bench_random(random) >> 32), low);
  if (size < args[MIN].value) return args[MIN].value;
  return size < args[MAX].value ? size : args[MAX].value;
}

static void add_blocks(struct thread *self, struct request *request, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    uint64_t size = draw_size(&self->random);
    request->blocks[request->count++] =
        (struct block){bench_obtain(&tool.options, size), (uint32_t)size, self->index};
  }
  self->allocated += count;
}

static void free_block(struct thread *self, const struct block *block) {
  bench_release(&tool.options, block->object);
  *(block->thread == self->index ? &self->local_freed : &self->remote_freed) += 1;
}

static void free_blocks(struct thread *self, struct request *request) {
  for (unsigned i = 0; i < request->count; i++) free_block(self, &request->blocks[i]);
  request->count = 0;
}

// ---- requests on their way ----

static struct request *take_unused(struct run *run) {
  bench_wait(&run->room);
  pthread_mutex_lock(&run->lock);
  struct request *request = run->unused;
  run->unused = request->next;
  pthread_mutex_unlock(&run->lock);
  return request;
}

static void add_unused(struct run *run, struct request *request) {
  pthread_mutex_lock(&run->lock);
  request->next = run->unused;
  run->unused = request;
  pthread_mutex_unlock(&run->lock);
}

// NULL: no more will come.
static void hand_to(struct thread *worker, struct request *request) {
  pthread_mutex_lock(&worker->lock);
  if (request != NULL) {
    request->next = NULL;
    *worker->end = request;
    worker->end = &request->next;
  } else {
    worker->over = true;
  }
  pthread_mutex_unlock(&worker->lock);
  pthread_cond_signal(&worker->filled);
}

static struct request *take(struct thread *self) {
  pthread_mutex_lock(&self->lock);
  while (self->first == NULL && !self->over) pthread_cond_wait(&self->filled, &self->lock);
  struct request *request = self->first;
  if (request != NULL) self->first = request->next;
  if (self->first == NULL) self->end = &self->first;
  pthread_mutex_unlock(&self->lock);
  return request;
}

// ---- the threads ----

static void begin(struct thread *self) {
  if (tool.options.pin) bench_pin(self->index);
  sem_post(&self->run->ready);
}

static void *accept_requests(void *argument) {
  struct thread *self = argument;
  struct run *run = self->run;
  begin(self);
  bench_wait(&run->go);
  for (uint64_t i = self->index; i < args[REQUESTS].value; i += ACCEPTORS) {
    struct request *request = take_unused(run);
    // By turns, not by chance: so the seed alone decides how many blocks there are.
    request->keep = i / ACCEPTORS % 4 == 0;
    uint32_t bits = (uint32_t)(bench_random(&self->random) >> 32);
    add_blocks(self, request, FEWEST_BLOCKS + (unsigned)bench_pick(bits, MOST_BLOCKS - FEWEST_BLOCKS + 1));
    bits = (uint32_t)(bench_random(&self->random) >> 32);
    hand_to(&run->threads[ACCEPTORS + bench_pick(bits, args[WORKERS].value)], request);
  }
  bench_wait(&run->leave);
  return NULL;
}

static void answer(struct thread *self, struct request *request) {
  unsigned count = request->count, left = 0;
  for (unsigned i = 0; i < count; i++) {
    if (i % 4 == 0) {
      request->blocks[left++] = request->blocks[i];
    } else {
      free_block(self, &request->blocks[i]);
    }
  }
  request->count = left;
  add_blocks(self, request, count / 2);
}

static void *answer_requests(void *argument) {
  struct thread *self = argument;
  struct run *run = self->run;
  begin(self);
  for (struct request *request; (request = take(self)) != NULL;) {
    answer(self, request);
    if (request->keep) {
      uint64_t place = bench_pick((uint32_t)(bench_random(&self->random) >> 32), args[KEPT].value);
      // Publishes this request to who replaces it, and acquires the old one, by the same exchange.
      request = atomic_exchange_explicit(&run->cache[place], request, memory_order_acq_rel);
    }
    if (request != NULL) {
      free_blocks(self, request);
      add_unused(run, request);
    }
    sem_post(&run->room);
    // Each releases, and the last acquires, all that was done; its post passes that on to the main thread.
    if (atomic_fetch_sub_explicit(&run->unanswered, 1, memory_order_acq_rel) == 1) sem_post(&run->answered);
  }
  return NULL;
}

// ---- before and after ----

// Returns the KB that the harness has for itself.
static uint64_t prepare(struct run *run) {
  unsigned threads = ACCEPTORS + (unsigned)args[WORKERS].value;
  uint64_t requests = UNDER_WAY + args[KEPT].value;
  size_t bytes[] = {threads * sizeof(struct thread), args[KEPT].value * sizeof(void *),
                    requests * sizeof(struct request)};
  *run = (struct run){.threads = bench_map(bytes[0]), .cache = bench_map(bytes[1]), .unanswered = args[REQUESTS].value};
  struct request *all = bench_map(bytes[2]);
  for (uint64_t i = 0; i < requests; i++) all[i].next = i == 0 ? NULL : &all[i - 1];
  run->unused = &all[requests - 1];
  pthread_mutex_init(&run->lock, NULL);
  sem_init(&run->room, 0, UNDER_WAY);
  sem_t *zero[] = {&run->ready, &run->go, &run->answered, &run->leave};
  for (unsigned i = 0; i < 4; i++) sem_init(zero[i], 0, 0);
  for (unsigned i = 0; i < threads; i++) {
    struct thread *thread = &run->threads[i];
    thread->run = run;
    thread->index = i;
    thread->random = bench_random_start(tool.options.seed, i);
    thread->end = &thread->first;
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->filled, NULL);
    bench_start_thread(&thread->thread, i < ACCEPTORS ? accept_requests : answer_requests, thread);
  }
  for (unsigned i = 0; i < threads; i++) bench_wait(&run->ready);
  return (bytes[0] + bytes[1] + bytes[2]) >> 10;
}

static uint64_t resident_kb(uint64_t harness_kb) {
  uint64_t rss_kb = bench_rss_kb();
  return rss_kb > harness_kb ? rss_kb - harness_kb : 0;
}

static uint64_t kept_bytes(const struct run *run) {
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < args[KEPT].value; i++) {
    const struct request *request = atomic_load_explicit(&run->cache[i], memory_order_relaxed);
    for (unsigned j = 0; request != NULL && j < request->count; j++) bytes += request->blocks[j].size;
  }
  return bytes;
}

static void end_threads(struct run *run) {
  for (unsigned i = 0; i < ACCEPTORS; i++) sem_post(&run->leave);
  for (unsigned i = 0; i < args[WORKERS].value; i++) hand_to(&run->threads[ACCEPTORS + i], NULL);
  for (unsigned i = 0; i < ACCEPTORS + args[WORKERS].value; i++) pthread_join(run->threads[i].thread, NULL);
}

int main(int argc, char **argv) {
  bench_parse(&tool, argc, argv);
  const uint64_t workers = args[WORKERS].value;
  struct bench_result result = {
      // As in asleep, those that have work at any time: the acceptors, or who answers what they wait for.
      .threads = workers < ACCEPTORS ? (unsigned)workers : ACCEPTORS,
      .ping_pong_ns = bench_ping_pong_ns(tool.options.pin),
      // With few workers, one often replaces what it kept itself.
      .remote_pct = workers < 8 ? -1 : 75};
  struct run run;
  uint64_t harness_kb = prepare(&run);
  result.start = bench_clock_now();
  for (unsigned i = 0; i < ACCEPTORS; i++) sem_post(&run.go);
  bench_wait(&run.answered);
  result.end = bench_clock_now();
  result.peak_rss_kb = bench_peak_rss_kb();

  struct bench_extra extras[] = {{"kept_kb", kept_bytes(&run) >> 10},
                                 {"rss_end_kb", resident_kb(harness_kb)},
                                 {"rss_dropped_kb", 0},
                                 {"rss_ended_kb", 0}};
  struct thread self = {.index = UINT32_MAX};  // the main thread, which allocated nothing
  for (uint64_t i = 0; i < args[KEPT].value; i++) {
    struct request *request = atomic_load_explicit(&run.cache[i], memory_order_relaxed);
    if (request != NULL) free_blocks(&self, request);
  }
  extras[2].value = resident_kb(harness_kb);
  end_threads(&run);
  extras[3].value = resident_kb(harness_kb);

  result.left_in_rings = self.remote_freed;
  result.remote_sent = self.remote_freed;
  for (unsigned i = 0; i < ACCEPTORS + workers; i++) {
    result.allocated += run.threads[i].allocated;
    result.local_freed += run.threads[i].local_freed;
    result.remote_sent += run.threads[i].remote_freed;
  }
  result.remote_received = result.remote_sent;
  result.ops = result.allocated;
  result.extras = extras;
  result.extras_count = sizeof extras / sizeof extras[0];
  bench_report(&tool, &result);
  return 0;
}
