// Rank 1. Text that is composed piece by piece, without stdio and without malloc.
#ifndef HZ4_WRITER_H_
#define HZ4_WRITER_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hz4_writer {
  char *buffer;
  size_t size, used;
  size_t total;  // bytes that were put so far
  int fd;        // what is full is written there; -1: nowhere, and what does not fit is only counted
};

// `context` is the writer: for functions that write to any.
void hz4_put_text(void *context, const char *text);
void hz4_put_number(struct hz4_writer *w, uint64_t number);
// With 0x, and all zeros before it.
void hz4_put_hex(struct hz4_writer *w, uintptr_t number);
// In groups of three digits.
void hz4_put_grouped(struct hz4_writer *w, uint64_t number);
// The same, at the right of so many columns.
void hz4_put_column(struct hz4_writer *w, uint64_t number, unsigned columns);
void hz4_writer_flush(struct hz4_writer *w);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_WRITER_H_
