// The benchmarks' result lines, and the same as JSON.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/bench_common.h"

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

// The object file whose malloc the dynamic linker picked: what proves that a preload worked.
static const char *malloc_path(void) {
  Dl_info info;
  void *symbol = dlsym(RTLD_DEFAULT, "malloc");
  return symbol != NULL && dladdr(symbol, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "?";
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

  double seconds = (double)(result->end.wall_ns - result->start.wall_ns) / 1e9;
  double ops_per_s = seconds > 0 ? (double)result->ops / seconds : 0;
  double cpus = seconds > 0 ? (double)(result->end.cpu_ns - result->start.cpu_ns) / 1e9 / seconds : 0;
  uint64_t timed_frees = result->remote_sent + result->local_freed - result->left_in_slots;
  double actual = percent(result->remote_sent, timed_frees);
  double fallback = percent(result->ring_full_fallback, result->remote_sent + result->ring_full_fallback);
  const char *library = malloc_path();
  const struct count counts[] = {
      {"allocated", result->allocated, false},         {"local_freed", result->local_freed, true},
      {"remote_sent", result->remote_sent, true},      {"remote_received", result->remote_received, false},
      {"ring_full_fallback", result->ring_full_fallback, false},
      {"overflow_sent", 0, false},                     {"overflow_received", 0, false},
      {"left_in_slots", result->left_in_slots, false}, {"left_in_rings", result->left_in_rings, false},
  };
  const size_t counts_count = sizeof counts / sizeof counts[0];

  printf("ops/s=%.0f seconds=%.6f ops=%" PRIu64 " threads=%u\n", ops_per_s, seconds, result->ops, result->threads);
  if (result->remote_pct >= 0)
    printf("[EFFECTIVE_REMOTE] target=%.1f%% actual=%.1f%% fallback_rate=%.2f%%\n", (double)result->remote_pct, actual,
           fallback);
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
         cpus, result->peak_rss_kb, library);
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
          result->ops, seconds, ops_per_s);
  if (result->remote_pct >= 0)
    dprintf(fd, "\"remote_target_pct\": %d, \"remote_actual_pct\": %.4f, \"fallback_pct\": %.4f, ", result->remote_pct,
            actual, fallback);
  dprintf(fd, "\"stats\": {");
  for (size_t i = 0; i < counts_count; i++)
    dprintf(fd, "%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", counts[i].name, counts[i].value);
  dprintf(fd, "}, \"extra\": {");
  for (size_t i = 0; i < result->extras_count; i++)
    dprintf(fd, "%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", result->extras[i].name, result->extras[i].value);
  dprintf(fd, "}, \"ping_pong_ns\": %.1f, \"cpus_delivered\": %.4f, \"peak_rss_kb\": %" PRIu64 ", \"malloc\": ",
          result->ping_pong_ns, cpus, result->peak_rss_kb);
  json_string(fd, library);
  if (dprintf(fd, "}\n") < 0 || close(fd) != 0) bench_die(1, "--json: the file could not be written");
}
