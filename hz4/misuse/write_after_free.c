#include "hz4/misuse/misuse.h"

enum { MANY = 4000 };

static bool write_to_freed(size_t size, long at) {
  char *neighbour = malloc(size), *block = malloc(size);
  free(block);
  put((char *)announce(block) + at, 0x5a);
  went_on();
  for (int i = 0; i < (size > 65536 ? 8 : MANY); ++i) malloc(size);  // so that it is handed out once more
  free(neighbour);
  return true;
}

static bool write_all(size_t size, long by) {
  char *neighbour = malloc(size), *block = malloc(size);
  free(block);
  block = announce(block);
  for (size_t i = 0; i < size; ++i) put(block + i, 0x5a);
  went_on();
  malloc_trim(0);
  free(neighbour);
  return true;
}

// Another owner's by then.
static bool write_to_reused(size_t size, long by) {
  char *neighbour = malloc(size), *block = malloc(size), *next = NULL;
  free(block);
  for (int i = 0; i < by && next != block; ++i) next = malloc(size);
  if (next != block) return false;
  put(announce(block), 0x5a);
  went_on();
  free(neighbour);
  return get(next) == 0x5a;
}

static bool write_after_trim(size_t size, long by) {
  char *neighbour = malloc(size), *block = malloc(size);
  free(block);
  malloc_trim(0);
  put(announce(block), 0x5a);
  went_on();
  free(neighbour);
  return true;
}

static bool write_after_realloc(size_t size, long to) {
  char *neighbour = malloc(size), *block = malloc(size), *moved = realloc(block, to);
  if (moved == block) return false;
  put(announce(block), 0x5a);
  went_on();
  for (int i = 0; i < 8; ++i) malloc(size);
  free(neighbour);
  return true;
}

// Others were freed after it.
static bool write_late(size_t size, long others) {
  char *neighbour = malloc(size), *block = malloc(size);
  free(block);
  for (long i = 0; i < others; ++i) free(malloc(size));
  put(announce(block), 0x5a);
  went_on();
  free(neighbour);
  return true;
}

const struct misuse_case misuse_write_after_free[] = {
    {"tiny", write_to_freed, 8, 0},
    {"small", write_to_freed, SMALL, 0},
    {"small_inside", write_to_freed, SMALL, 50},
    {"mid", write_to_freed, MID, 9000},
    {"run", write_to_freed, RUN, 0},
    {"run_inside", write_to_freed, RUN, 300000},
    {"mapped", write_to_freed, MAPPED, 0},
    {"all_small", write_all, SMALL},
    {"all_run", write_all, RUN},
    {"reused_small", write_to_reused, SMALL, MANY},
    {"reused_run", write_to_reused, RUN, 8},
    {"after_trim_small", write_after_trim, SMALL},
    {"after_trim_run", write_after_trim, RUN},
    {"after_realloc_small", write_after_realloc, SMALL, 5000},
    {"after_realloc_run", write_after_realloc, RUN, 2 << 20},
    {"late_run", write_late, RUN, 4},
    {NULL},
};
