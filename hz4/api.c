// Rank 12. hz4's own names.
#include "hz4/alloc.h"
#include "hz4/hz4.h"
#include "hz4/stats.h"
#include "hz4/thread.h"

const char *hz4_version(void) {
  return HZ4_VERSION_STRING;
}

HZ4_HOT void *hz4_malloc(size_t size) {
  return hz4_alloc_malloc(size);
}

HZ4_HOT void hz4_free(void *ptr) {
  hz4_alloc_free(ptr);
}

void *hz4_calloc(size_t count, size_t size) {
  return hz4_alloc_calloc(count, size);
}

void *hz4_realloc(void *ptr, size_t size) {
  return hz4_alloc_realloc(ptr, size);
}

void hz4_free_sized(void *ptr, size_t size) {
  hz4_alloc_free_sized(ptr, 16, size);
}

void hz4_free_aligned_sized(void *ptr, size_t alignment, size_t size) {
  hz4_alloc_free_sized(ptr, alignment, size);
}

void *hz4_aligned_alloc(size_t alignment, size_t size) {
  return hz4_alloc_aligned(alignment, size);
}

void *hz4_memalign(size_t alignment, size_t size) {
  return hz4_alloc_memalign(alignment, size);
}

int hz4_posix_memalign(void **out, size_t alignment, size_t size) {
  return hz4_alloc_posix_memalign(out, alignment, size);
}

void *hz4_valloc(size_t size) {
  return hz4_alloc_valloc(size);
}

void *hz4_pvalloc(size_t size) {
  return hz4_alloc_pvalloc(size);
}

size_t hz4_malloc_usable_size(void *ptr) {
  return hz4_alloc_usable_size(ptr);
}

int hz4_malloc_trim(size_t pad) {
  return hz4_alloc_trim(pad);
}

void hz4_check(void) {
  hz4_alloc_check();
}

void hz4_stats_print(int fd) {
  hz4_stats_write_text(fd);
}

size_t hz4_stats_json(char *buffer, size_t size) {
  return hz4_stats_format_json(buffer, size);
}

uint64_t hz4_stats_get(const char *name) {
  return hz4_stats_value(name);
}

void hz4_options_print(int fd) {
  hz4_stats_write_options(fd);
}

// Early: before the program's own constructors (most have no priority), and before there are threads.
__attribute__((constructor(101))) static void init_at_load(void) {
  hz4_thread_init_at_load();
}

// Late: after the program's own exit handlers, so that what they free is counted.
__attribute__((destructor(101))) static void print_stats_at_exit(void) {
  hz4_stats_at_exit();
}
