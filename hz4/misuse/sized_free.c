#include "hz4/misuse/misuse.h"

static bool size_is(size_t size, long said) {
  sized_free(announce(malloc(size)), said);
  went_on();
  return true;
}

static bool aligned_size_is(size_t size, long said) {
  aligned_sized_free(announce(aligned_alloc(64, size)), 64, said);
  went_on();
  return true;
}

static bool alignment_is(size_t size, long said) {
  aligned_sized_free(announce(aligned_alloc(64, size)), said, size);
  went_on();
  return true;
}

static bool alignment_of_4m_is(size_t size, long said) {
  aligned_sized_free(announce(aligned_alloc(4 << 20, size)), said, size);
  went_on();
  return true;
}

static bool of_aligned(size_t size, long align) {
  sized_free(announce(aligned_alloc(align, size)), size);
  went_on();
  return true;
}

static bool interior(size_t size, long by) {
  char *block = malloc(size);
  sized_free(announce(block + by), size);
  went_on();
  return true;
}

static bool stack(size_t size, long by) {
  char local[64] = {0};
  sized_free(announce(local), sizeof(local));
  went_on();
  return true;
}

const struct misuse_case misuse_sized_free[] = {
    {"too_small", size_is, SMALL, 56},
    {"too_large", size_is, SMALL, 113},
    {"far_too_large", size_is, SMALL, 100000},
    {"near", size_is, SMALL, 57},  // as after realloc(block, 57), which leaves it where it is
    {"run_too_small", size_is, RUN, 200000},
    {"run_too_large", size_is, RUN, 660000},
    {"mapped_too_small", size_is, MAPPED, 100},
    {"mapped_too_large", size_is, MAPPED, MAPPED + 1},
    {"aligned_too_small", aligned_size_is, 200, 192},
    {"aligned_too_large", aligned_size_is, 200, 257},
    {"alignment", alignment_is, 200, 512},
    {"mapped_alignment", alignment_of_4m_is, 2 << 20, 48},
    {"of_aligned", of_aligned, SMALL, 256},
    {"interior_small", interior, SMALL, 16},
    {"stack", stack},
    {NULL},
};
