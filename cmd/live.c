#include "cmd/live.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "cmd/program.h"

// How long a process may take to answer a signal: it does at once, or when it comes to a slow path next.
enum { ANSWER_MS = 3000, LOOK_EVERY_MS = 10 };

static void no(char *why, const char *what, const char *reason) { snprintf(why, LIVE_WHY, "%s%s", what, reason); }

// As HZ4_STATS_SIGNAL has it. 0: there is none.
static int signal_of(const char *text) {
  if (strcmp(text, "HUP") == 0) return SIGHUP;
  if (strcmp(text, "USR1") == 0) return SIGUSR1;
  return strcmp(text, "USR2") == 0 ? SIGUSR2 : atoi(text);
}

// The process's number as it knows it itself, in its own namespace: the last of NSpid.
static int pid_inside(pid_t pid) {
  char *status = cmd_read_proc(pid, "status", NULL);
  char *line = status != NULL ? strstr(status, "\nNSpid:") : NULL;
  int inside = (int)pid;
  if (line != NULL) {
    line[1 + strcspn(line + 1, "\n")] = '\0';
    inside = atoi(strrchr(line, '\t') + 1);
  }
  free(status);
  return inside;
}

// Whether the process has a handler of it: without one the signal would end it.
static bool catches(pid_t pid, int signal) {
  char *status = cmd_read_proc(pid, "status", NULL);
  const char *mask = status != NULL ? strstr(status, "\nSigCgt:") : NULL;
  bool is = mask != NULL && signal >= 1 && signal <= 64 && (strtoull(mask + 8, NULL, 16) >> (signal - 1) & 1) != 0;
  free(status);
  return is;
}

bool live_has_ended(pid_t pid) {
  char *status = cmd_read_proc(pid, "status", NULL);
  bool has = status == NULL || strstr(status, "\nState:\tZ") != NULL;
  free(status);
  return has;
}

// As the process sees it, which may have another root. %p is its number.
static void name_file(struct live *live, const char *file) {
  size_t room = sizeof live->file;
  int length = snprintf(live->file, room, "/proc/%d/%s", (int)live->pid, *file == '/' ? "root" : "cwd/");
  for (; *file != '\0' && (size_t)length + 16 < room; ++file) {
    if (strncmp(file, "%p", 2) != 0) {
      live->file[length++] = *file;
      continue;
    }
    length += snprintf(live->file + length, room - (size_t)length, "%d", pid_inside(live->pid));
    ++file;
  }
  live->file[length] = '\0';
}

bool live_find(pid_t pid, const char *file, const char *signal, struct live *live, char *why) {
  size_t size = 0, length;
  char active[PROGRAM_WHY];
  *live = (struct live){.pid = pid};
  if (signal != NULL && cmd_option_error("HZ4_STATS_SIGNAL", signal) != 0)
    cmd_usage("--signal: %s is none that HZ4_STATS_SIGNAL takes", signal);
  char *environment = cmd_read_proc(pid, "environ", &size);
  if (environment == NULL) {
    no(why, "its environment may not be read: ", strerror(errno));
    return false;
  }
  if (file == NULL) file = cmd_variable(environment, size, "HZ4_STATS_FILE");
  if (signal == NULL) signal = cmd_variable(environment, size, "HZ4_STATS_SIGNAL");
  if (file != NULL && *file != '\0') name_file(live, file);
  if (signal != NULL) live->signal = signal_of(signal);
  free(environment);
  length = strlen(live->file);
  if (length > 5 && strcmp(live->file + length - 5, ".json") == 0) return true;
  if (length != 0) no(why, "its HZ4_STATS_FILE does not end in .json", "");
  else if (!program_has(pid, active)) no(why, "hz4 is not its malloc: ", active);
  else no(why, "its environment has no HZ4_STATS_FILE: hz4 run -o stats_file=FILE.json -o stats_signal=USR2 ...; "
          "or it has written over that, as servers do: --file says which", "");
  return false;
}

static bool is_newer(const struct stat *then, const struct stat *now) {
  return then->st_ino != now->st_ino || then->st_mtim.tv_sec != now->st_mtim.tv_sec ||
         then->st_mtim.tv_nsec != now->st_mtim.tv_nsec;
}

char *live_read(const struct live *live, char *why) {
  struct stat before = {0}, now;
  bool was_there = stat(live->file, &before) == 0;
  if (live->signal != 0) {
    if (!catches(live->pid, live->signal)) {
      if (live_has_ended(live->pid)) no(why, "it has ended", "");
      else no(why, "it has no handler of HZ4_STATS_SIGNAL, and is not asked: hz4 is not active there (hz4 doctor), or the "
              "program has ignored that signal since", "");
      return NULL;
    }
    if (kill(live->pid, live->signal) != 0) {
      no(why, "it cannot be asked: ", strerror(errno));
      return NULL;
    }
    int waited = 0;
    while (stat(live->file, &now) != 0 || (was_there && !is_newer(&before, &now))) {
      if (waited >= ANSWER_MS || live_has_ended(live->pid)) {
        if (waited < ANSWER_MS) no(why, "it has ended", "");
        else no(why, "it has not answered: it is stopped, or has not read the options (hz4 doctor)", "");
        return NULL;
      }
      poll(NULL, 0, LOOK_EVERY_MS);
      waited += LOOK_EVERY_MS;
    }
  }
  char *text = cmd_read(live->file, NULL);
  if (text == NULL) snprintf(why, LIVE_WHY, "%.400s: %s", live->file, strerror(errno));
  const char *writer = text != NULL ? strstr(text, "\"pid\": ") : NULL;
  if (writer == NULL || atoi(writer + 7) == pid_inside(live->pid)) return text;
  snprintf(why, LIVE_WHY, "%.300s is of process %d: with %%p in HZ4_STATS_FILE each process has its own", live->file,
           atoi(writer + 7));
  free(text);
  return NULL;
}
