// hz4 run: starts a program with hz4 for its malloc, or says why it cannot be.
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/program.h"

static const char help[] =
    "usage: hz4 run [options] [--] PROGRAM [ARGUMENT]...\n\n"
    "Runs the program with hz4 for its malloc, if it takes a preloaded library; else says why not, and runs nothing.\n\n"
    "  -o, --option NAME=VALUE  set an option: dirty_kib=64M is HZ4_DIRTY_KIB=64M; may be repeated\n"
    "  -s, --stats              print statistics at exit: stats=1\n"
    "  -l, --library FILE       hz4's library (default: the one that was installed with this command)\n"
    "  -n, --dry-run            say what would be, and run nothing\n"
    "  -h, --help\n\n"
    "hz4's comes before what LD_PRELOAD has already. Options: man 7 hz4, or hz4-options.\n"
    "Exit: the program's; 1 when it cannot be run so, 2 for bad usage.\n";

static const struct option longs[] = {{"option", required_argument, NULL, 'o'}, {"stats", no_argument, NULL, 's'},
                                      {"library", required_argument, NULL, 'l'}, {"dry-run", no_argument, NULL, 'n'},
                                      {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

// "dirty_kib=64M", or as the environment has it.
static void set_option(const char *text) {
  char name[64] = "HZ4_";
  const char *equals = strchr(text, '='), *from = strncmp(text, "HZ4_", 4) == 0 ? text + 4 : text;
  if (equals == NULL || equals <= from || (size_t)(equals - from) >= sizeof name - 4)
    cmd_usage("'%s' is not NAME=VALUE", text);
  for (char *to = name + 4; from < equals; ++from)
    *to++ = *from == '-' ? '_' : (char)(*from >= 'a' && *from <= 'z' ? *from - 'a' + 'A' : *from);
  int error = cmd_option_error(name, equals + 1);
  if (error == ENOENT) cmd_usage("there is no option %s", name);
  if (error == EINVAL) cmd_usage("%s is no value of %s; hz4-options lists what it takes", equals + 1, name);
  setenv(name, equals + 1, 1);
}

static void preload(const char *library) {
  const char *others = getenv("LD_PRELOAD");
  char *all = NULL;
  if (others == NULL || *others == '\0') setenv("LD_PRELOAD", library, 1);
  else if (asprintf(&all, "%s:%s", library, others) > 0) setenv("LD_PRELOAD", all, 1);
  free(all);
}

int run_main(int argc, char **argv) {
  const char *asked = NULL;
  bool dry = false;
  for (int option; (option = cmd_option(argc, argv, "+:o:sl:nh", longs, help)) != -1;) {
    if (option == 'o') set_option(optarg);
    if (option == 's') setenv("HZ4_STATS", "1", 1);
    if (option == 'l') asked = optarg;
    if (option == 'n') dry = true;
  }
  if (optind == argc) cmd_usage("which program?");
  char library[PATH_MAX], path[PATH_MAX], why[PROGRAM_WHY];
  struct elf elf;
  if (!program_library(asked, library, sizeof library, why)) return cmd_no("%s", why);
  if (!program_find(argv[optind], path, sizeof path, why)) return cmd_no("%s", why);
  if (!elf_open(library, &elf)) return cmd_no("%s: %s", library, strerror(errno));
  if (!program_takes(path, &elf, why)) return cmd_no("%s", why);
  elf_close(&elf);
  if (dry) {
    printf("%s: its malloc would be %s\n", why, library);
    return FINE;
  }
  preload(library);
  execv(path, argv + optind);
  return cmd_no("%s: %s", path, strerror(errno));
}
