// hz4 doctor: whether hz4 is a process's malloc or would be a program's, and what the machine has for it.
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/program.h"
#include "hz4/hz4.h"

static const char help[] =
    "usage: hz4 doctor [options] [PID|PROGRAM]\n\n"
    "Says whether hz4 is the malloc of a process, or would be that of a program that it is preloaded into, and why not;\n"
    "which options are in force; and what of the machine matters to it. Nothing is run, and no process is stopped.\n\n"
    "  -l, --library FILE  hz4's library (default: the one that was installed with this command)\n"
    "  -r, --root DIR      the machine's files are DIR/proc and DIR/sys\n"
    "  -h, --help\n\n"
    "Exit: 0, 1 when hz4 is not active or would not be, 2 for bad usage.\n";

static const struct option longs[] = {{"library", required_argument, NULL, 'l'}, {"root", required_argument, NULL, 'r'},
                                      {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

static const char *root = "";

__attribute__((format(printf, 2, 3))) static void line(const char *name, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("%-12s", name);
  vprintf(format, arguments);
  putchar('\n');
  va_end(arguments);
}

// A file of the machine's, without the newline at its end; NULL: it is not there.
static char *machine_file(const char *path) {
  char full[PATH_MAX];
  snprintf(full, sizeof full, "%s%s", root, path);
  char *text = cmd_read(full, NULL);
  if (text != NULL) text[strcspn(text, "\n")] = '\0';
  return text;
}

static long long machine_number(const char *path, long long otherwise) {
  char *text = machine_file(path);
  long long number = text != NULL && *text >= '0' && *text <= '9' ? strtoll(text, NULL, 10) : otherwise;
  free(text);
  return number;
}

// ---- caches ----

extern const unsigned int __rseq_size __attribute__((weak));

// Why they are threads' in this very process, by what its kernel and its libc say.
static const char *why_threads(void) {
  enum { FEATURE_SIZE = 27, ID_END = 28 };  // AT_RSEQ_FEATURE_SIZE; of mm_cid in the area
  if (getauxval(FEATURE_SIZE) < ID_END) return "restartable sequences with mm_cid need Linux 6.3";
  if (&__rseq_size == NULL || __rseq_size == 0)
    return "libc has not registered rseq: glibc before 2.35, or GLIBC_TUNABLES=glibc.pthread.rseq=0";
  return "the kernel refuses rseq";
}

static void say_caches(const char *environment, size_t size) {
  const char *front = environment != NULL ? cmd_variable(environment, size, "HZ4_FRONT") : NULL;
  const char *tunables = environment != NULL ? cmd_variable(environment, size, "GLIBC_TUNABLES") : NULL;
  hz4_free(hz4_malloc(1));
  if (front != NULL && (strcmp(front, "thread") == 0 || strcmp(front, "1") == 0)) {
    line("caches", "of threads: HZ4_FRONT=%s", front);
  } else if (tunables != NULL && strstr(tunables, "pthread.rseq=0") != NULL) {
    line("caches", "of threads: GLIBC_TUNABLES=%s", tunables);
  } else if (hz4_stats_get("thread_by_cpu") == 1) {
    line("caches", "of CPUs: the kernel and libc have what it takes");
  } else {
    line("caches", "of threads, with more memory for many threads: %s", why_threads());
  }
}

// ---- memory ----

static void say_huge_pages(void) {
  char *enabled = machine_file("/sys/kernel/mm/transparent_hugepage/enabled"), *name = NULL, *end;
  if (enabled != NULL && (name = strchr(enabled, '[')) != NULL && (end = strchr(name, ']')) != NULL) {
    *end = '\0';
    ++name;
  }
  if (name == NULL) line("huge pages", "the kernel has none");
  else if (strcmp(name, "always") == 0)
    line("huge pages", "always: of hz4's memory only what is used densely, unless HZ4_HUGE_PAGES=all");
  else if (strcmp(name, "madvise") == 0) line("huge pages", "madvise: asked for where memory is used densely, or as HZ4_HUGE_PAGES says");
  else line("huge pages", "%s: HZ4_HUGE_PAGES has no effect", name);
  free(enabled);
}

static void say_overcommit(void) {
  long long mode = machine_number("/proc/sys/vm/overcommit_memory", -1);
  if (mode == 0) line("overcommit", "heuristic (0): malloc fails for what no machine has");
  else if (mode == 1) line("overcommit", "always (1): malloc fails for want of addresses only, the kernel ends who uses too much");
  else if (mode == 2) line("overcommit", "never (2): addresses count as memory, of which hz4 keeps some free: HZ4_DIRTY_KIB does not change that");
  else line("overcommit", "unknown");
}

// The tightest limit of a cgroup and all above it, and which file has it.
struct cgroup_limit {
  long long bytes;
  char file[PATH_MAX];
};

static void look_at_limits(char *path, const char *mount, const char *const *names, struct cgroup_limit *tightest) {
  for (;;) {
    for (const char *const *name = names; *name != NULL; ++name) {
      char file[PATH_MAX];
      if (snprintf(file, sizeof file, "%s%s/%s", mount, path, *name) >= (int)sizeof file) continue;
      long long bytes = machine_number(file, -1);
      // v1 says "unlimited" by a number that no machine has.
      if (bytes < 0 || bytes >= LLONG_MAX / 2 || (tightest->bytes >= 0 && bytes >= tightest->bytes)) continue;
      tightest->bytes = bytes;
      memcpy(tightest->file, file, sizeof file);
    }
    char *slash = strrchr(path, '/');
    if (slash == NULL) return;
    *slash = '\0';
  }
}

static void say_cgroup(pid_t pid) {
  static const char *const v2[] = {"memory.max", "memory.high", NULL}, *const v1[] = {"memory.limit_in_bytes", NULL};
  struct cgroup_limit tightest = {.bytes = -1};
  char own[PATH_MAX], text[16];
  snprintf(own, sizeof own, "%s/proc/self/cgroup", root);
  char *groups = pid != 0 ? cmd_read_proc(pid, "cgroup", NULL) : cmd_read(own, NULL), *rest = NULL;
  for (char *entry = groups != NULL ? strtok_r(groups, "\n", &rest) : NULL; entry != NULL; entry = strtok_r(NULL, "\n", &rest)) {
    char *controllers = strchr(entry, ':'), *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL) continue;
    *path++ = '\0';
    if (strcmp(path, "/") == 0) *path = '\0';
    if (controllers[1] == '\0') look_at_limits(path, "/sys/fs/cgroup", v2, &tightest);
    else if (strcmp(controllers + 1, "memory") == 0) look_at_limits(path, "/sys/fs/cgroup/memory", v1, &tightest);
  }
  if (tightest.bytes < 0) line("cgroup", "no limit of memory");
  else line("cgroup", "%s, by %s; HZ4_LIMIT=cgroup keeps hz4 to it", cmd_bytes((double)tightest.bytes, text), tightest.file);
  free(groups);
}

static long long lines_in(const char *text) {
  long long lines = 0;
  for (; text != NULL && (text = strchr(text, '\n')) != NULL; ++text) ++lines;
  return lines;
}

static void say_mappings(pid_t pid) {
  long long most = machine_number("/proc/sys/vm/max_map_count", -1);
  char *maps = pid != 0 ? cmd_read_proc(pid, "maps", NULL) : NULL;
  if (most < 0) line("mappings", "unknown");
  else if (maps == NULL) line("mappings", "%lld for each process (vm.max_map_count)", most);
  else if (10 * lines_in(maps) < 9 * most) line("mappings", "%lld of %lld (vm.max_map_count)", lines_in(maps), most);
  else line("mappings", "%lld of %lld: soon mmap fails; raise vm.max_map_count", lines_in(maps), most);
  free(maps);
}

// "unlimited", or a number of bytes, of a line of /proc/PID/limits.
static void say_limit(pid_t pid, const char *name, const char *shell) {
  char *limits = cmd_read_proc(pid, "limits", NULL), text[16];
  const char *found = limits != NULL ? strstr(limits, name) : NULL;
  const char *value = found != NULL ? found + strlen(name) + strspn(found + strlen(name), " ") : "unlimited";
  if (*value >= '0' && *value <= '9')
    line("limit", "%s is %s: malloc returns NULL beyond it", shell, cmd_bytes(strtod(value, NULL), text));
  free(limits);
}

static void say_machine(pid_t pid, const char *environment, size_t size) {
  struct utsname name;
  char text[16];
  if (uname(&name) == 0) line("system", "%s %s, %s", name.sysname, name.release, name.machine);
  line("page", "%s", cmd_bytes((double)sysconf(_SC_PAGESIZE), text));
  say_caches(environment, size);
  say_huge_pages();
  say_cgroup(pid);
  say_overcommit();
  say_mappings(pid);
  say_limit(pid, "Max address space", "ulimit -v");
  say_limit(pid, "Max data size", "ulimit -d");
}

// ---- subjects ----

static void say_options(const char *environment, size_t size) {
  int count = 0;
  for (const char *entry = environment; entry < environment + size; entry += strlen(entry) + 1) {
    if (strncmp(entry, "HZ4_", 4) != 0) continue;
    char name[64] = "";
    size_t length = strcspn(entry, "=");
    snprintf(name, sizeof name, "%.*s", (int)length, entry);
    int error = cmd_option_error(name, entry + length + (entry[length] == '='));
    const char *why = error == ENOENT ? " (unknown, ignored)" : error == EINVAL ? " (not a value that it takes, ignored)" : "";
    line(count++ == 0 ? "options" : "", "%s%s", entry, why);
  }
  if (count == 0) line("options", "none is set");
}

static int look_at_process(pid_t pid) {
  char why[PROGRAM_WHY], text[16];
  size_t size = 0;
  bool active = program_has(pid, why);
  line("active", "%s: %s", active ? "yes" : "no", why);
  char *environment = cmd_read_proc(pid, "environ", &size), *status = cmd_read_proc(pid, "status", NULL);
  if (active && environment != NULL) say_options(environment, size);
  if (cmd_resident(pid) > 0) line("resident", "%s", cmd_bytes(cmd_resident(pid), text));
  if (status != NULL && cmd_field(status, "THP_enabled") == 0) line("huge pages", "switched off for this process (prctl)");
  if (status != NULL && cmd_field(status, "Seccomp") > 0)
    line("seccomp", "on: mmap, munmap, madvise, mremap and futex must be allowed; without rseq caches are threads'");
  say_machine(pid, environment, size);
  free(status);
  free(environment);
  return active ? FINE : NO;
}

static int look_at_program(const char *name, const char *library) {
  char path[PATH_MAX], why[PROGRAM_WHY];
  struct elf elf;
  bool good = program_find(name, path, sizeof path, why);
  if (good && !elf_open(library, &elf)) return cmd_no("%s: %s", library, strerror(errno));
  if (good) {
    good = program_takes(path, &elf, why);
    elf_close(&elf);
  }
  line("would be", "%s: %s", good ? "yes" : "no", why);
  return good ? FINE : NO;
}

int doctor_main(int argc, char **argv) {
  const char *asked = NULL;
  for (int option; (option = cmd_option(argc, argv, ":l:r:h", longs, help)) != -1;) {
    if (option == 'l') asked = optarg;
    if (option == 'r') root = optarg;
  }
  if (argc - optind > 1) cmd_usage("one process or program, not %d", argc - optind);
  const char *subject = optind < argc ? argv[optind] : NULL;
  if (subject != NULL && subject[strspn(subject, "0123456789")] == '\0') {
    pid_t pid = cmd_process(subject);
    return pid != 0 ? look_at_process(pid) : NO;
  }
  char library[PATH_MAX], why[PROGRAM_WHY];
  bool found = program_library(asked, library, sizeof library, why);
  if (!found && (asked != NULL || subject != NULL)) return cmd_no("%s", why);
  line("hz4", "%s, %s", hz4_version(), found ? library : why);
  int status = subject != NULL ? look_at_program(subject, library) : FINE;
  size_t size = 0;
  char *environment = cmd_read_proc(0, "environ", &size);
  if (environment != NULL) say_options(environment, size);
  say_machine(0, environment, size);
  free(environment);
  return status;
}
