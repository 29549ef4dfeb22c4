#include "hz4/writer.h"

void hz4_writer_flush(struct hz4_writer *w) {
  if (w->fd < 0) return;
  hz4_write(w->fd, w->buffer, w->used);
  w->used = 0;
}

void hz4_put_text(void *context, const char *text) {
  struct hz4_writer *w = context;
  for (; *text != '\0'; ++text, ++w->total) {
    if (w->used == w->size) hz4_writer_flush(w);
    if (w->used < w->size) w->buffer[w->used++] = *text;
  }
}

static void put_digits(struct hz4_writer *w, uint64_t number, bool grouped, unsigned columns) {
  char digits[32];
  char *start = digits + sizeof(digits) - 1;
  *start = '\0';
  for (int i = 0; i == 0 || number != 0; ++i, number /= 10) {
    if (grouped && i != 0 && i % 3 == 0) *--start = ',';
    *--start = (char)('0' + number % 10);
  }
  for (size_t length = (size_t)(digits + sizeof(digits) - 1 - start); length < columns; ++length) hz4_put_text(w, " ");
  hz4_put_text(w, start);
}

void hz4_put_number(struct hz4_writer *w, uint64_t number) {
  put_digits(w, number, false, 0);
}

void hz4_put_grouped(struct hz4_writer *w, uint64_t number) {
  put_digits(w, number, true, 0);
}

void hz4_put_column(struct hz4_writer *w, uint64_t number, unsigned columns) {
  put_digits(w, number, true, columns);
}

void hz4_put_hex(struct hz4_writer *w, uintptr_t number) {
  char digits[2 + 2 * sizeof(number) + 1] = "0x";
  for (size_t i = sizeof(digits) - 2; i >= 2; --i, number >>= 4) digits[i] = "0123456789abcdef"[number & 15];
  hz4_put_text(w, digits);
}
