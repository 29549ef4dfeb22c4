// A program sets options in a string of its own; the environment wins; HZ4_VERBOSE says what is in force.
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

const char *hz4_options = "HZ4_DIRTY_KIB=64M  HZ4_FRONT=thread\nHZ4_INBOX=off HZ4_REFAULT_MS=never";

static const char *value_of(const char *name) {
  static char value[64];
  return hz4_option_get(name, value, sizeof(value)) < 0 ? "none" : value;
}

// What the program writes to stderr with this environment.
static const char *said_with(char *path, char **environment, char *said, size_t size) {
  int ends[2], status;
  CHECK(pipe(ends) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    char *arguments[] = {path, (char *)(uintptr_t)"child", NULL};
    CHECK(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    execve("/proc/self/exe", arguments, environment);
    _exit(99);
  }
  close(ends[1]);
  size_t length = 0;
  for (ssize_t n; (n = read(ends[0], said + length, size - 1 - length)) > 0;) length += (size_t)n;
  said[length] = '\0';
  close(ends[0]);
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return said;
}

int main(int argc, char **argv) {
  free(malloc(100));
  if (argc > 1) {
    fputs(value_of("HZ4_DIRTY_KIB"), stderr);
    return 0;
  }
  CHECK(strcmp(value_of("HZ4_DIRTY_KIB"), "65536") == 0);
  CHECK(strcmp(value_of("HZ4_INBOX"), "0") == 0);
  CHECK(strcmp(value_of("HZ4_REFAULT_MS"), "100") == 0);
  CHECK(hz4_stats_get("thread_by_cpu") == 0);

  const char *bad = "hz4: ignored, for it takes 0..10000: HZ4_REFAULT_MS=never\n";
  char said[4096], expected[4096];
  char *none[] = {NULL}, *set[] = {(char *)(uintptr_t)"HZ4_DIRTY_KIB=8M", (char *)(uintptr_t)"HZ4_VERBOSE=1", NULL};
  snprintf(expected, sizeof(expected), "%s65536", bad);
  CHECK(strcmp(said_with(argv[0], none, said, sizeof(said)), expected) == 0);
  snprintf(expected, sizeof(expected),
           "%shz4: " HZ4_VERSION_STRING " in %s, with HZ4_VERBOSE=1 HZ4_DIRTY_KIB=8192 HZ4_FRONT=1 HZ4_INBOX=0\n8192", bad,
           argv[0]);
  CHECK(strcmp(said_with(argv[0], set, said, sizeof(said)), expected) == 0);
  puts("PASSED");
  return 0;
}
