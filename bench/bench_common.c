// The benchmarks' harness: failures, memory, the team of threads, the environment's figures.
#define _GNU_SOURCE
#include "bench/bench_common.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

_Noreturn void bench_die(int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s: ", program_invocation_short_name);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  fflush(stdout);
  _exit(status);  // other threads may be running
}

void *bench_map(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) bench_die(1, "mmap of %zu bytes for the harness: %s", bytes, strerror(errno));
  return memory;
}

uint64_t bench_random_start(uint64_t seed, uint64_t index) {
  uint64_t z = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15) + (index + 1) * UINT64_C(0xD1B54A32D192ED03);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);  // splitmix64's finaliser
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return (z ^ (z >> 31)) | 1;
}

// ---- stamps ----

struct stamp {
  uint64_t size, mark;
};
#define STAMP_MAGIC UINT64_C(0xA5C3F00D5EED1E57)

static unsigned char last_byte(const void *object, size_t size) {
  return (unsigned char)(((uintptr_t)object >> 4) ^ size ^ 0x5A);
}

void bench_stamp(void *object, size_t size) {
  struct stamp stamp = {size, (uintptr_t)object ^ size ^ STAMP_MAGIC};
  memcpy(object, &stamp, sizeof stamp);
  if (size > sizeof stamp) ((unsigned char *)object)[size - 1] = last_byte(object, size);
}

void bench_check_stamp(const void *object) {
  struct stamp stamp;
  memcpy(&stamp, object, sizeof stamp);
  if (stamp.mark != ((uintptr_t)object ^ stamp.size ^ STAMP_MAGIC))
    bench_die(1, "object %p: its first bytes were overwritten", object);
  if (stamp.size > sizeof stamp && ((const unsigned char *)object)[stamp.size - 1] != last_byte(object, stamp.size))
    bench_die(1, "object %p of %zu bytes: its last byte was overwritten", object, (size_t)stamp.size);
  *(volatile uint64_t *)((char *)(uintptr_t)object + 8) = 0;  // an object handed out twice fails its second check
}

// ---- clocks and threads ----

static uint64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct bench_clock bench_clock_now(void) {
  return (struct bench_clock){read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_PROCESS_CPUTIME_ID)};
}

// The process's at the first call, which bench_parse makes before there are threads.
static const cpu_set_t *allowed_cpus(void) {
  static cpu_set_t allowed;
  if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    bench_die(1, "sched_getaffinity: %s", strerror(errno));
  return &allowed;
}

unsigned bench_cpus(void) { return (unsigned)CPU_COUNT(allowed_cpus()); }

void bench_pin(unsigned index) {
  unsigned nth = index % bench_cpus();
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, allowed_cpus()) || nth-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    int error = pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    if (error != 0) bench_die(1, "--pin: CPU %d: %s", cpu, strerror(error));
    return;
  }
}

void bench_start_thread(pthread_t *thread, void *(*body)(void *), void *argument) {
  int error = pthread_create(thread, NULL, body, argument);
  if (error != 0) bench_die(1, "a thread: %s", strerror(error));
}

void bench_wait(sem_t *semaphore) {
  while (sem_wait(semaphore) != 0) {  // a signal came
  }
}

struct team {
  bench_body *body;
  void *context;
  bool pin;
  _Atomic unsigned ready;
  _Atomic bool go;
};

struct member {
  struct team *team;
  unsigned index;
  pthread_t thread;
  struct bench_clock end;
};

static void *member_main(void *argument) {
  struct member *member = argument;
  struct team *team = member->team;
  if (team->pin) bench_pin(member->index);
  // Release pairs with bench_team's acquire: the set-up of this thread is over.
  atomic_fetch_add_explicit(&team->ready, 1, memory_order_release);
  // Acquire pairs with bench_team's release: the start time was read.
  while (!atomic_load_explicit(&team->go, memory_order_acquire)) sched_yield();
  team->body(member->index, team->context);
  member->end = bench_clock_now();
  return NULL;
}

void bench_team(unsigned threads, bool pin, bench_body *body, void *context, struct bench_clock *start,
                struct bench_clock *end) {
  struct team team = {.body = body, .context = context, .pin = pin};
  if (pin) bench_pin(0);
  struct member *members = bench_map(threads * sizeof *members);
  for (unsigned i = 0; i < threads; i++) {
    members[i].team = &team;
    members[i].index = i;
    int error = pthread_create(&members[i].thread, NULL, member_main, &members[i]);
    if (error != 0) bench_die(1, "thread %u of %u: %s", i + 1, threads, strerror(error));
  }
  // Acquire and release pair with member_main's.
  while (atomic_load_explicit(&team.ready, memory_order_acquire) < threads) sched_yield();
  *start = bench_clock_now();
  atomic_store_explicit(&team.go, true, memory_order_release);

  *end = *start;
  for (unsigned i = 0; i < threads; i++) {
    pthread_join(members[i].thread, NULL);
    if (members[i].end.wall_ns > end->wall_ns) *end = members[i].end;
  }
  munmap(members, threads * sizeof *members);
}

// ---- ping-pong ----

#define PING_ROUNDS 21
#define PING_TRIPS 100       // round trips per round
#define PING_LIMIT_NS 50000000

struct ping {
  _Alignas(BENCH_LINE_BYTES) _Atomic uint64_t ball;  // even: thread 0's turn
  _Alignas(BENCH_LINE_BYTES) uint64_t round_ns[PING_ROUNDS];
  unsigned rounds;
  uint64_t deadline_ns;
};

// Waits until *ball is `want`; false after the deadline. Acquire pairs with the other side's release in ping_body.
static bool await_ball(struct ping *ping, uint64_t want) {
  for (uint64_t spins = 1; atomic_load_explicit(&ping->ball, memory_order_acquire) != want; spins++)
    if (spins % 4096 == 0 && read_clock(CLOCK_MONOTONIC) > ping->deadline_ns) return false;
  return true;
}

static void ping_body(unsigned index, void *context) {
  struct ping *ping = context;
  uint64_t start = 0;
  for (uint64_t trip = 0; trip < (uint64_t)PING_ROUNDS * PING_TRIPS; trip++) {
    if (!await_ball(ping, 2 * trip + index)) return;
    if (index == 0 && trip % PING_TRIPS == 0) {
      uint64_t now = read_clock(CLOCK_MONOTONIC);
      if (trip > 0) ping->round_ns[ping->rounds++] = now - start;
      start = now;
    }
    atomic_store_explicit(&ping->ball, 2 * trip + index + 1, memory_order_release);  // pairs with await_ball
  }
}

static int compare_ns(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

double bench_ping_pong_ns(bool pin) {
  struct ping ping = {.deadline_ns = read_clock(CLOCK_MONOTONIC) + PING_LIMIT_NS};
  struct bench_clock start, end;
  bench_team(2, pin, ping_body, &ping, &start, &end);
  if (ping.rounds == 0) return 0;
  qsort(ping.round_ns, ping.rounds, sizeof ping.round_ns[0], compare_ns);
  return (double)ping.round_ns[ping.rounds / 2] / PING_TRIPS;
}

// ---- the resident set ----

static void read_file(const char *path, char *text, size_t room) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, room - 1);
  if (fd >= 0) close(fd);
  text[length < 0 ? 0 : length] = '\0';
}

uint64_t bench_peak_rss_kb(void) {
  char text[4096];
  read_file("/proc/self/status", text, sizeof text);
  const char *line = strstr(text, "VmHWM:");
  return line == NULL ? 0 : strtoull(line + 6, NULL, 10);
}

uint64_t bench_rss_kb(void) {
  char text[256];
  read_file("/proc/self/statm", text, sizeof text);
  const char *resident = strchr(text, ' ');  // the second number, in pages
  if (resident == NULL) bench_die(1, "/proc/self/statm cannot be read");
  return strtoull(resident, NULL, 10) * ((uint64_t)sysconf(_SC_PAGESIZE) / 1024);
}
