#include "hz4/writer.h"

#include <stdarg.h>
#include <string.h>

char hz4_exit_text[HZ4_EXIT_TEXT_BYTES];

void hz4_writer_flush(struct hz4_writer *w) {
  if (w->fd < 0) return;
  if (w->error == 0) w->error = hz4_write(w->fd, w->buffer, w->used);
  w->used = 0;
}

void hz4_put_bytes(struct hz4_writer *w, const void *data, size_t bytes) {
  w->total += bytes;
  for (const char *from = data; bytes != 0;) {
    if (w->used == w->size) hz4_writer_flush(w);
    size_t room = w->size - w->used, n = bytes < room ? bytes : room;
    if (n == 0) return;
    memcpy(w->buffer + w->used, from, n);
    w->used += n;
    from += n;
    bytes -= n;
  }
}

_Static_assert(sizeof(long) == sizeof(uint64_t), "compilers check %lu against long");

static void put_number(struct hz4_writer *w, uint64_t number, unsigned base, bool grouped, char fill, size_t columns) {
  char digits[64], *const end = digits + sizeof(digits), *start = end;
  for (int i = 0; i == 0 || number != 0; ++i, number /= base) {
    if (grouped && i != 0 && i % 3 == 0) *--start = ',';
    *--start = "0123456789abcdef"[number % base];
  }
  while ((size_t)(end - start) < columns && start != digits) *--start = fill;
  hz4_put_bytes(w, start, (size_t)(end - start));
}

static void put_all(struct hz4_writer *w, const char *format, va_list args) {
  for (;;) {
    const char *next = strchr(format, '%');
    hz4_put_bytes(w, format, next != NULL ? (size_t)(next - format) : strlen(format));
    if (next == NULL) return;
    format = next + 1;
    bool grouped = *format == '\'';
    if (grouped) ++format;
    char fill = *format == '0' ? '0' : ' ';
    size_t columns = 0;
    for (; *format >= '0' && *format <= '9'; ++format) columns = columns * 10 + (size_t)(*format - '0');
    bool is_long = *format == 'l';
    if (is_long) ++format;
    char kind = *format++;
    if (kind == 's') {
      const char *text = va_arg(args, const char *);
      hz4_put_bytes(w, text, strlen(text));
    } else if (kind == '%') {
      hz4_put_bytes(w, "%", 1);
    } else {
      uint64_t number = is_long ? va_arg(args, uint64_t) : va_arg(args, unsigned);
      put_number(w, number, kind == 'x' ? 16 : 10, grouped, fill, columns);
    }
  }
}

void hz4_put(struct hz4_writer *w, const char *format, ...) {
  va_list args;
  va_start(args, format);
  put_all(w, format, args);
  va_end(args);
}

void hz4_format(char *out, size_t size, const char *format, ...) {
  struct hz4_writer w = {.buffer = out, .size = size - 1, .fd = -1};
  va_list args;
  va_start(args, format);
  put_all(&w, format, args);
  va_end(args);
  out[w.used] = '\0';
}
