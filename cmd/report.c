// hz4 report: where the memory is, in words, and which option would change it.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/figures.h"

static const char help[] =
    "usage: hz4 report [options] FILE...\n\n"
    "Says where the memory of a process is, and what would change it: by the statistics that it wrote as JSON, at its end\n"
    "(HZ4_STATS=json, on stderr) or while it ran (HZ4_STATS_FILE; hz4 stats --json PID). A file may have other lines too,\n"
    "and several processes: each is told of. FILE - is the input.\n\n"
    "  -h, --help\n\n"
    "Exit: 0, 1 when a file has no statistics, 2 for bad usage.\n";

static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

// What is less than this share of all is not worth a word.
static const double worth_percent = 5;

static const char *const advice[PARTS] = {
    [PART_LIVE] = "The program has it: no option of an allocator gives it back. A heap profile (HZ4_PROFILE=PREFIX) "
                  "says who allocated it.",
    [PART_CACHES] = "It is ready for use in the caches of CPUs or threads: HZ4_TCACHE_KIB=8192, or less, bounds all of them "
                    "together, and malloc_trim(0) empties them.",
    [PART_FRAGMENTS] = "Free blocks lie between blocks in use, of sizes that nobody asks for now. malloc_trim(0) gives back "
                       "whole pages of it; the rest goes when what lives between them is freed, or lives elsewhere.",
    [PART_DEPOTS] = "It waits for other CPUs' caches. It shrinks as the program frees; malloc_trim(0) empties it.",
    [PART_PAGES] = "Free pages are kept for what comes next: HZ4_DIRTY_KIB and HZ4_DIRTY_SHIFT bound them (a smaller KIB, a "
                   "greater SHIFT), at the price of page faults.",
    [PART_LARGE] = "Freed blocks above 256 KiB are kept for the next ones, as far as those come again: malloc_trim(0) gives "
                   "them back.",
    [PART_META] = "It is hz4's own, for spans, caches and page map: it grows with the heap, and no option changes it.",
};

// In lines of a terminal.
static void print_wrapped(const char *text) {
  enum { WIDTH = 78 };
  size_t column = 0;
  while (*text != '\0') {
    size_t length = strcspn(text, " ");
    if (column != 0 && column + 1 + length > WIDTH) {
      putchar('\n');
      column = 0;
    }
    column += (size_t)printf("%s%.*s", column != 0 ? " " : "  ", (int)length, text);
    text += length + strspn(text + length, " ");
  }
  putchar('\n');
}

// Of which size most of the free memory between blocks is.
static void report_fragments(const struct figures *figures) {
  char path[64], line[256], most[16], used[16], all[16];
  double worst = 0, object_bytes = 0, live = 0, span = 0;
  for (unsigned n = 0;; ++n) {
    double numbers[4];
    static const char *const names[] = {"object_bytes", "live_objects", "cached_objects", "span_bytes"};
    for (unsigned i = 0; i < 4; ++i) {
      snprintf(path, sizeof path, "classes.%u.%s", n, names[i]);
      numbers[i] = json_number(&figures->json, path, -1);
    }
    if (numbers[0] < 0) break;
    double unused = numbers[3] - numbers[0] * (numbers[1] + numbers[2]);
    if (unused <= worst) continue;
    worst = unused;
    object_bytes = numbers[0];
    live = numbers[0] * numbers[1];
    span = numbers[3];
  }
  if (worst == 0) return;
  snprintf(line, sizeof line, "Most of it, %s, is between blocks of %.0f bytes, of whose spans %s of %s are in use.",
           cmd_bytes(worst, most), object_bytes, cmd_bytes(live, used), cmd_bytes(span, all));
  print_wrapped(line);
}

static void report_notes(const struct figures *figures) {
  char text[16], line[256];
  double refaulted = figures_number(figures, "segment_refaulted_bytes"), caches = figures_number(figures, "thread_caches");
  double rest = figures->resident - figures->sum;
  if (refaulted > 0) {
    snprintf(line, sizeof line, "Up to %s of free pages are kept because purged memory was wanted again at once, time and "
             "again: HZ4_REFAULT_MS=0 gives them back, at the price of page faults.", cmd_bytes(refaulted, text));
    print_wrapped(line);
  }
  if (figures_number(figures, "thread_by_cpu") == 0 && caches > 1) {
    snprintf(line, sizeof line, "Caches belong to threads, of which %.0f had one, and not to CPUs: hz4 doctor says why.",
             caches);
    print_wrapped(line);
  }
  double hard = figures_number(figures, "limit_hard_bytes"), soft = figures_number(figures, "limit_soft_bytes");
  if (hard > 0 || soft > 0) {
    char used[16];
    snprintf(line, sizeof line, "The limit is %s, of which %s is used; %.0f times memory was refused. (HZ4_LIMIT)",
             cmd_bytes(hard > 0 ? hard : soft, text), cmd_bytes(figures_number(figures, "limit_used_bytes"), used),
             figures_number(figures, "limit_refused"));
    print_wrapped(line);
  }
  if (figures->resident > 0 && rest < 0) {
    snprintf(line, sizeof line, "The whole process has %s resident: some of this was never written to, and holds no memory.",
             cmd_bytes(figures->resident, text));
    print_wrapped(line);
  }
  if (rest > figures->resident / 10) {
    snprintf(line, sizeof line, "%s more is resident, which is not hz4's: program and libraries, stacks, files, other "
             "mappings; or huge pages, where the system's setting is \"always\".", cmd_bytes(rest, text));
    print_wrapped(line);
  }
}

static void report_figures(const char *name, const struct figures *figures) {
  char text[16];
  bool told[PARTS] = {false};
  printf("%s, process %.0f: %s of hz4's may be resident\n", name, figures_number(figures, "pid"),
         cmd_bytes(figures->sum, text));
  for (int n = 0; n < PARTS; ++n) {
    int most = -1;
    for (int part = 0; part < PARTS; ++part)
      if (!told[part] && (most < 0 || figures->parts[part] > figures->parts[most])) most = part;
    told[most] = true;
    double percent = figures->sum > 0 ? 100 * figures->parts[most] / figures->sum : 0;
    if (percent < worth_percent) continue;
    printf("%.0f%% %s: %s\n", percent, figures_part_name((enum part)most), cmd_bytes(figures->parts[most], text));
    print_wrapped(advice[most]);
    if (most == PART_FRAGMENTS) report_fragments(figures);
  }
  report_notes(figures);
}

// Each document of hz4's that begins a line.
static int report_file(const char *name) {
  char why[FIGURES_WHY] = "";
  char *text = cmd_read(name, NULL);
  if (text == NULL) return cmd_no("%s: %s", name, strerror(errno));
  unsigned count = 0;
  size_t length = 0;
  for (const char *at = text; *at != '\0'; at += length) {
    struct figures figures;
    length = strcspn(at, "\n") + 1;
    if (at[length - 1] == '\0') --length;
    size_t end;
    if (*at != '{' || !figures_read(at, &figures, &end, why)) continue;
    length = end;
    if (count++ != 0) putchar('\n');
    report_figures(name, &figures);
    figures_free(&figures);
  }
  free(text);
  if (count == 0) return cmd_no("%s: %s", name, *why != '\0' ? why : "no statistics of hz4's as JSON");
  return FINE;
}

int report_main(int argc, char **argv) {
  while (cmd_option(argc, argv, ":h", longs, help) != -1) {
  }
  if (optind == argc) cmd_usage("which file?");
  int status = FINE;
  for (int i = optind; i < argc; ++i)
    if (report_file(argv[i]) != FINE) status = NO;
  return status;
}
