// What the tests of this package share: checks that do not allocate, and readings of /proc/self that do not either.
#ifndef HZ4_ENV_CHECK_H_
#define HZ4_ENV_CHECK_H_

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// glibc's, which other libcs do not declare.
int malloc_trim(size_t pad);

// One line by write(2), and the end: works in a child, in a thread, and under a seccomp filter.
__attribute__((noreturn, unused)) static void check_failed(const char *file, int line, const char *what) {
  char text[512];
  int length = snprintf(text, sizeof(text), "%s:%d: FAILED: %s (errno %d)\n", file, line, what, errno);
  fflush(stdout);
  ssize_t written = write(STDERR_FILENO, text, (size_t)length);
  (void)written;
  _exit(1);
}

#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) check_failed(__FILE__, __LINE__, #condition); \
  } while (0)

// For what the machine does not allow: a test that could not test says so.
#define SKIP(why)                     \
  do {                                \
    printf("SKIPPED: %s\n", why);     \
    exit(0);                          \
  } while (0)

// Writes to and reads back both ends of a block.
__attribute__((unused)) static void touch(void *ptr, size_t bytes) {
  volatile unsigned char *bytes_of = ptr;
  if (bytes == 0) return;
  bytes_of[0] = 0x5a;
  bytes_of[bytes - 1] = 0xa5;
  CHECK(bytes_of[bytes - 1] == 0xa5 && (bytes == 1 || bytes_of[0] == 0x5a));
}

__attribute__((unused)) static bool is_zero(const void *ptr, size_t bytes) {
  const unsigned char *bytes_of = ptr;
  for (size_t i = 0; i < bytes; i++) {
    if (bytes_of[i] != 0) return false;
  }
  return true;
}

// xorshift64: never 0, and it does not allocate.
__attribute__((unused)) static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

// A size below 2^top_shift, each doubling from 16 bytes on equally likely.
__attribute__((unused)) static size_t random_size(uint64_t *state, unsigned top_shift) {
  uint64_t base = (uint64_t)8 << next_random(state) % (top_shift - 3);
  return (size_t)(base + next_random(state) % base);
}

// The number behind "name:" in a file like /proc/self/status, where it is in KiB; -1 when there is no such line.
__attribute__((unused)) static long proc_kib(const char *path, const char *name) {
  static char text[16384];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0);
  size_t used = 0;
  for (ssize_t n; (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0;) used += (size_t)n;
  close(fd);
  text[used] = '\0';
  size_t length = strlen(name);
  for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, name, length) == 0 && line[length] == ':') return strtol(line + length + 1, NULL, 10);
  }
  return -1;
}

__attribute__((unused)) static long rss_kib(void) {
  return proc_kib("/proc/self/status", "VmRSS");
}

__attribute__((unused)) static long count_mappings(void) {
  char text[4096];
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0);
  long lines = 0;
  for (ssize_t n; (n = read(fd, text, sizeof(text))) > 0;) {
    for (ssize_t i = 0; i < n; i++) lines += text[i] == '\n';
  }
  close(fd);
  return lines;
}

#endif  // HZ4_ENV_CHECK_H_
