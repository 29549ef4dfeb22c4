// The benchmarks' result lines, and the same as JSON.
#define _GNU_SOURCE
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/bench_common.h"
#include "bench/bench_malloc.h"

// A run that misses one of these is not to be ranked.
#define MAX_FALLBACK_PCT 0.10
#define MAX_REMOTE_DEVIATION_PCT 0.5
#define MIN_CPU_SHARE 0.85  // of the CPUs that the threads could use: 1.7 of 2

struct count {
  const char *name;
  uint64_t value;
  bool share;  // print its share of all frees too
};

// 1234567 -> "1,234,567"
static const char *with_commas(uint64_t value, char buffer[32]) {
  char *at = buffer + 31;
  *at = '\0';
  for (int digits = 0; digits == 0 || value != 0; digits++, value /= 10) {
    if (digits != 0 && digits % 3 == 0) *--at = ',';
    *--at = (char)('0' + value % 10);
  }
  return at;
}

static double percent(uint64_t part, uint64_t whole) { return whole == 0 ? 0 : 100.0 * (double)part / (double)whole; }

struct figures {
  double seconds, ops_per_s, cpus, remote_pct, fallback_pct;
};

static struct figures figures_of(const struct bench_result *result) {
  double seconds = (double)(result->end.wall_ns - result->start.wall_ns) / 1e9;
  double cpu_seconds = (double)(result->end.cpu_ns - result->start.cpu_ns) / 1e9;
  uint64_t timed_frees = result->remote_sent + result->local_freed - result->left_in_slots;
  return (struct figures){
      .seconds = seconds,
      .ops_per_s = seconds > 0 ? (double)result->ops / seconds : 0,
      .cpus = seconds > 0 ? cpu_seconds / seconds : 0,
      .remote_pct = percent(result->remote_sent, timed_frees),
      .fallback_pct = percent(result->ring_full_fallback, result->remote_sent + result->ring_full_fallback),
  };
}

const char *bench_invalid_reason(const struct bench_result *result, unsigned cpus) {
  static char text[128];
  const struct figures figures = figures_of(result);
  const unsigned usable = result->threads < cpus ? result->threads : cpus;
  if (figures.fallback_pct > MAX_FALLBACK_PCT) {
    snprintf(text, sizeof text, "%.3g%% of sends met a full ring (%.2f%% may)", figures.fallback_pct,
             MAX_FALLBACK_PCT);
  } else if (result->remote_pct >= 0 && fabs(figures.remote_pct - result->remote_pct) > MAX_REMOTE_DEVIATION_PCT) {
    snprintf(text, sizeof text, "%.1f%% of frees were remote instead of %d%%", figures.remote_pct, result->remote_pct);
  } else if (figures.cpus < MIN_CPU_SHARE * usable) {
    double shown = (double)(uint64_t)(figures.cpus * 100) / 100;  // not rounded up to what is needed
    snprintf(text, sizeof text, "it ran on %.2f of %u CPUs (%.2f needed)", shown, usable, MIN_CPU_SHARE * usable);
  } else {
    return NULL;
  }
  return text;
}

static void print_outcome(const struct bench_result *result, double ops_per_s, const char *invalid) {
  char buffer[32];
  printf("%s%s: %s, ", invalid == NULL ? "valid" : "INVALID, for ", invalid == NULL ? "" : invalid,
         bench_malloc_name());
  if (ops_per_s >= 1e6) {
    printf("%.1f million", ops_per_s / 1e6);
  } else {
    printf("%s", with_commas((uint64_t)ops_per_s, buffer));
  }
  printf(" operations a second, peak memory %.0f MB\n", (double)result->peak_rss_kb / 1024);
}

static void json_string(int fd, const char *text) {
  dprintf(fd, "\"");
  for (; *text != '\0'; text++) {
    unsigned char c = (unsigned char)*text;
    dprintf(fd, c == '"' || c == '\\' ? "\\%c" : c < 0x20 ? "\\u%04x" : "%c", c);
  }
  dprintf(fd, "\"");
}

void bench_report(const struct bench_tool *tool, const struct bench_result *result) {
  if (result->allocated != result->local_freed + result->remote_received ||
      result->remote_sent != result->remote_received)
    bench_die(1, "counts do not add up: allocated %" PRIu64 ", freed %" PRIu64 " locally, sent %" PRIu64
              ", received %" PRIu64, result->allocated, result->local_freed, result->remote_sent,
              result->remote_received);

  const struct figures figures = figures_of(result);
  const char *library = bench_malloc_where(), *invalid = bench_invalid_reason(result, bench_cpus());
  const struct count counts[] = {
      {"allocated", result->allocated, false},         {"local_freed", result->local_freed, true},
      {"remote_sent", result->remote_sent, true},      {"remote_received", result->remote_received, false},
      {"ring_full_fallback", result->ring_full_fallback, false},
      {"overflow_sent", 0, false},                     {"overflow_received", 0, false},
      {"left_in_slots", result->left_in_slots, false}, {"left_in_rings", result->left_in_rings, false},
  };
  const size_t counts_count = sizeof counts / sizeof counts[0];

  printf("ops/s=%.0f seconds=%.6f ops=%" PRIu64 " threads=%u\n", figures.ops_per_s, figures.seconds, result->ops,
         result->threads);
  if (result->remote_pct >= 0)
    printf("[EFFECTIVE_REMOTE] target=%.1f%% actual=%.1f%% fallback_rate=%.2f%%\n", (double)result->remote_pct,
           figures.remote_pct, figures.fallback_pct);
  printf("[STATS]");
  for (size_t i = 0; i < counts_count; i++) {
    char buffer[32];
    printf(" %s=%s", counts[i].name, with_commas(counts[i].value, buffer));
    if (counts[i].share) printf(" (%.0f%%)", percent(counts[i].value, result->allocated));
  }
  if (result->extras_count != 0) printf("\n[EXTRA]");
  for (size_t i = 0; i < result->extras_count; i++)
    printf(" %s=%" PRIu64, result->extras[i].name, result->extras[i].value);
  printf("\n[ENV] ping_pong_ns=%.1f cpus_delivered=%.2f peak_rss_kb=%" PRIu64 " malloc=%s\n", result->ping_pong_ns,
         figures.cpus, result->peak_rss_kb, library);
  print_outcome(result, figures.ops_per_s, invalid);
  fflush(stdout);

  int fd = tool->options.json_fd;
  if (fd < 0) return;
  dprintf(fd, "{\"bench\": \"%s\", \"args\": {", tool->name);
  for (size_t i = 0; i < tool->args_count; i++)
    dprintf(fd, "\"%s\": %" PRIu64 ", ", tool->args[i].name, tool->args[i].value);
  dprintf(fd, "\"matched\": %d, \"touch\": \"%s\", \"pin\": %d, \"verify\": %d}, \"seed\": %" PRIu64 ", ",
          tool->options.matched, bench_touch_names[tool->options.touch], tool->options.pin, tool->options.verify,
          tool->options.seed);
  dprintf(fd, "\"threads\": %u, \"ops\": %" PRIu64 ", \"seconds\": %.9f, \"ops_per_s\": %.3f, ", result->threads,
          result->ops, figures.seconds, figures.ops_per_s);
  if (result->remote_pct >= 0)
    dprintf(fd, "\"remote_target_pct\": %d, \"remote_actual_pct\": %.4f, \"fallback_pct\": %.4f, ", result->remote_pct,
            figures.remote_pct, figures.fallback_pct);
  dprintf(fd, "\"stats\": {");
  for (size_t i = 0; i < counts_count; i++)
    dprintf(fd, "%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", counts[i].name, counts[i].value);
  dprintf(fd, "}, \"extra\": {");
  for (size_t i = 0; i < result->extras_count; i++)
    dprintf(fd, "%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", result->extras[i].name, result->extras[i].value);
  dprintf(fd, "}, \"ping_pong_ns\": %.1f, \"cpus_delivered\": %.4f, \"peak_rss_kb\": %" PRIu64 ", \"malloc\": ",
          result->ping_pong_ns, figures.cpus, result->peak_rss_kb);
  json_string(fd, library);
  dprintf(fd, ", \"invalid\": ");
  if (invalid == NULL) {
    dprintf(fd, "null");
  } else {
    json_string(fd, invalid);
  }
  if (dprintf(fd, "}\n") < 0 || close(fd) != 0) bench_die(1, "--json: the file could not be written");
}
