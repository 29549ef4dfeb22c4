#include "hz4/file.h"

#include <fcntl.h>

#include "hz4/syscall.h"

int hz4_file_begin(struct hz4_writer *w, const char *new_path, int mode) {
  hz4_syscall(SYS_unlinkat, AT_FDCWD, new_path, 0);
  long fd = hz4_syscall(SYS_openat, AT_FDCWD, new_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
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
