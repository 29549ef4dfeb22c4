// Messages without malloc or stdio: composed on the stack, written by one system call, which is no cancellation point.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/syscall.h"
#include "hz4/writer.h"

#define LINE_BYTES 256

// ---- where it goes ----

// What descriptor 2 was as hz4 began. Set once, before there are threads.
HZ4_IN_DATA static enum { NOT_KNOWN, CLOSED, OPEN } was;
HZ4_IN_DATA static struct stat file_then;

void hz4_stderr_remember(void) {
  long result = hz4_syscall(SYS_fstat, STDERR_FILENO, &file_then);
  was = result == 0 ? OPEN : result == -EBADF ? CLOSED : NOT_KNOWN;
}

int hz4_stderr(bool unchanged) {
  if (was == CLOSED) return -1;
  if (!unchanged || was == NOT_KNOWN) return STDERR_FILENO;
  struct stat now = {0};
  bool same = hz4_syscall(SYS_fstat, STDERR_FILENO, &now) == 0 && now.st_dev == file_then.st_dev &&
              now.st_ino == file_then.st_ino;
  return same ? STDERR_FILENO : -1;
}

static int write_all(int fd, const char *text, size_t bytes) {
  while (bytes != 0) {
    long n = hz4_syscall(SYS_write, fd, text, bytes);
    if (n == -EINTR) continue;
    if (n <= 0) return n == 0 ? EIO : (int)-n;
    text += n;
    bytes -= (size_t)n;
  }
  return 0;
}

// The kernel's sets of signals: it sends these to the thread that writes to a pipe whose reader is gone (EPIPE), or a file
// beyond RLIMIT_FSIZE (EFBIG). What hz4 writes is nothing that the program should end by. Pending before can only be what the
// program blocks; without, a filter of system calls meets none but what every program makes.
int hz4_write(int fd, const char *text, size_t bytes) {
  const uint64_t quiet = UINT64_C(1) << (SIGPIPE - 1) | UINT64_C(1) << (SIGXFSZ - 1);
  uint64_t before = 0, pending = 0;
  hz4_syscall(SYS_rt_sigprocmask, SIG_BLOCK, &quiet, &before, sizeof(quiet));
  if ((before & quiet) != 0) hz4_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
  int error = write_all(fd, text, bytes);
  uint64_t ours = quiet & ~pending;
  const struct timespec at_once = {0};
  if (error == EPIPE || error == EFBIG) hz4_syscall(SYS_rt_sigtimedwait, &ours, NULL, &at_once, sizeof(ours));
  hz4_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
  return error;
}

size_t hz4_read_file(const char *path, char *text, size_t size) {
  long fd = hz4_syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t have = 0;
  for (long more; have < size && (more = hz4_syscall(SYS_read, fd, text + have, size - have)) > 0;) have += (size_t)more;
  hz4_syscall(SYS_close, fd);
  return have;
}

// ---- lines ----

// One, cut to its buffer, by one write. (What cannot be written there is nobody to tell of.)
static void write_line(struct hz4_writer *w) {
  w->buffer[w->used] = '\n';
  hz4_write(hz4_stderr(false), w->buffer, w->used + 1);
}

#define LINE(name)                  \
  HZ4_WRITER(name, LINE_BYTES, -1); \
  --name.size

void hz4_warn(const char *what, const char *detail) {
  LINE(w);
  hz4_put(&w, "hz4: %s%s", what, detail != NULL ? detail : "");
  write_line(&w);
}

void hz4_warn_of_file(const char *what, int error, const char *path) {
  LINE(w);
  hz4_put(&w, "hz4: %s, errno %u: %s", what, (unsigned)error, path);
  write_line(&w);
}

void hz4_panic(const char *what) {
  hz4_warn(what, NULL);
  abort();
}

HZ4_IN_DATA const struct hz4_reporter *hz4_reporter;

void hz4_report_pointer(const char *what, const void *ptr, const void *frame) {
  LINE(w);
  hz4_put(&w, "hz4: %s: 0x%016lx", what, (uintptr_t)ptr);
  size_t bytes = hz4_reporter != NULL ? hz4_reporter->class_bytes(ptr) : 0;
  if (bytes != 0) hz4_put(&w, ", size class %lu", bytes);
  write_line(&w);
  if (hz4_reporter != NULL) hz4_reporter->more(hz4_stderr(false), ptr, frame);
}

void hz4_panic_pointer(const char *what, const void *ptr) {
  hz4_report_pointer(what, ptr, __builtin_frame_address(0));
  abort();
}

// Set once.
HZ4_IN_DATA static bool only_warn;
// Where the program was when something was reported. Who finds no room is not heard.
static _Atomic(uintptr_t) places[HZ4_REPORT_PLACES];

void hz4_report_configure(bool warn) {
  only_warn = warn;
}

static bool is_new_place(uintptr_t place) {
  for (size_t i = 0; i < HZ4_REPORT_PLACES; ++i) {
    uintptr_t there = hz4_load_relaxed(&places[i]);
    if (there == 0 && hz4_cas_strong_acquire(&places[i], &there, place)) return true;
    if (there == place) return false;
  }
  return false;
}

void hz4_report_misuse(const char *what, const void *ptr, const void *frame) {
  const uintptr_t *pair = frame;  // the caller's frame, and where that goes on
  if (only_warn && !is_new_place(pair[1])) return;
  hz4_report_pointer(what, ptr, frame);
  if (!only_warn) abort();
}

void hz4_assertion_failed(const char *what) {
  hz4_warn("assertion: ", what);
  const long none[16] = {0};  // a sigaction of the kernel's, of whatever shape: the default, and no signal blocked
  hz4_syscall(SYS_rt_sigaction, SIGABRT, none, NULL, sizeof(none[0]));
  hz4_syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, sizeof(none[0]));
  hz4_syscall(SYS_tgkill, hz4_syscall(SYS_getpid, 0), hz4_syscall(SYS_gettid, 0), SIGABRT);
  abort();
}
