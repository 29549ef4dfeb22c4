// Rank 0. Text that is composed piece by piece, without stdio and without malloc.
#ifndef HZ4_WRITER_H_
#define HZ4_WRITER_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_writer {
  char *buffer;
  size_t size, used;
  size_t total;  // bytes that were put so far
  int fd;        // what is full is written there; -1: nowhere, and what does not fit is only counted
  int error;     // what the system said, as errno has it; nothing is written after that
};

// A writer with a buffer of its own.
#define HZ4_WRITER(name, bytes, to) \
  char name##_buffer[bytes];        \
  struct hz4_writer name = {.buffer = name##_buffer, .size = (bytes), .fd = (to)}

// For what is said as the process ends, by the thread that ends it: one write, so that what several processes say is not mixed.
extern char hz4_exit_text[HZ4_EXIT_TEXT_BYTES];

// As printf, with %s, %u, %x and %%, l for 64 bits, a width, 0 for zeros before it and ' for groups of three digits.
__attribute__((format(printf, 2, 3))) void hz4_put(struct hz4_writer *w, const char *format, ...);
void hz4_put_bytes(struct hz4_writer *w, const void *data, size_t bytes);
void hz4_writer_flush(struct hz4_writer *w);

// As snprintf, likewise. pre: size != 0.
__attribute__((format(printf, 3, 4))) void hz4_format(char *out, size_t size, const char *format, ...);

HZ4_END_DECLS

#endif  // HZ4_WRITER_H_
