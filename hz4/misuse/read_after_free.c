#include "hz4/misuse/misuse.h"

enum { SECRET = 0x77 };

static bool read_freed(size_t size, long at) {
  char *neighbour = malloc(size), *block = malloc(size);
  memset(block, SECRET, size);
  free(block);
  int got = get((char *)announce(block) + at);
  went_on();
  free(neighbour);
  return got == SECRET;
}

// What another owner wrote.
static bool read_reused(size_t size, long tries) {
  char *neighbour = malloc(size), *block = malloc(size), *next = NULL;
  free(block);
  for (int i = 0; i < tries && next != block; ++i) next = malloc(size);
  if (next != block) return false;
  memset(next, SECRET, size);
  int got = get(announce(block));
  went_on();
  free(neighbour);
  return got == SECRET;
}

const struct misuse_case misuse_read_after_free[] = {
    {"tiny", read_freed, 8, 4},
    {"small", read_freed, SMALL, 50},
    {"mid", read_freed, MID, 9000},
    {"run", read_freed, RUN, 300000},
    {"mapped", read_freed, MAPPED, 4 << 20},
    {"reused_small", read_reused, SMALL, 4000},
    {"reused_run", read_reused, RUN, 8},
    {NULL},
};
