#include "hz4/misuse/misuse.h"

enum { SECRET = 0x77 };

static bool holds_secret(const char *block, size_t size) {
  size_t found = 0;
  for (size_t i = 0; i < size; ++i) found += get(block + i) == SECRET;
  return found > size / 4;
}

// What one had written, another reads in what malloc gave him.
static bool by_malloc(size_t size, long tries) {
  char *neighbour = malloc(size), *block = malloc(size);
  memset(block, SECRET, size);
  free(announce(block));
  bool leaked = false;
  for (long i = 0; i < tries && !leaked; ++i) leaked = holds_secret(malloc(size), size);
  free(neighbour);
  return leaked;
}

static bool by_other_size(size_t size, long other) {
  enum { COUNT = 4096 };
  static char *blocks[COUNT];
  for (int i = 0; i < COUNT; ++i) memset(blocks[i] = malloc(size), SECRET, size);
  announce(blocks[0]);
  for (int i = 0; i < COUNT; ++i) free(blocks[i]);
  bool leaked = false;
  for (int i = 0; i < COUNT && !leaked; ++i) leaked = holds_secret(malloc(other), other);
  return leaked;
}

static bool by_realloc(size_t size, long to) {
  char *secret = malloc(to), *block = malloc(size);
  memset(secret, SECRET, to);
  free(announce(secret));
  block = realloc(block, to);
  return holds_secret(block + size, to - size);
}

static bool by_aligned(size_t size, long align) {
  char *block = aligned_alloc(align, size);
  memset(block, SECRET, size);
  free(announce(block));
  return holds_secret(aligned_alloc(align, size), size);
}

// Pointers to the heap, or to the allocator, in what was freed.
static bool pointers(size_t size, long by) {
  char *neighbour = malloc(size), *other = malloc(size), *block = malloc(size);
  memset(block, 0, size);
  free(other);
  free(announce(block));
  uintptr_t *words = malloc(size);
  bool leaked = words[0] > 65536 || words[1] > 65536;
  free(neighbour);
  return leaked;
}

const struct misuse_case misuse_information[] = {
    {"small", by_malloc, SMALL, 100},
    {"mid", by_malloc, MID, 100},
    {"run", by_malloc, RUN, 8},
    {"mapped", by_malloc, MAPPED, 4},
    {"other_size", by_other_size, SMALL, 200},
    {"realloc", by_realloc, SMALL, 1000},
    {"aligned", by_aligned, 8192, 4096},
    {"pointers", pointers, SMALL},
    {NULL},
};
