// hz4 stats: what a process that runs says of its memory.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/figures.h"
#include "cmd/live.h"

static const char help[] =
    "usage: hz4 stats [options] PID\n\n"
    "Prints where the memory of a process is, by its own word: it must have been started with HZ4_STATS_FILE, and writes\n"
    "there every HZ4_STATS_SECONDS, or at the signal HZ4_STATS_SIGNAL, which this sends. The file's name ends in .json.\n\n"
    "  -a, --all          every counter, by its name\n"
    "  -j, --json         the document as it is\n"
    "  -f, --file FILE    HZ4_STATS_FILE, of a process that has written over its environment\n"
    "  -s, --signal NAME  HZ4_STATS_SIGNAL, likewise\n"
    "  -h, --help\n\n"
    "Exit: 0, 1 when there are no statistics, 2 for bad usage.\n";

static const struct option longs[] = {{"all", no_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'},
                                      {"file", required_argument, NULL, 'f'}, {"signal", required_argument, NULL, 's'},
                                      {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

int stats_main(int argc, char **argv) {
  const char *file = NULL, *signal = NULL;
  char how = '\0', why[LIVE_WHY];
  for (int option; (option = cmd_option(argc, argv, ":ajf:s:h", longs, help)) != -1;) {
    if (option == 'f') file = optarg;
    else if (option == 's') signal = optarg;
    else how = (char)option;
  }
  if (argc - optind != 1) cmd_usage("of which process?");
  pid_t pid = cmd_process(argv[optind]);
  struct live live;
  if (pid == 0) return NO;
  if (!live_find(pid, file, signal, &live, why)) return cmd_no("%d: %s", (int)pid, why);
  char *text = live_read(&live, why);
  if (text == NULL) return cmd_no("%d: %s", (int)pid, why);
  if (how == 'j') {
    fputs(text, stdout);
    free(text);
    return FINE;
  }
  struct figures figures;
  size_t end;
  if (!figures_read(text, &figures, &end, why)) return cmd_no("%s: %s", live.file, why);
  free(text);
  if (how == 'a') {
    for (size_t i = 0; i < figures.json.count; ++i) {
      const struct json_value *value = &figures.json.values[i];
      if (value->text != NULL) printf("%-40s %s\n", value->path, value->text);
      else printf("%-40s %.17g\n", value->path, value->number);
    }
  } else {
    figures_print(&figures);
  }
  figures_free(&figures);
  return FINE;
}
