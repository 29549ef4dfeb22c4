#include "hz4/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hz4/syscall.h"

// A device that was renamed over is gone: /dev/stdout and /dev/null are names that people give.
static int look_at(const char *path) {
  struct stat there = {0};
  int error = (int)-hz4_syscall(SYS_newfstatat, AT_FDCWD, path, &there, AT_SYMLINK_NOFOLLOW);
  return error == ENOENT || (error == 0 && S_ISREG(there.st_mode)) ? 0 : error != 0 ? error : EEXIST;
}

int hz4_file_begin(struct hz4_writer *w, const char *new_path, const char *path, int mode) {
  int error = look_at(path);
  if (error != 0) return error;
  hz4_syscall(SYS_unlinkat, AT_FDCWD, new_path, 0);
  long fd = hz4_syscall(SYS_openat, AT_FDCWD, new_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  // Of a program that has closed its standard streams it is none: what that prints must not come into it.
  if (fd >= 0 && fd <= STDERR_FILENO) {
    long above = hz4_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    hz4_syscall(SYS_close, fd);
    if (above < 0) hz4_syscall(SYS_unlinkat, AT_FDCWD, new_path, 0);
    fd = above;
  }
  w->fd = (int)fd;
  return fd < 0 ? (int)-fd : 0;
}

int hz4_file_end(struct hz4_writer *w, const char *new_path, const char *path) {
  hz4_writer_flush(w);
  long closed = hz4_syscall(SYS_close, w->fd);
  if (w->error == 0) w->error = (int)-closed;
  if (w->error == 0) w->error = (int)-hz4_syscall(SYS_renameat2, AT_FDCWD, new_path, AT_FDCWD, path, 0);
  if (w->error != 0) hz4_syscall(SYS_unlinkat, AT_FDCWD, new_path, 0);
  return w->error;
}

static bool is_fault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGTRAP || signal == SIGSYS;
}

bool hz4_file_listen(int signal, void (*handler)(int)) {
  struct sigaction action = {.sa_flags = SA_RESTART | SA_ONSTACK}, now;
  action.sa_handler = handler;
  return !is_fault(signal) && sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_DFL &&
         sigaction(signal, &action, NULL) == 0;
}
