// What descriptor 2 is not, hz4 does not write to: a file that has the number because stderr was closed is the program's.
// And what cannot be written, to a pipe that nobody reads or a file beyond RLIMIT_FSIZE, changes nothing for the program.
// The test runs itself anew, for hz4 reads its options and looks at stderr as it begins.
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kBytes = 1 << 20 };

static char *self;
static int file;  // where the child's descriptor 2 leads to in the end, one way or another

// b: has SIGPIPE pending, of its own; c: closes stderr; d: has the file in the lowest free place, as any data; r: has it as
// stderr; l: frees some blocks not; s: allocates of each size; u: sends itself SIGUSR2;
// w: wrong use.
static int child(const char *way) {
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, SIGPIPE);
  if (strchr(way, 'b') != NULL) CHECK(sigprocmask(SIG_BLOCK, &own, NULL) == 0 && raise(SIGPIPE) == 0);
  if (strchr(way, 'c') != NULL) close(STDERR_FILENO);
  if (strchr(way, 'd') != NULL) CHECK(dup(3) == STDERR_FILENO);
  if (strchr(way, 'r') != NULL) CHECK(dup2(3, STDERR_FILENO) == STDERR_FILENO);
  static char buffer[64];
  char *volatile pointer = buffer;
  if (strchr(way, 'w') != NULL) free(pointer);
  for (size_t size = strchr(way, 's') != NULL ? 1 : kBytes; size <= kBytes; size += 1 + size / 16) free(malloc(size));
  for (int i = 0; strchr(way, 'l') != NULL && i < 20; i++) CHECK((pointer = malloc(kBytes)) != NULL);
  if (strchr(way, 'u') != NULL) CHECK(raise(SIGUSR2) == 0);
  if (strchr(way, 'b') != NULL) {
    hz4_stats_print(STDERR_FILENO);
    CHECK(sigpending(&own) == 0 && sigismember(&own, SIGPIPE) == 1);
  }
  return 0;
}

enum at_start { kClosed, kTheFile, kAnother, kFull, kUnreadPipe };

// Returns how much hz4 wrote into the file. at_start: what descriptor 2 is then.
static long written(const char *way, enum at_start at_start, const char *option) {
  CHECK(ftruncate(file, 0) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    char *arguments[] = {self, (char *)(uintptr_t)way, NULL}, *environment[] = {(char *)(uintptr_t)option, NULL};
    CHECK(dup2(file, 3) == 3);
    if (at_start == kClosed) close(STDERR_FILENO);
    if (at_start == kTheFile) CHECK(dup2(file, STDERR_FILENO) == STDERR_FILENO);
    if (at_start == kFull) {
      CHECK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){0}) == 0 && dup2(file, STDERR_FILENO) == STDERR_FILENO);
    }
    int ends[2];
    if (at_start == kUnreadPipe) CHECK(pipe(ends) == 0 && close(ends[0]) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    if (at_start == kAnother) CHECK(dup2(open("/dev/null", O_WRONLY), STDERR_FILENO) == STDERR_FILENO);
    execve("/proc/self/exe", arguments, environment);
    _exit(99);
  }
  int status;
  struct stat found;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(strchr(way, 'w') != NULL ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT : status == 0);
  CHECK(fstat(file, &found) == 0);
  return found.st_size;
}

// What is printed at exit, or by a signal, comes by one call: other processes write to the same file.
static void comes_whole(const char *way, const char *option, const char *begin, const char *end) {
  static char text[1 << 16];
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    char *arguments[] = {self, (char *)(uintptr_t)way, NULL}, *environment[] = {(char *)(uintptr_t)option, NULL};
    if (dup2(ends[1], STDERR_FILENO) == STDERR_FILENO) execve("/proc/self/exe", arguments, environment);
    _exit(99);
  }
  close(ends[1]);
  ssize_t length = read(ends[0], text, sizeof(text) - 1);
  CHECK(length > (ssize_t)(strlen(begin) + strlen(end)));
  text[length] = '\0';
  CHECK(strncmp(text, begin, strlen(begin)) == 0 && strcmp(text + length - strlen(end), end) == 0);
  CHECK(read(ends[0], text, 1) == 0);
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  close(ends[0]);
}

int main(int argc, char **argv) {
  if (argc > 1) return child(argv[1]);
  self = argv[0];
  char path[] = "/tmp/hz4_stderr_XXXXXX";
  int made = mkstemp(path);
  CHECK(made >= 0 && unlink(path) == 0);
  file = fcntl(made, F_DUPFD, 10);
  CHECK(file >= 0);
  for (int form = 1; form <= 2; form++) {
    const char *option = form == 1 ? "HZ4_STATS=1" : "HZ4_STATS=2";
    CHECK(written("", kTheFile, option) > 0);
    CHECK(written("", kClosed, option) == 0);
    CHECK(written("d", kClosed, option) == 0);
    CHECK(written("cd", kAnother, option) == 0);
    CHECK(written("r", kAnother, option) == 0);
  }
  CHECK(written("w", kTheFile, "A=B") > 0);
  CHECK(written("dw", kClosed, "A=B") == 0);
  CHECK(written("rw", kAnother, "A=B") > 0);  // put there, it is for messages
  CHECK(written("", kTheFile, "HZ4_NONE=1") > 0);
  static const char *const options[] = {"HZ4_STATS=1", "HZ4_STATS=2", "HZ4_VERBOSE=1", "HZ4_NONE=1", "HZ4_PROFILE_LEAKS=1"};
  for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
    CHECK(written("", kUnreadPipe, options[i]) == 0);
    CHECK(written("", kFull, options[i]) == 0);
  }
  char option[64];
  snprintf(option, sizeof(option), "HZ4_STATS_FILE=%s", path);
  CHECK(written("", kFull, option) == 0 && access(path, F_OK) != 0);
  CHECK(written("w", kUnreadPipe, "A=B") == 0);
  CHECK(written("b", kUnreadPipe, "A=B") == 0);
  comes_whole("s", "HZ4_STATS=1", "hz4 ", "\n");
  comes_whole("s", "HZ4_STATS=2", "{", "}\n");
  comes_whole("su", "HZ4_STATS_SIGNAL=USR2", "hz4 ", "\n");
  comes_whole("l", "HZ4_PROFILE_LEAKS=1", "hz4: still allocated: ", ")\n");
  puts("PASSED");
  return 0;
}
