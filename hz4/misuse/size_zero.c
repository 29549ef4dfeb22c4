#include "hz4/misuse/misuse.h"

static bool write_to(char *block, long at) {
  if (block == NULL) return false;
  put((char *)announce(block) + at, 0x5a);
  went_on();
  free(block);
  malloc_trim(0);
  return true;
}

static bool write_malloc(size_t size, long at) {
  return write_to(malloc(size), at);
}

static bool read_malloc(size_t size, long at) {
  char *block = malloc(size);
  if (block == NULL) return false;
  get((char *)announce(block) + at);
  went_on();
  free(block);
  return true;
}

static bool write_calloc(size_t size, long at) {
  return write_to(calloc(size, 8), at);
}

static bool write_aligned(size_t size, long align) {
  return write_to(aligned_alloc(align, size), 0);
}

static bool write_memalign(size_t size, long align) {
  return write_to(memalign(align, size), 0);
}

static bool write_realloc(size_t size, long at) {
  return write_to(realloc(NULL, size), at);
}

static bool write_second(size_t size, long at) {
  malloc(size);
  return write_to(malloc(size), at);
}

static bool twice(size_t size, long by) {
  void *block = announce(malloc(size));
  free(block);
  free(block);
  went_on();
  return block != NULL;
}

const struct misuse_case misuse_size_zero[] = {
    {"write", write_malloc, 0, 0},
    {"write_at_15", write_malloc, 0, 15},
    {"write_before", write_malloc, 0, -1},
    {"read", read_malloc, 0, 0},
    {"read_at_8", read_malloc, 0, 8},
    {"calloc", write_calloc, 0, 0},
    {"aligned", write_aligned, 0, 64},
    {"memalign", write_memalign, 0, 4096},
    {"realloc", write_realloc, 0, 0},
    {"second", write_second, 0, 0},
    {"double_free", twice, 0},
    {NULL},
};
