// Whose malloc this program calls, by the dynamic linker's word. Allocates nothing.
#define _GNU_SOURCE
#include "bench/bench_malloc.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// There if hz4 is linked in or preloaded.
__attribute__((weak)) void *hz4_malloc(size_t size);

// What an address is in: a program or a library.
struct object {
  const char *file;
  const void *base;  // NULL: unknown
};

static struct object object_of(const void *address) {
  Dl_info info;
  if (address == NULL || dladdr(address, &info) == 0 || info.dli_fname == NULL) return (struct object){"?", NULL};
  return (struct object){info.dli_fname, info.dli_fbase};
}

static struct object malloc_object(void) { return object_of(dlsym(RTLD_DEFAULT, "malloc")); }

static bool is_hz4(struct object object) {
  return object.base != NULL && object_of((const void *)(uintptr_t)hz4_malloc).base == object.base;
}

static bool is_this_program(struct object object) {
  return object.base != NULL && object_of((const void *)(uintptr_t)bench_malloc_where).base == object.base;
}

const char *bench_malloc_where(void) {
  static char text[4096 + 32];
  struct object object = malloc_object();
  bool linked = is_this_program(object) && is_hz4(object);
  snprintf(text, sizeof text, "%s%s", linked ? "hz4, linked into " : "", object.file);
  return text;
}

const char *bench_malloc_name(void) {
  static char text[256];
  struct object object = malloc_object();
  if (is_hz4(object)) return "hz4";
  const char *slash = strrchr(object.file, '/');
  snprintf(text, sizeof text, "%s's malloc", slash == NULL ? object.file : slash + 1);
  return text;
}

const char *bench_malloc_shadowed(void) {
  if (!is_this_program(malloc_object())) return NULL;
  struct object next = object_of(dlsym(RTLD_NEXT, "malloc"));
  bool is_libc = next.base == object_of(dlsym(RTLD_NEXT, "getpid")).base;
  return next.base == NULL || is_libc ? NULL : next.file;
}
