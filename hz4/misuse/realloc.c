#include "hz4/misuse/misuse.h"

static bool freed(size_t size, long to) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  free(block);
  void *again = realloc(block, to);
  went_on();
  free(neighbour);
  return again != NULL;
}

static bool moved(size_t size, long to) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  if (realloc(block, to) == block) return false;
  void *again = realloc(block, to);
  went_on();
  free(neighbour);
  return again != NULL;
}

static bool near_block(size_t size, long by) {
  char *block = malloc(size);
  void *again = realloc(announce(block + by), 2 * size);
  went_on();
  return again != NULL;
}

static bool stack(size_t size, long by) {
  char local[64] = {0};
  void *again = realloc(announce(local), size);
  went_on();
  return again != NULL;
}

const struct misuse_case misuse_realloc[] = {
    {"freed_small", freed, SMALL, 110},
    {"freed_small_grows", freed, SMALL, 5000},
    {"freed_mid", freed, MID, 30000},
    {"freed_run", freed, RUN, 700000},
    {"freed_mapped", freed, MAPPED, 9 << 20},
    {"moved_small", moved, SMALL, 5000},
    {"interior_small", near_block, SMALL, 16},
    {"unaligned_small", near_block, SMALL, 1},
    {"interior_run", near_block, RUN, 65536},
    {"stack", stack, SMALL},
    {NULL},
};
