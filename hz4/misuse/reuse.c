#include "hz4/misuse/misuse.h"

// Whether what was freed last is among the next `tries`, which an attacker counts on.
static bool same(size_t size, long tries) {
  void *neighbour = malloc(size), *block = malloc(size);
  free(announce(block));
  bool again = false;
  for (long i = 0; i < tries; ++i) again |= malloc(size) == block;
  free(neighbour);
  return again;
}

static bool by_calloc(size_t size, long by) {
  void *neighbour = malloc(size), *block = malloc(size);
  free(announce(block));
  bool again = calloc(1, size) == block;
  free(neighbour);
  return again;
}

static void *allocated;

static void *take(void *size) {
  allocated = malloc((size_t)size);
  return NULL;
}

static bool in_other_thread(size_t size, long by) {
  void *neighbour = malloc(size), *block = malloc(size);
  free(announce(block));
  in_thread(take, (void *)size);
  free(neighbour);
  return allocated == block;
}

// Whether memory of one size is another's at once: then a pointer of the wrong type is a forged object.
static bool other_size(size_t size, long other) {
  enum { COUNT = 4096 };
  static char *blocks[COUNT];
  for (int i = 0; i < COUNT; ++i) blocks[i] = malloc(size);
  char *middle = announce(blocks[COUNT / 2]);
  for (int i = 0; i < COUNT; ++i) free(blocks[i]);
  for (int i = 0; i < COUNT; ++i) {
    char *next = malloc(other);
    if (next < middle + size && next + other > middle) return true;
  }
  return false;
}

// The addresses of what was never used, in the order of allocation.
static bool in_order(size_t size, long by) {
  char *last = announce(malloc(size)), *next;
  long step = 0, steps = 0;
  for (int i = 0; i < 64; ++i, last = next) {
    next = malloc(size);
    steps += next - last == step;
    step = next - last;
  }
  return steps > 32;
}

const struct misuse_case misuse_reuse[] = {
    {"tiny", same, 8, 1},
    {"small", same, SMALL, 1},
    {"mid", same, MID, 1},
    {"run", same, RUN, 1},
    {"mapped", same, MAPPED, 1},
    {"small_in_4", same, SMALL, 4},
    {"run_in_4", same, RUN, 4},
    {"calloc", by_calloc, SMALL},
    {"other_thread", in_other_thread, SMALL},
    {"other_size", other_size, SMALL, 200},
    {"in_order", in_order, SMALL},
    {NULL},
};
