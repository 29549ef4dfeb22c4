#include "hz4/misuse/misuse.h"

enum { MANY = 3000 };

static bool twice(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  free(block);
  free(block);
  went_on();
  free(neighbour);
  return true;
}

// No neighbour: nothing else is in its span.
static bool alone(size_t size, long by) {
  void *block = announce(malloc(size));
  free(block);
  free(block);
  went_on();
  return true;
}

static bool found_late(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  free(block);
  free(block);
  went_on();
  malloc_trim(0);  // what caches hold goes home
  free(neighbour);
  return true;
}

static bool home(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  free(block);
  malloc_trim(0);
  free(block);
  went_on();
  malloc_trim(0);
  free(neighbour);
  return true;
}

static bool reused(size_t size, long tries) {
  void *neighbour = malloc(size), *block = announce(malloc(size)), *next = NULL;
  free(block);
  for (int i = 0; i < tries && next != block; ++i) next = malloc(size);
  if (next != block) return false;
  free(block);  // its owner cannot know
  went_on();
  free(neighbour);
  return true;
}

// `by` other blocks are freed between.
static bool at_a_distance(size_t size, long by) {
  static void *others[MANY];
  for (long i = 0; i < by; ++i) others[i] = malloc(size);
  void *block = announce(malloc(size));
  free(block);
  for (long i = 1; i < by; ++i) free(others[i]);
  free(block);
  went_on();
  malloc_trim(0);
  free(others[0]);
  return true;
}

static bool three(size_t size, long by) {
  void *a = malloc(size), *b = malloc(size);
  free(announce(a));
  free(b);
  free(announce(a));
  went_on();
  void *got[3] = {malloc(size), malloc(size), malloc(size)};
  return got[0] == got[1] || got[1] == got[2] || got[0] == got[2];
}

static void *give(void *block) {
  free(block);
  return NULL;
}

static bool other_thread(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  free(block);
  in_thread(give, block);
  went_on();
  free(neighbour);
  return true;
}

static bool two_threads(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  in_thread(give, block);
  in_thread(give, block);
  went_on();
  free(neighbour);
  return true;
}

static void *made[MANY];

static void *make(void *size) {
  for (int i = 0; i < MANY; ++i) made[i] = malloc((size_t)size);
  return NULL;
}

// Batches go to whose they are.
static bool of_another(size_t size, long by) {
  in_thread(make, (void *)size);
  for (int i = 1; i < MANY; ++i) free(made[i]);
  free(announce(made[MANY / 2]));
  went_on();
  malloc_trim(0);
  free(made[0]);
  return true;
}

static bool by_sized_free(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  sized_free(block, size);
  sized_free(block, size);
  went_on();
  free(neighbour);
  return true;
}

static bool of_aligned(size_t size, long align) {
  void *neighbour = aligned_alloc(align, size), *block = announce(aligned_alloc(align, size));
  free(block);
  free(block);
  went_on();
  free(neighbour);
  return true;
}

static bool after_realloc(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  void *moved = realloc(block, by);
  if (moved == block) return false;
  free(block);
  went_on();
  free(neighbour);
  return true;
}

static bool after_realloc_to_0(size_t size, long by) {
  void *neighbour = malloc(size), *block = announce(malloc(size));
  if (realloc(block, 0) != NULL) return false;
  free(block);
  went_on();
  free(neighbour);
  return true;
}

const struct misuse_case misuse_double_free[] = {
    {"tiny", twice, 8},
    {"small", twice, SMALL},
    {"mid", twice, MID},
    {"run", twice, RUN},
    {"mapped", twice, MAPPED},
    {"huge", alone, (size_t)512 << 20},
    {"alone_small", alone, SMALL},
    {"alone_run", alone, RUN},
    {"found_late", found_late, SMALL},
    {"home", home, SMALL},
    {"home_run", home, RUN},
    {"reused", reused, SMALL, MANY},
    {"reused_run", reused, RUN, 8},
    {"after_8", at_a_distance, SMALL, 8},
    {"after_200", at_a_distance, SMALL, 200},
    {"after_3000", at_a_distance, SMALL, MANY},
    {"between", three, SMALL},
    {"other_thread", other_thread, SMALL},
    {"other_thread_run", other_thread, RUN},
    {"two_threads", two_threads, SMALL},
    {"of_another", of_another, SMALL},
    {"sized", by_sized_free, SMALL},
    {"aligned", of_aligned, 8192, 4096},
    {"after_realloc", after_realloc, SMALL, 5000},
    {"after_realloc_run", after_realloc, RUN, 100},
    {"after_realloc_to_0", after_realloc_to_0, SMALL},
    {NULL},
};
