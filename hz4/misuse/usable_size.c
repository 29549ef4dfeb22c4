#include "hz4/misuse/misuse.h"

static bool ask(void *ptr) {
  (void)malloc_usable_size(announce(ptr));
  went_on();
  return true;
}

static bool freed(size_t size, long by) {
  void *neighbour = malloc(size), *block = malloc(size);
  free(block);
  ask(block);
  free(neighbour);
  return true;
}

static bool interior(size_t size, long by) {
  char *block = malloc(size);
  return ask(block + by);
}

static bool statics(size_t size, long by) {
  static char bytes[64] __attribute__((aligned(16)));
  return ask(bytes);
}

const struct misuse_case misuse_usable_size[] = {
    {"freed_small", freed, SMALL},
    {"freed_mapped", freed, MAPPED},
    {"interior", interior, SMALL, 16},
    {"static", statics},
    {NULL},
};
