// fork in a program whose other threads allocate, hold stdio's locks, start, end, and fork as well. The child uses the
// heap and stdio, frees what it inherited, and forks once more.
//
// fork_program [forks]: that many under full load, and some more in other company. A child that hangs is ended by its
// alarm, and a parent by its own, which each fork sets anew; neither decides anything in a run that goes well.
//
// Built in two ways: LINKED, where hz4 is its malloc, and as a plain program, into which libhz4.so is preloaded.
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "hz4/env/loaded.h"

enum {
  kForks = 2000,
  kHungSeconds = 120,
  kTopShift = 22,     // sizes from 16 bytes to 4 MiB
  kFilledMax = 1024,  // bytes of a block that are written and checked: the page tables that fork copies stay small
  kShared = 128,      // slots
  kPrivate = 32,
  kStepsEachRound = 200,
  kPrintsEachRound = 20,
  kChildBlocks = 48,
  kChildrenAtOnce = 4,
  kToldEvery = 10000,
  kRssGrowthKibMax = 8 << 10,
  kMappingsGrowthMax = 256,
};

// ---- blocks ----

struct block {
  size_t size;
  unsigned char fill[];
};

static size_t filled_bytes(size_t size) {
  return (size < kFilledMax ? size : kFilledMax) - sizeof(struct block);
}

static struct block *new_block(uint64_t *state) {
  size_t size = random_size(state, kTopShift);
  if (size < sizeof(struct block)) size = sizeof(struct block);
  struct block *block = malloc(size);
  CHECK(block != NULL);
  block->size = size;
  memset(block->fill, (int)(size % 251), filled_bytes(size));
  return block;
}

static void free_block(struct block *block) {
  if (block == NULL) return;
  for (size_t i = 0; i < filled_bytes(block->size); i++) CHECK(block->fill[i] == block->size % 251);
  free(block);
}

// A slot holds a whole block or nothing, at every moment, so that a child may take over what it finds in them.
static _Atomic(struct block *) shared[kShared];

static struct block *exchange(size_t slot, struct block *block) {
  return atomic_exchange_explicit(&shared[slot], block, memory_order_acq_rel);
}

static void free_shared(void) {
  for (size_t i = 0; i < kShared; i++) free_block(exchange(i, NULL));
}

// ---- what the other threads do ----

static atomic_bool stop;
static pthread_mutex_t pace = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t paced = PTHREAD_COND_INITIALIZER;
static unsigned long rounds;

// Each fork begins a round for all, in which a thread does so much and no more: the children need the processors too.
static void begin_round(void) {
  pthread_mutex_lock(&pace);
  rounds++;
  pthread_cond_broadcast(&paced);
  pthread_mutex_unlock(&pace);
}

static bool next_round(unsigned long *seen) {
  pthread_mutex_lock(&pace);
  while (*seen == rounds && !stop) pthread_cond_wait(&paced, &pace);
  *seen = rounds;
  pthread_mutex_unlock(&pace);
  return !stop;
}

static uint64_t seed_of(const void *seed_ptr) {
  return (uint64_t)(uintptr_t)seed_ptr * 0x9e3779b97f4a7c15u + 1;
}

// Frees its own blocks and those of all others.
static void *churn(void *seed_ptr) {
  uint64_t state = seed_of(seed_ptr);
  struct block *mine[kPrivate] = {NULL};
  for (unsigned long step = 0, seen = 0; step % kStepsEachRound != 0 || next_round(&seen); step++) {
    struct block **slot = &mine[next_random(&state) % kPrivate];
    free_block(*slot);
    *slot = new_block(&state);
    free_block(exchange(next_random(&state) % kShared, NULL));
    free_block(exchange(next_random(&state) % kShared, new_block(&state)));
  }
  for (int i = 0; i < kPrivate; i++) free_block(mine[i]);
  return NULL;
}

static void *short_life(void *seed_ptr) {
  uint64_t state = seed_of(seed_ptr);
  struct block *blocks[20];
  for (int i = 0; i < 20; i++) blocks[i] = new_block(&state);
  for (int i = 0; i < 20; i++) free_block(blocks[i]);
  return NULL;
}

static void *start_threads(void *seed_ptr) {
  for (unsigned long seen = 0; next_round(&seen);) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, short_life, seed_ptr) == 0 && pthread_join(thread, NULL) == 0);
  }
  return NULL;
}

static int pipe_ends[2];

// Lines of many lengths, written without stdio; always, for fork may wait for one that waits for the reader.
static void *feed_lines(void *unused) {
  uint64_t state = 7;
  char line[6000];
  memset(line, 'x', sizeof(line));
  while (!stop) {
    size_t length = 1 + next_random(&state) % (sizeof(line) - 1);
    line[length - 1] = '\n';
    CHECK(write(pipe_ends[1], line, length) > 0);  // part of it, where a debugger stopped the thread
    line[length - 1] = 'x';
  }
  close(pipe_ends[1]);
  return unused;
}

// getline waits, and allocates, with the stream's lock held.
static void *read_lines(void *unused) {
  FILE *stream = fdopen(pipe_ends[0], "r");
  CHECK(stream != NULL);
  ssize_t length = 0;
  while (length >= 0) {
    char *line = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 8 && length >= 0; i++) length = getline(&line, &capacity, stream);
    free(line);
  }
  fclose(stream);
  return unused;
}

static void print_to_null(void) {
  FILE *stream = fopen("/dev/null", "w");
  CHECK(stream != NULL);
  fprintf(stream, "%d %s %*.3f\n", 1, "text", 3000, 1.5);
  CHECK(fclose(stream) == 0);
}

// fflush(NULL) takes the lock of the list of streams, which fork takes as well, and then waits for each stream's, which
// getline may hold while it waits for memory.
static void *open_print_close(void *unused) {
  for (unsigned long step = 1, seen = 0; step % kPrintsEachRound != 0 || next_round(&seen); step++) {
    print_to_null();
    if (step % 64 == 0) fflush(NULL);
  }
  return unused;
}

// ---- the forks ----

static pid_t fork_and_run(int (*body)(void)) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child != 0) return child;
  signal(SIGALRM, SIG_DFL);
  alarm(kHungSeconds / 2);
  _exit(body());
}

static void expect_success(pid_t child) {
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  if (WIFSIGNALED(status)) fprintf(stderr, "a child: signal %d; %d is a hang\n", WTERMSIG(status), SIGALRM);
  CHECK(status == 0);
}

static int use_heap(void) {
  uint64_t state = 1;
  struct block *blocks[kChildBlocks];
  for (int i = 0; i < kChildBlocks; i++) blocks[i] = new_block(&state);
  for (int i = 0; i < kChildBlocks; i++) free_block(blocks[i]);
  hz4_check();
  return 0;
}

static int use_inherit_fork(void) {
  use_heap();
  free_shared();
  print_to_null();
  expect_success(fork_and_run(use_heap));
  return 0;
}

static atomic_int forks_left;

// Some children at a time, or else the other threads would leave them little of the processors.
static void *fork_often(void *unused) {
  pid_t children[kChildrenAtOnce] = {0};
  for (int i = 0, left; (left = atomic_fetch_sub(&forks_left, 1)) > 0; i = (i + 1) % kChildrenAtOnce) {
    if (children[i] != 0) expect_success(children[i]);
    alarm(kHungSeconds);
    if (left % kToldEvery == 0) fprintf(stderr, "%d forks to go\n", left);
    begin_round();
    children[i] = fork_and_run(use_inherit_fork);
  }
  for (int i = 0; i < kChildrenAtOnce; i++) {
    if (children[i] != 0) expect_success(children[i]);
  }
  return unused;
}

static void parent_hangs(int number) {
  (void)number;
  check_failed(__FILE__, __LINE__, "the parent goes on");
}

// ---- fork handlers that allocate ----

static bool handlers_on;
static atomic_int handler_calls;

static void handler(void) {
  if (!handlers_on) return;
  handler_calls++;
  uint64_t state = 3;
  for (int i = 0; i < 20; i++) free_block(new_block(&state));
}

static void register_handlers(void) {
  CHECK(pthread_atfork(handler, handler, handler) == 0);
}

// The later a prepare handler was registered, the earlier it runs; the others run in the order of registration. So
// these run with every lock held that a prepare handler of hz4 takes, and those that main registers with none.
__attribute__((constructor(101))) static void register_early_handlers(void) {
  register_handlers();
}

// ---- scenarios ----

struct scenario {
  const char *name;
  int percent;  // of the forks asked for
  int forkers;  // threads that fork at the same time; 0: main itself
  int churners;
  bool with_stdio, with_short_lives, with_handlers;
};

static const struct scenario scenarios[] = {
    {"from main", 60, 0, 4, .with_stdio = true},
    {"from another thread", 20, 1, 4, .with_stdio = true},
    {"from four threads at once", 20, 4, 4, .with_stdio = true},
    {"while threads start and end", 10, 0, 1, .with_short_lives = true},
    {"with handlers that allocate", 5, 0, 2, .with_handlers = true},
};

static pthread_t threads[16];
static int thread_count;

static void start(void *(*body)(void *), void *argument) {
  CHECK(pthread_create(&threads[thread_count++], NULL, body, argument) == 0);
}

static void start_stdio(void) {
  CHECK(pipe(pipe_ends) == 0);
  start(feed_lines, NULL);
  start(read_lines, NULL);
  start(open_print_close, NULL);
}

static void fork_from(int forkers) {
  pthread_t threads_that_fork[4];
  for (int i = 0; i < forkers; i++) CHECK(pthread_create(&threads_that_fork[i], NULL, fork_often, NULL) == 0);
  if (forkers == 0) fork_often(NULL);
  for (int i = 0; i < forkers; i++) CHECK(pthread_join(threads_that_fork[i], NULL) == 0);
}

static void run(const struct scenario *scenario, int forks) {
  malloc_trim(0);
  long rss = rss_kib(), mappings = count_mappings();
  stop = false;
  thread_count = 0;
  for (int i = 0; i < scenario->churners; i++) start(churn, (void *)(uintptr_t)(i + 1));
  if (scenario->with_stdio) start_stdio();
  for (int i = 0; i < 2 && scenario->with_short_lives; i++) start(start_threads, (void *)(uintptr_t)(i + 11));
  handlers_on = scenario->with_handlers;
  handler_calls = 0;
  forks_left = forks;
  fork_from(scenario->forkers);
  CHECK(handler_calls == (handlers_on ? forks * 4 : 0));  // two before, two after, in the parent
  handlers_on = false;
  stop = true;
  begin_round();
  for (int i = 0; i < thread_count; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  free_shared();
  hz4_check();
  // What the other threads did while fork held hz4's locks was not lost.
  malloc_trim(0);
  long rss_growth = rss_kib() - rss, mappings_growth = count_mappings() - mappings;
  printf("%s: %d forks, no hang; RSS %+ld KiB, mappings %+ld\n", scenario->name, forks, rss_growth, mappings_growth);
  fflush(stdout);
  CHECK(rss_growth < kRssGrowthKibMax && mappings_growth < kMappingsGrowthMax);
}

int main(int argc, char **argv) {
  int forks = argc > 1 ? atoi(argv[1]) : kForks;
  CHECK(forks >= 20);
  signal(SIGALRM, parent_hangs);
#ifdef LINKED
  void *block = malloc(1);
  CHECK(hz4_malloc_usable_size(block) == 16);  // aborts on a block of libc's
  free(block);
#endif
  register_handlers();
  for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
    run(&scenarios[i], forks * scenarios[i].percent / 100);
  }
  puts("PASSED");
  return 0;
}
