// hz4: the command. What it can do is in files of the subcommands' names.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "hz4/hz4.h"

static const struct {
  const char *name;
  int (*main)(int argc, char **argv);
  const char *about;
} commands[] = {
    {"run", run_main, "PROGRAM...  run a program with hz4 for its malloc"},
    {"doctor", doctor_main, "[PID|PROGRAM]  is it active, or could it be; what the machine has for it"},
    {"stats", stats_main, "PID  statistics of a process that runs"},
    {"top", top_main, "PID  the same, again and again"},
    {"report", report_main, "FILE...  where the memory is, in words, and what would change it"},
    {"profile", profile_main, "FILE  a picture of a heap profile"},
};

// What the environment says to hz4 is meant for the programs that are run and looked at: this one would say it all again, and
// write over their statistics. So hz4 finds none as it begins, which is next: of constructors of the same priority, this
// program's own come first.
static char **environment;

__attribute__((constructor(101))) static void hide_environment(void) {
  static char *none[] = {NULL};
  environment = environ;
  environ = none;
}

static int help(void) {
  puts("usage: hz4 COMMAND ...\n");
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; ++i)
    printf("  %-8s %s\n", commands[i].name, commands[i].about);
  puts("\nhz4 COMMAND --help tells more, hz4 --version which hz4 this is; man 1 hz4.\n"
       "Exit: 0 fine, 1 no, 2 bad usage.");
  return FINE;
}

// What was said may not have been heard.
static int heard(int status) {
  if (fflush(stdout) == 0 && ferror(stdout) == 0) return status;
  return cmd_no("the output cannot be written");
}

int main(int argc, char **argv) {
  environ = environment;
  if (argc < 2) cmd_usage("which command? hz4 --help lists them");
  const char *name = argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) return heard(help());
  if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
    printf("hz4 %s\n", hz4_version());
    return heard(FINE);
  }
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; ++i) {
    if (strcmp(name, commands[i].name) != 0) continue;
    cmd_name = name;
    return heard(commands[i].main(argc - 1, argv + 1));
  }
  cmd_usage("there is no command %s; hz4 --help lists them", name);
}
