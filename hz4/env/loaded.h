// What a program asks of the hz4 that it is LINKED with, or of the one that is preloaded.
#ifndef HZ4_ENV_LOADED_H_
#define HZ4_ENV_LOADED_H_

#include "hz4/env/check.h"

#ifdef LINKED
#include "hz4/hz4.h"

// Of objects: what the program has, what caches hold, what is lost.
__attribute__((unused)) static uint64_t bytes_out(void) {
  return hz4_stats_get("heap_span_bytes") - hz4_stats_get("heap_free_bytes") - hz4_stats_get("heap_depot_bytes");
}

__attribute__((unused)) static uint64_t bytes_out_of_caches(void) {
  malloc_trim(0);
  return bytes_out();
}
#else
#include <dlfcn.h>

static void hz4_check(void) {
  void (*check)(void);
  *(void **)&check = dlsym(RTLD_DEFAULT, "hz4_check");
  CHECK(check != NULL);  // or else hz4 is not preloaded
  check();
}
#endif

#endif  // HZ4_ENV_LOADED_H_
