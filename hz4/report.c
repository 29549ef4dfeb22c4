#include "hz4/report.h"

#include "hz4/pagemap.h"
#include "hz4/sizeclass.h"
#include "hz4/slots.h"
#include "hz4/span.h"
#include "hz4/stack.h"
#include "hz4/writer.h"

static size_t class_bytes(const void *ptr) {
  const struct hz4_span *span = hz4_pagemap_span(ptr);
  return span != NULL && span->kind == HZ4_SPAN_OBJECTS ? hz4_class_usable(span->size_class) : 0;
}

static void more(int fd, const void *ptr, const void *frame) {
  HZ4_WRITER(w, 512, fd);
  uintptr_t stack[HZ4_REPORT_FRAMES];
  hz4_stack_put(&w, "at", stack, hz4_stack_take(frame, stack, HZ4_REPORT_FRAMES));
  hz4_writer_flush(&w);
  hz4_slots_write(fd, ptr);
}

static const struct hz4_reporter reporter = {class_bytes, more};

void hz4_report_begin(void) {
  hz4_reporter = &reporter;
}
