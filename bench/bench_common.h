// What the benchmarks share: arguments, random numbers, a team of threads behind a start barrier, the lines they print.
//
// The harness itself allocates with mmap only, before the clock runs, so that the measured allocator sees the
// benchmark's objects and nothing else. Every failure is one line on stderr: exit 2 for bad arguments, 1 otherwise.
#ifndef HZ4_BENCH_BENCH_COMMON_H_
#define HZ4_BENCH_BENCH_COMMON_H_

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_LINE_BYTES 128  // two cache lines: the adjacent-line prefetcher pairs them

_Noreturn void bench_die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

// ---- arguments ----

// One positional argument; value holds the default until bench_parse. The names "min", "max", "size" and "seed" are
// special: min <= max is checked, --lane sets both, a tool of one "size" has neither, --seed sets "seed".
struct bench_arg {
  const char *name;
  uint64_t value;
  uint64_t low, high;  // inclusive
  const char *help;
};

enum bench_touch { BENCH_TOUCH_NONE, BENCH_TOUCH_FIRST, BENCH_TOUCH_ALL };
extern const char *const bench_touch_names[];

struct bench_options {
  enum bench_touch touch;
  bool matched, pin, verify;
  uint64_t seed;
  int json_fd;  // -1: no --json
};

struct bench_tool {
  const char *name;
  const char *about;  // --help's text between the usage line and the arguments
  struct bench_arg *args;
  size_t args_count;
  bool takes_matched;  // the word "matched" may follow the last positional argument; without any, see bench_parse
  struct bench_options options;
};

// Fills args and options, prints [BENCH_ARGS]; exits for --help and for bad arguments, and where another malloc was
// preloaded than the one that is linked in. A tool that takes "matched", and is given no positional argument, is
// matched, with small rings, where its threads are more than the CPUs; a line [NOTE] says so.
void bench_parse(struct bench_tool *tool, int argc, char **argv);

// ---- memory and random numbers ----

// Zeroed pages, faulted in. Never fails.
void *bench_map(size_t bytes);

// The state of stream `index` of `seed`: never 0.
uint64_t bench_random_start(uint64_t seed, uint64_t index);

// xorshift64*
static inline uint64_t bench_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * UINT64_C(0x2545F4914F6CDD1D);
}

// Maps 32 random bits onto 0 .. n-1.
static inline uint64_t bench_pick(uint32_t random, uint64_t n) { return (random * n) >> 32; }

// What an iteration decides by: a slot, and 32 bits for a size or for how to free. Drawn one iteration ahead: whether
// a slot is full is a coin toss, and this way the CPU has the next address at hand when it mispredicted that.
struct bench_draw {
  uint64_t slot;
  uint32_t choice;
};

static inline struct bench_draw bench_draw(uint64_t *state, uint64_t slots) {
  uint64_t bits = bench_random(state);
  return (struct bench_draw){bench_pick((uint32_t)bits, slots), (uint32_t)(bits >> 32)};
}

// ---- objects ----

void bench_stamp(void *object, size_t size);
void bench_check_stamp(const void *object);

// malloc as the options want it: touched, and with --verify stamped. Out of memory ends the program.
static inline void *bench_obtain(const struct bench_options *options, size_t size) {
  void *object = malloc(size);
  if (object == NULL) bench_die(1, "malloc(%zu) failed", size);
  if (options->touch == BENCH_TOUCH_FIRST) *(volatile char *)object = 1;
  if (options->touch == BENCH_TOUCH_ALL) memset(object, 1, size);
  if (options->verify) bench_stamp(object, size);
  return object;
}

static inline void bench_release(const struct bench_options *options, void *object) {
  if (options->verify) bench_check_stamp(object);
  free(object);
}

// ---- running and reporting ----

struct bench_clock {
  uint64_t wall_ns, cpu_ns;  // CLOCK_MONOTONIC; CPU time of all threads
};
struct bench_clock bench_clock_now(void);

// How many CPUs the process may use, by the affinity it started with.
unsigned bench_cpus(void);

// Puts the calling thread on the index-th CPU, cyclically, of those the process started with.
void bench_pin(unsigned index);

// Runs body(0..threads-1, context), one thread each. The clock starts when all of them stand at the barrier and ends
// when the last body returns.
typedef void bench_body(unsigned index, void *context);
void bench_team(unsigned threads, bool pin, bench_body *body, void *context, struct bench_clock *start,
                struct bench_clock *end);

// A thread of the caller's own, beside a team or instead of one. Never fails.
void bench_start_thread(pthread_t *thread, void *(*body)(void *), void *argument);
void bench_wait(sem_t *semaphore);

// One round trip of a cache line between two threads; 0 when they never met within the time allowed (50 ms).
double bench_ping_pong_ns(bool pin);

// VmHWM, not getrusage: ru_maxrss survives exec, so that a big parent would show.
uint64_t bench_peak_rss_kb(void);

// The resident set now. Allocates nothing.
uint64_t bench_rss_kb(void);

// A figure of one benchmark's own. compare has a column for those named rss_..._kb.
struct bench_extra {
  const char *name;
  uint64_t value;
};

struct bench_result {
  unsigned threads;
  uint64_t ops;
  struct bench_clock start, end;
  double ping_pong_ns;
  uint64_t peak_rss_kb;
  // Objects. allocated == local_freed + remote_received must hold at the end. local_freed includes ring_full_fallback
  // and left_in_slots; remote_received includes left_in_rings. The left_ ones were freed after the clock stopped.
  uint64_t allocated, local_freed, remote_sent, remote_received, ring_full_fallback, left_in_slots, left_in_rings;
  int remote_pct;  // the target; -1: nothing is sent
  const struct bench_extra *extras;  // on a line [EXTRA], where there are any
  size_t extras_count;
};

// Why a run says more about the machine or the rings than about the allocator, on so many CPUs; NULL if it does not.
// The text is overwritten by the next call.
const char *bench_invalid_reason(const struct bench_result *result, unsigned cpus);

// Checks the counts, prints ops/s, [EFFECTIVE_REMOTE], [STATS], [ENV] and what it comes to, and writes --json's file.
void bench_report(const struct bench_tool *tool, const struct bench_result *result);

#endif  // HZ4_BENCH_BENCH_COMMON_H_
