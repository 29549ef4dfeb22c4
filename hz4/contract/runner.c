// Runs every check in a process of its own, and prints a line for each: state, row, check, source and detail, separated
// by tabs. Allocates nothing itself: what is tested may be broken.
//
// usage: contract_... [PREFIX], for the checks whose name begins so. Exit: 0 when none is broken, 1, 2 for a bad
// PREFIX.
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "hz4/contract/suite.h"

enum { kAlarmSeconds = 60, kExitBroken = 1, kExitSkipped = 77 };

// Of memory that can be written to, touched or not: an allocator may keep room for many alignments of 1 GiB.
static const struct rlimit kMemoryLimit = {(size_t)16 << 30, (size_t)16 << 30};

void contract_broken(const char *format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof(text) - 1, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof(text) - 2) length = (int)sizeof(text) - 2;
  text[length] = '\n';
  ssize_t written = write(STDERR_FILENO, text, (size_t)length + 1);
  (void)written;
  _exit(kExitBroken);
}

void contract_skip(const char *why) {
  ssize_t written = write(STDERR_FILENO, why, strlen(why));
  (void)written;
  _exit(kExitSkipped);
}

// ---- one check ----

static int messages;  // a file that stands for stderr of the check

static void run_in_child(const struct contract_rule *rule, const struct contract_subject *subject) {
  dup2(messages, STDERR_FILENO);
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  setrlimit(RLIMIT_DATA, &kMemoryLimit);
  alarm(kAlarmSeconds);
  rule->run(subject);
  _exit(0);
}

// The last line that the check wrote, with nothing in it that would end a field or a line.
static const char *read_detail(void) {
  static char text[300];
  off_t size = lseek(messages, 0, SEEK_END), room = sizeof(text) - 1;
  ssize_t length = pread(messages, text, (size_t)room, size > room ? size - room : 0);
  while (length > 0 && text[length - 1] == '\n') --length;
  text[length > 0 ? length : 0] = '\0';
  char *newline = strrchr(text, '\n'), *line = newline != NULL ? newline + 1 : text;
  for (char *c = line; *c != '\0'; ++c) {
    if ((unsigned char)*c < ' ' || (unsigned char)*c > '~') *c = ' ';
  }
  return line;
}

// Prints the check's line. True: it is not broken.
static bool check(const struct contract_row *row, const struct contract_rule *rule,
                  const struct contract_subject *subject, const char *name) {
  fflush(stdout);
  if (ftruncate(messages, 0) != 0 || lseek(messages, 0, SEEK_SET) != 0) abort();
  pid_t child = fork();
  if (child == 0) run_in_child(rule, subject);
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child) abort();

  const char *detail = read_detail();
  bool normal = WIFEXITED(status);
  bool skipped = normal && WEXITSTATUS(status) == kExitSkipped, kept = normal && WEXITSTATUS(status) == 0;
  printf("%s\t%s\t%s\t%s\t", kept ? "kept" : skipped ? "skipped" : "broken", row->title, name, rule->source);
  if (WIFSIGNALED(status)) {
    printf("%s%s", contract_signal(WTERMSIG(status)), WTERMSIG(status) == SIGALRM ? " (no end)" : "");
    if (detail[0] != '\0') printf(": ");
  }
  printf("%s\n", kept ? "" : detail);
  return kept || skipped;
}

// Where this process has its malloc from.
static const char *malloc_library(void) {
  Dl_info info;
  void *symbol = dlsym(RTLD_DEFAULT, "malloc");
  return symbol != NULL && dladdr(symbol, &info) != 0 ? info.dli_fname : "?";
}

int main(int argc, char **argv) {
  static char buffer[1 << 16];
  setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
  const char *prefix = argc > 1 ? argv[1] : "";
  contract_bind();
  messages = memfd_create("contract", MFD_CLOEXEC);
  if (messages < 0) {
    fprintf(stderr, "contract: memfd_create: %s\n", strerror(errno));
    return 2;
  }
  printf("malloc\t%s\n", malloc_library());

  int ran = 0, broken = 0;
  for (const struct contract_row *const *row = contract_rows; *row != NULL; ++row) {
    for (const struct contract_rule *rule = (*row)->rules; rule->name != NULL; ++rule) {
      static const struct contract_subject alone[] = {{.name = ""}, {0}};
      const struct contract_subject *subject = rule->subjects != NULL ? rule->subjects : alone;
      for (; subject->name != NULL; ++subject) {
        char name[200];
        snprintf(name, sizeof(name), "%s%s%s", subject->name, subject->name[0] != '\0' ? "/" : "", rule->name);
        if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
        ++ran;
        broken += !check(*row, rule, subject, name);
      }
    }
  }
  if (ran == 0) {
    fprintf(stderr, "contract: no check begins with '%s'\n", prefix);
    return 2;
  }
  return broken != 0;
}
