// A program with rights that who starts it has not (set-user-ID: AT_SECURE) takes no HZ4_ variable from him, and writes no
// file, be it that it names one itself or calls for a heap profile: who starts it may have put a link there, or chosen the folder.
// The test runs a copy of itself that belongs to somebody else.
#include <sys/auxv.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

#define STATISTICS "secure_statistics.json"
const char *hz4_options = "HZ4_STATS_FILE=" STATISTICS;

enum { kOther = 65534, kSecure = 7, kNotSecure = 8 };

// The program's exit status; *said: how much it wrote to stderr.
static int run(char *path, const char *folder, long *said) {
  char name[] = "/tmp/hz4_secure_XXXXXX";
  int out = mkstemp(name), status;
  CHECK(out >= 0 && unlink(name) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    char *arguments[] = {path, (char *)(uintptr_t)"child", NULL};
    char *environment[] = {(char *)(uintptr_t)"HZ4_STATS=1", (char *)(uintptr_t)"HZ4_NONE=1", NULL};
    CHECK(dup2(out, STDERR_FILENO) == STDERR_FILENO && chdir(folder) == 0);
    execve(path, arguments, environment);
    _exit(99);
  }
  struct stat found;
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
  CHECK(fstat(out, &found) == 0);
  close(out);
  *said = found.st_size;
  return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
  if (argc > 1) {
    bool secure = getauxval(AT_SECURE) != 0;
    free(malloc(100));
    CHECK(hz4_profile_start(0) == 0);
    int result = hz4_profile_dump("/dev/null/none", HZ4_PROFILE_PPROF);
    CHECK(result == -1 && errno == (secure ? EPERM : ENOTDIR));
    return secure ? kSecure : kNotSecure;
  }
  (void)argv;
  const char *folder = getenv("TEST_TMPDIR");
  if (folder == NULL) folder = "/tmp";
  char path[4096], statistics[4096];
  struct stat status;
  long said;
  if (geteuid() != 0) SKIP("only root may give a file away");
  snprintf(path, sizeof(path), "%s/secure", folder);
  snprintf(statistics, sizeof(statistics), "%s/" STATISTICS, folder);
  int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  CHECK(from >= 0 && to >= 0 && fstat(from, &status) == 0);
  CHECK(sendfile(to, from, NULL, (size_t)status.st_size) == status.st_size);
  close(to);
  int plain = run(path, folder, &said);
  CHECK(plain == kNotSecure && said > 0 && unlink(statistics) == 0);
  bool given = chown(path, kOther, (gid_t)-1) == 0 && chmod(path, 04755) == 0;
  int secure = run(path, folder, &said);
  unlink(path);
  if (!given || secure == kNotSecure) SKIP("no set-user-ID here (a sandbox, or a file system without)");
  CHECK(secure == kSecure && said == 0 && access(statistics, F_OK) != 0);
  puts("PASSED");
  return 0;
}
