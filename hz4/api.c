// Rank 12. hz4's own names.
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hz4/alloc.h"
#include "hz4/slots.h"
#include "hz4/hz4.h"
#include "hz4/limit.h"
#include "hz4/limit_option.h"
#include "hz4/options.h"
#include "hz4/probes.h"
#include "hz4/profile.h"
#include "hz4/report.h"
#include "hz4/sample.h"
#include "hz4/stats.h"
#include "hz4/thread.h"
#include "hz4/writer.h"

// A static program has none.
#pragma weak dladdr

const char *hz4_version(void) {
  return HZ4_VERSION_STRING;
}

HZ4_HOT void *hz4_malloc(size_t size) {
  return hz4_alloc_malloc(size);
}

HZ4_HOT void hz4_free(void *ptr) {
  hz4_alloc_free(ptr);
}

#define DEFINE(result, name, parameters, call) \
  result hz4_##name parameters {               \
    return call;                               \
  }
HZ4_ALLOC_NAMES(DEFINE)

int hz4_limit_set(size_t soft, size_t hard) {
  if (hard != 0 && soft > hard) {
    errno = EINVAL;
    return -1;
  }
  hz4_thread_init();  // which sets them as well
  hz4_limit_configure(soft != 0 ? soft : SIZE_MAX, hard != 0 ? hard : SIZE_MAX);
  hz4_thread_options_changed();
  hz4_alloc_keep_to_limit();
  return 0;
}

void hz4_limit_get(size_t *soft, size_t *hard) {
  struct hz4_limit_stats limit;
  hz4_thread_init();
  hz4_limit_stats(&limit);
  if (soft != NULL) *soft = limit.soft_bytes;
  if (hard != NULL) *hard = limit.hard_bytes;
}

void hz4_limit_refresh(void) {
  hz4_thread_init();
  hz4_limit_option_read(hz4_option.limit);
  hz4_limit_option_read_container();
  hz4_thread_options_changed();
  hz4_alloc_keep_to_limit();
}

void hz4_check(void) {
  hz4_alloc_check();
}

int hz4_option_get(const char *name, char *buffer, size_t size) {
  hz4_thread_init();
  struct hz4_writer w = {.buffer = buffer, .size = size != 0 ? size - 1 : 0, .fd = -1};
  if (!hz4_options_put(name, &w)) {
    errno = ENOENT;
    return -1;
  }
  if (size != 0) buffer[w.used] = '\0';
  return (int)w.total;
}

static int result_of(int error) {
  if (error != 0) errno = error;
  return error == 0 ? 0 : -1;
}

int hz4_option_set(const char *name, const char *value) {
  hz4_thread_init();
  int error = hz4_options_set(name, value);
  if (error == EPERM && strcmp(name, "HZ4_LIMIT") == 0 && !hz4_limit_option_holds(value)) error = EINVAL;
  if (error == 0) hz4_thread_options_changed();
  return result_of(error);
}

int hz4_profile_start(size_t mean_bytes) {
  hz4_thread_init();
  return result_of(hz4_profile_begin(mean_bytes));
}

int hz4_profile_stop(void) {
  return result_of(hz4_profile_end());
}

int hz4_profile_dump(const char *path, int format) {
  bool known = format == HZ4_PROFILE_PPROF || format == HZ4_PROFILE_HEAP_V2;
  return result_of(known ? hz4_profile_save(path, (enum hz4_profile_format)format) : EINVAL);
}

int hz4_guard_describe(const void *address, int fd) {
  return hz4_report_block(fd, address) ? 1 : 0;
}

void hz4_options_print(int fd) {
  HZ4_WRITER(w, 512, fd);
  hz4_options_put_table(&w);
  hz4_writer_flush(&w);
}

// Another library may come first, or the program may have hz4's own names alone.
static bool malloc_is_hz4(void) {
  void *block = malloc(1);
  bool own = hz4_pagemap_find(block) != NULL;
  free(block);
  return own;
}

// HZ4_VERBOSE: which hz4 it is, in which file, and what is set.
HZ4_NOINLINE static void say_hello(bool is_malloc) {
  HZ4_WRITER(w, HZ4_OPTION_TEXT_BYTES, hz4_stderr(false));
  Dl_info file = {0};
  bool known = dladdr != NULL && dladdr(HZ4_VERSION_STRING, &file) != 0 && file.dli_fname != NULL;
  hz4_put(&w, "hz4: " HZ4_VERSION_STRING " in %s, with", known ? file.dli_fname : "a static program");
  hz4_options_put_changed(&w);
  hz4_put(&w, is_malloc ? "\n" : ", but malloc is another's\n");
  hz4_writer_flush(&w);
}

// Early: before the program's own constructors (most have no priority), and before there are threads.
__attribute__((constructor(101))) static void init_at_load(void) {
  hz4_thread_init_at_load();
  if (hz4_option.verbose != 0) say_hello(malloc_is_hz4());
  hz4_stats_begin();
  hz4_profile_at_load();
  if (hz4_probes_are_due()) hz4_probes_follow();  // the kernel counts who traces the file before it runs
  if (hz4_option.guard_handler != 0) hz4_report_faults();
  if (hz4_option.guard_bytes == 0) return;
  if (!hz4_slots_begin()) hz4_warn("no memory for guarded slots", NULL);
  hz4_sample_start(HZ4_SAMPLE_GUARD, hz4_option.guard_bytes, NULL);
}

// Late: after the program's own exit handlers, so that what they free is counted.
__attribute__((destructor(101))) static void report_at_exit(void) {
  hz4_stats_at_exit();
  hz4_profile_at_exit();
}
