// Messages without malloc or stdio: composed on the stack, written by one write(2).
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hz4/base.h"

#define LINE_BYTES 256

static size_t append(char *line, size_t used, const char *text) {
  while (*text != '\0' && used < LINE_BYTES - 1) line[used++] = *text++;
  return used;
}

static void write_line(char *line, size_t used) {
  line[used++] = '\n';
  // One try: where stderr is closed or full there is nobody to tell.
  ssize_t written = write(STDERR_FILENO, line, used);
  (void)written;
}

void hz4_warn(const char *what, const char *detail) {
  char line[LINE_BYTES];
  size_t used = append(line, 0, "hz4: ");
  used = append(line, used, what);
  if (detail != NULL) used = append(line, used, detail);
  write_line(line, used);
}

void hz4_panic(const char *what) {
  hz4_warn(what, NULL);
  abort();
}

void hz4_panic_pointer(const char *what, const void *ptr) {
  char hex[2 + 2 * sizeof(ptr) + 1] = "0x";
  for (size_t i = 0; i < 2 * sizeof(ptr); ++i) {
    unsigned digit = (uintptr_t)ptr >> (4 * (2 * sizeof(ptr) - 1 - i)) & 15;
    hex[2 + i] = "0123456789abcdef"[digit];
  }
  char line[LINE_BYTES];
  size_t used = append(line, 0, "hz4: ");
  used = append(line, used, what);
  used = append(line, used, ": ");
  used = append(line, used, hex);
  write_line(line, used);
  abort();
}
