// The file of statistics: at exit, and when a signal comes, whatever the thread is at that it interrupts; whole whenever it
// is read; in each process that fork makes; and what becomes of it where it cannot be written.
// The test runs itself anew, for hz4 reads its options as it begins.
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kSignals = 3000, kForks = 40, kText = 1 << 16 };

static char folder[256];

static const char *named(const char *name) {
  static char path[2][512];
  static int turn;
  turn = !turn;
  snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
  return path[turn];
}

static const char *of_process(pid_t pid) {
  char name[64];
  snprintf(name, sizeof(name), "of-%d.json", (int)pid);
  return named(name);
}

// Its length; -1: there is none.
static long text_of(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t used = 0;
  for (ssize_t n; (n = read(fd, text + used, size - 1 - used)) > 0;) used += (size_t)n;
  close(fd);
  text[used] = '\0';
  return (long)used;
}

static bool is_whole(const char *path) {
  static char text[kText];
  long n = text_of(path, text, sizeof(text));
  return n > 2 && strncmp(text, "{\"schema\": 1, ", 14) == 0 && strcmp(text + n - 2, "}\n") == 0;
}

// ---- what the child does ----

static int at_exit_only(void) {
  CHECK(access(named("exit.json"), F_OK) != 0);
  return 0;
}

// A signal that the thread sends itself is handled before raise returns.
static int by_signal(void) {
  CHECK(raise(SIGUSR2) == 0 && is_whole(of_process(getpid())));
  CHECK(unlink(of_process(getpid())) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    CHECK(raise(SIGUSR2) == 0 && is_whole(of_process(getpid())));
    CHECK(access(of_process(getppid()), F_OK) != 0 && unlink(of_process(getpid())) == 0);
    _exit(0);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  return 0;
}

static bool over;

static void *churn(void *seed) {
  uint64_t state = (uint64_t)(uintptr_t)seed;
  static __thread void *blocks[256];
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
    void **block = &blocks[next_random(&state) % 256];
    size_t size = next_random(&state) % 8 != 0 ? random_size(&state, 12) : next_random(&state) % (3 << 20);
    *block = realloc(*block, size + 1);  // large ones are mapped, moved and unmapped
    CHECK(*block != NULL);
  }
  for (int i = 0; i < 256; i++) free(blocks[i]);
  return NULL;
}

// Signals come to threads that hold locks, or have left them for the system (--config=dbg finds who waits there), and to one
// that writes.
static int in_the_middle(void) {
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
  int seen = 0;
  for (int i = 0; i < kSignals; i++) {
    CHECK(pthread_kill(threads[i % 3], SIGUSR2) == 0);
    if (access(of_process(getpid()), F_OK) != 0) continue;
    CHECK(is_whole(of_process(getpid())));
    ++seen;
  }
  CHECK(seen > 0);
  // Some of these are made while somebody writes; then nobody does in the child.
  for (int i = 0; i < kForks; i++) {
    pthread_kill(threads[i % 3], SIGUSR2);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      CHECK(raise(SIGUSR2) == 0 && is_whole(of_process(getpid())) && unlink(of_process(getpid())) == 0);
      _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  }
  __atomic_store_n(&over, true, __ATOMIC_RELAXED);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}

// Enough of slow paths that each could say so again.
static int go_on(void) {
  char number[8];
  CHECK(hz4_option_get("HZ4_STATS_SIGNAL", number, sizeof(number)) > 0);
  for (int i = 0; i < 1000; i++) {
    free(malloc(1 << 20));
    free(malloc(100));
    if (i % 100 == 0 && number[0] != '0') raise(SIGUSR2);
  }
  return 0;
}

// Where no file may be as long as that, as where the disk is full: an older one stays.
static int disk_full(void) {
  CHECK(raise(SIGUSR2) == 0 && is_whole(named("full.json")));
  CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &(struct rlimit){1000, 1000}) == 0);
  CHECK(raise(SIGUSR2) == 0 && is_whole(named("full.json")));
  return 0;
}

static const struct {
  const char *name;
  int (*run)(void);
} ways[] = {{"exit", at_exit_only}, {"signal", by_signal}, {"middle", in_the_middle}, {"on", go_on}, {"full", disk_full}};

// ---- running them ----

// What it wrote to stderr.
static const char *run(const char *way, const char *file, const char *more) {
  static char said[kText];
  char option[512];
  snprintf(option, sizeof(option), "HZ4_STATS_FILE=%s", file);
  char *arguments[] = {(char *)(uintptr_t)"stats_file_test", (char *)(uintptr_t)way, folder, NULL};
  char *environment[] = {(char *)(uintptr_t)more, option, NULL};
  const char *errors = named("stderr");
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    CHECK(dup2(open(errors, O_RDWR | O_CREAT | O_TRUNC, 0600), STDERR_FILENO) == STDERR_FILENO);
    umask(027);
    execve("/proc/self/exe", arguments, *file != '\0' ? environment : (char *[]){environment[0], NULL});
    _exit(99);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(text_of(errors, said, sizeof(said)) >= 0);
  if (status != 0) fprintf(stderr, "%s %s: status %d: %s\n", way, file, status, said);
  CHECK(status == 0 && unlink(errors) == 0);
  return said;
}

static int count(const char *text, const char *part) {
  int n = 0;
  for (; (text = strstr(text, part)) != NULL; ++text) ++n;
  return n;
}

int main(int argc, char **argv) {
  if (argc > 2) {
    snprintf(folder, sizeof(folder), "%s", argv[2]);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
      if (strcmp(argv[1], ways[i].name) == 0) return ways[i].run();
    }
    return 98;
  }
  const char *temporary = getenv("TEST_TMPDIR");
  snprintf(folder, sizeof(folder), "%s/hz4_stats_XXXXXX", temporary != NULL ? temporary : "/tmp");
  CHECK(mkdtemp(folder) != NULL);
  static char text[kText];

  // By the name's end, with the mode of a file that others may read; the left-over of a process that was killed is no
  // hindrance, and a link that somebody has put there is not followed.
  struct stat found;
  CHECK(strcmp(run("exit", named("exit.json"), "A=B"), "") == 0 && is_whole(named("exit.json")));
  CHECK(stat(named("exit.json"), &found) == 0 && (found.st_mode & 07777) == 0640);
  CHECK(strcmp(run("on", named("on.prom"), "HZ4_STATS_CLASSES=1"), "") == 0);
  CHECK(text_of(named("on.prom"), text, sizeof(text)) > 0 && strncmp(text, "# HELP hz4_info ", 16) == 0);
  CHECK(strcmp(text + strlen(text) - 6, "# EOF\n") == 0 && strstr(text, "hz4_class_live_objects{object_bytes=\"112\"} 0\n") != NULL);
  CHECK(strcmp(run("on", named("on-%p%p.txt%"), "A=B"), "") == 0);
  CHECK(strcmp(run("on", named("on"), "A=B"), "") == 0);
  CHECK(text_of(named("on"), text, sizeof(text)) > 0 && strncmp(text, "hz4 ", 4) == 0);
  CHECK(strstr(text, "\n[HZ4_HEAP] allocated_bytes=") != NULL);

  CHECK(strcmp(run("signal", named("of-%p.json"), "HZ4_STATS_SIGNAL=USR2"), "") == 0);
  CHECK(strcmp(run("middle", named("of-%p.json"), "HZ4_STATS_SIGNAL=USR2"), "") == 0);

  // A fault's handler that returns has the fault again: it would go on for ever.
  const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); ++i) {
    char by[32];
    snprintf(by, sizeof(by), "HZ4_STATS_SIGNAL=%d", faults[i]);
    const char *refused = "hz4: no statistics by HZ4_STATS_SIGNAL: the signal is not to be had\n";
    CHECK(unlink(named("exit.json")) == 0);
    CHECK(strcmp(run("exit", named("exit.json"), by), refused) == 0 && is_whole(named("exit.json")));
  }

  // Without a file: to stderr. Where there can be none it is said once, and the program goes on.
  CHECK(count(run("on", "", "HZ4_STATS_SIGNAL=12"), "\n[HZ4_HEAP]") == 10);
  const char *none = named("none/at-all.json");
  char expected[1024];
  snprintf(expected, sizeof(expected), "hz4: statistics cannot be written, errno %d: %s\n", ENOENT, none);
  CHECK(strcmp(run("on", none, "HZ4_STATS_SIGNAL=USR2"), expected) == 0);
  // Only a regular file is replaced: /dev/null is to be there afterwards.
  CHECK(symlink("/dev/null", named("link.json")) == 0 && mkfifo(named("fifo.json"), 0600) == 0);
  for (int i = 0; i < 2; ++i) {
    char name[512];
    struct stat is;
    snprintf(name, sizeof(name), "%s/%s", folder, i == 0 ? "link.json" : "fifo.json");
    snprintf(expected, sizeof(expected), "hz4: statistics cannot be written, errno %d: %s\n", EEXIST, name);
    CHECK(strcmp(run("on", name, "A=B"), expected) == 0);
    CHECK(lstat(name, &is) == 0 && (is.st_mode & S_IFMT) == (i == 0 ? S_IFLNK : S_IFIFO));
  }
  snprintf(expected, sizeof(expected), "hz4: statistics cannot be written, errno %d: %s\n", EFBIG, named("full.json"));
  CHECK(strcmp(run("full", named("full.json"), "HZ4_STATS_SIGNAL=USR2"), expected) == 0);
  char command[1024];
  snprintf(command, sizeof(command), "ls -A %s | grep '~' && exit 1; rm -r %s", folder, folder);
  CHECK(system(command) == 0);
  puts("PASSED");
  return 0;
}
