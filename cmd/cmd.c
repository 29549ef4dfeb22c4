#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hz4/hz4.h"

const char *cmd_name = "";

static void say(const char *format, va_list arguments) {
  fflush(stdout);
  fprintf(stderr, "hz4%s%s: ", *cmd_name != '\0' ? " " : "", cmd_name);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
}

int cmd_no(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments);
  va_end(arguments);
  return NO;
}

void cmd_usage(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments);
  va_end(arguments);
  exit(USAGE);
}

int cmd_option(int argc, char **argv, const char *letters, const struct option *longs, const char *help) {
  opterr = 0;
  int option = getopt_long(argc, argv, letters, longs, NULL);
  if (option == 'h') {
    fputs(help, stdout);
    exit(fflush(stdout) == 0 ? FINE : cmd_no("the output cannot be written"));
  }
  if (option == ':') cmd_usage("%s needs a value", argv[optind - 1]);
  if (option != '?') return option;
  if (optopt != 0 && strchr(letters, optopt) == NULL) cmd_usage("unknown option -%c", optopt);
  if (optopt != 0) cmd_usage("%s takes no value", argv[optind - 1]);
  cmd_usage("unknown option %s", argv[optind - 1]);
}

pid_t cmd_process(const char *text) {
  char *end;
  errno = 0;
  long pid = strtol(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || pid < 1 || pid > INT32_MAX)
    cmd_usage("'%s' is not the number of a process", text);
  if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
    cmd_no("there is no process %ld", pid);
    return 0;
  }
  return (pid_t)pid;
}

const char *cmd_bytes(double bytes, char *buffer) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1023.5 && unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  snprintf(buffer, 16, bytes < 9.95 && unit != 0 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
  return buffer;
}

int cmd_option_error(const char *name, const char *value) {
  char now[32];
  if (hz4_option_get(name, now, sizeof now) < 0) return ENOENT;
  if (hz4_option_set(name, value) == 0) return hz4_option_set(name, now);  // the program's, not this one's
  return errno == EINVAL ? EINVAL : 0;
}

// ---- files ----

char *cmd_read(const char *path, size_t *size) {
  enum { MOST = 256 << 20 };
  int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  size_t room = 4096, length = 0;
  char *text = malloc(room + 1);
  ssize_t got = 0;
  while (text != NULL && (got = read(fd, text + length, room - length)) > 0) {
    length += (size_t)got;
    if (length < room) continue;
    char *more = room < MOST ? realloc(text, 2 * room + 1) : NULL;
    if (more == NULL) {
      got = -1;
      errno = EFBIG;
      break;
    }
    text = more;
    room *= 2;
  }
  int error = errno;
  close(fd);
  errno = error;
  if (text == NULL || got < 0) {
    free(text);
    return NULL;
  }
  text[length] = '\0';
  if (size != NULL) *size = length;
  return text;
}

char *cmd_read_proc(pid_t pid, const char *name, size_t *size) {
  char path[64];
  if (pid == 0) snprintf(path, sizeof path, "/proc/self/%s", name);
  else snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  return cmd_read(path, size);
}

long long cmd_field(const char *text, const char *name) {
  size_t length = strlen(name);
  for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, name, length) == 0 && line[length] == ':') return strtoll(line + length + 1, NULL, 10);
  }
  return -1;
}

double cmd_resident(pid_t pid) {
  char *status = cmd_read_proc(pid, "status", NULL);
  long long kib = status != NULL ? cmd_field(status, "VmRSS") : 0;
  free(status);
  return kib > 0 ? 1024.0 * (double)kib : 0;
}

const char *cmd_variable(const char *environment, size_t size, const char *name) {
  size_t length = strlen(name);
  for (const char *entry = environment; entry < environment + size; entry += strlen(entry) + 1)
    if (strncmp(entry, name, length) == 0 && entry[length] == '=') return entry + length + 1;
  return NULL;
}
