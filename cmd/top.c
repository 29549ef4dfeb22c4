// hz4 top: the same as hz4 stats, again and again, with what changed meanwhile.
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/figures.h"
#include "cmd/live.h"

static const char help[] =
    "usage: hz4 top [options] PID\n\n"
    "Prints where the memory of a process is, and how often a second its slow paths are taken, until it ends or you end it.\n"
    "As hz4 stats, it needs a process that was started with HZ4_STATS_FILE.\n\n"
    "  -d, --delay SECONDS  from one look to the next (default 1)\n"
    "  -n, --number N       end after so many\n"
    "  -f, --file FILE      HZ4_STATS_FILE, of a process that has written over its environment\n"
    "  -s, --signal NAME    HZ4_STATS_SIGNAL, likewise\n"
    "  -h, --help\n\n"
    "Exit: 0, 1 when there are no statistics, 2 for bad usage.\n";

static const struct option longs[] = {{"delay", required_argument, NULL, 'd'}, {"number", required_argument, NULL, 'n'},
                                      {"file", required_argument, NULL, 'f'}, {"signal", required_argument, NULL, 's'},
                                      {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

static const struct {
  const char *name, *counters[3];
} rates[] = {
    {"refills", {"small_refill_calls", "mid_refill_calls"}}, {"flushes", {"small_flush_calls", "mid_flush_calls"}},
    {"large blocks", {"large_allocs"}},                      {"mmap", {"os_mmap_calls"}},
    {"munmap", {"os_munmap_calls"}},                         {"purged bytes", {"os_purged_bytes"}},
};
enum { RATES = sizeof rates / sizeof rates[0] };

static double now_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double positive(const char *name, const char *text) {
  char *end;
  double number = strtod(text, &end);
  if (*text < '0' || *text > '9' || *end != '\0' || number <= 0 || number > 1e6)
    cmd_usage("%s: '%s' is not a number above 0, and at most 1000000", name, text);
  return number;
}

static void print_rates(const struct figures *figures, double *then, double seconds) {
  for (int i = 0; i < RATES; ++i) {
    double count = 0;
    for (const char *const *counter = rates[i].counters; *counter != NULL; ++counter)
      count += figures_number(figures, *counter);
    if (seconds > 0) printf("%-16s %10.0f/s\n", rates[i].name, (count - then[i]) / seconds);
    then[i] = count;
  }
}

int top_main(int argc, char **argv) {
  double delay = 1, number = 0, then[RATES] = {0}, before = 0;
  const char *file = NULL, *signal = NULL;
  char why[LIVE_WHY];
  for (int option; (option = cmd_option(argc, argv, ":d:n:f:s:h", longs, help)) != -1;) {
    if (option == 'd') delay = positive("--delay", optarg);
    if (option == 'f') file = optarg;
    if (option == 's') signal = optarg;
    if (option == 'n') number = positive("--number", optarg);
  }
  if (argc - optind != 1) cmd_usage("of which process?");
  pid_t pid = cmd_process(argv[optind]);
  struct live live;
  if (pid == 0) return NO;
  if (!live_find(pid, file, signal, &live, why)) return cmd_no("%d: %s", (int)pid, why);
  for (double i = 0; number == 0 || i < number; ++i) {
    if (i != 0) poll(NULL, 0, (int)(delay * 1000));
    char *text = live_read(&live, why);
    if (i != 0 && live_has_ended(pid)) return FINE;
    struct figures figures;
    size_t end;
    if (text == NULL) return cmd_no("%d: %s", (int)pid, why);
    if (!figures_read(text, &figures, &end, why)) return cmd_no("%s: %s", live.file, why);
    free(text);
    double now = now_seconds();
    fputs(isatty(STDOUT_FILENO) ? "\033[H\033[J" : i != 0 ? "\n" : "", stdout);
    printf("%-16s %10d\n", "process", (int)pid);
    figures_print(&figures);
    print_rates(&figures, then, i != 0 ? now - before : 0);
    before = now;
    figures_free(&figures);
    if (fflush(stdout) != 0) return NO;
  }
  return FINE;
}
