#include "hz4/misuse/misuse.h"

// Away from the block. It has neighbours on both sides, and all is freed in the end, with whatever lies in caches.
static bool touch(size_t size, long at, long bytes, bool write) {
  char *before = malloc(size), *block = malloc(size), *behind = malloc(size);
  char *first = (char *)announce(block) + at;
  for (long i = 0; i < bytes; ++i) {
    char *next = at < 0 ? first - i : first + i;
    if (write) put(next, 0x5a);
    else get(next);
  }
  went_on();
  free(block);
  free(before);
  free(behind);
  malloc_trim(0);
  return true;
}

static bool write_behind(size_t size, long bytes) {
  return touch(size, (long)size, bytes, true);
}

static bool read_behind(size_t size, long bytes) {
  return touch(size, (long)size, bytes, false);
}

static bool write_far(size_t size, long distance) {
  return touch(size, (long)size + distance, 1, true);
}

static bool write_before(size_t size, long bytes) {
  return touch(size, -1, bytes, true);
}

static bool read_before(size_t size, long bytes) {
  return touch(size, -1, bytes, false);
}

static bool write_far_before(size_t size, long distance) {
  return touch(size, -distance, 1, true);
}

// What realloc left where it was ends before.
static bool write_behind_shrunk(size_t size, long to) {
  char *block = malloc(size);
  block = announce(realloc(block, to));
  put(block + to, 0x5a);
  went_on();
  free(block);
  return true;
}

static bool write_behind_grown(size_t size, long to) {
  char *block = malloc(size);
  block = announce(realloc(block, to));
  put(block + to, 0x5a);
  went_on();
  free(block);
  return true;
}

static bool write_behind_aligned(size_t size, long align) {
  char *block = announce(aligned_alloc(align, size));
  put(block + size, 0x5a);
  went_on();
  free(block);
  return true;
}

static bool write_behind_calloc(size_t size, long bytes) {
  char *block = announce(calloc(1, size));
  put(block + size, 0x5a);
  went_on();
  free(block);
  return true;
}

static bool found_by_realloc(size_t size, long to) {
  char *block = announce(malloc(size));
  put(block + size, 0x5a);
  went_on();
  free(realloc(block, to));
  return true;
}

const struct misuse_case misuse_overflow[] = {
    {"by_1_tiny", write_behind, 8, 1},
    {"by_1_small", write_behind, SMALL, 1},
    {"by_1_small_full", write_behind, 112, 1},  // no room to spare, in many allocators
    {"by_1_mid", write_behind, MID, 1},
    {"by_1_mid_full", write_behind, 20480, 1},
    {"by_1_run", write_behind, RUN, 1},
    {"by_1_run_full", write_behind, 10 << 16, 1},
    {"by_1_mapped", write_behind, MAPPED, 1},
    {"by_8_small", write_behind, SMALL, 8},
    {"by_8_mid", write_behind, MID, 8},
    {"by_8_run", write_behind, RUN, 8},
    {"by_64_small", write_behind, SMALL, 64},
    {"by_page_small", write_behind, SMALL, 4096},
    {"by_page_mid", write_behind, MID, 4096},
    {"by_page_run", write_behind, RUN, 4096},
    {"by_page_mapped", write_behind, MAPPED, 4096},
    {"by_64k_small", write_behind, SMALL, 1 << 16},
    {"by_64k_run", write_behind, RUN, 1 << 16},
    {"by_4m_small", write_behind, SMALL, 4 << 20},
    {"far_small", write_far, SMALL, 1 << 16},
    {"far_run", write_far, RUN, 20000},
    {"far_mapped", write_far, MAPPED, 100000},
    {"read_by_1_small", read_behind, SMALL, 1},
    {"read_by_page_small", read_behind, SMALL, 4096},
    {"read_by_1_mapped", read_behind, MAPPED, 1},
    {"read_by_page_run", read_behind, RUN, 4096},
    {"shrunk_small", write_behind_shrunk, SMALL, 90},
    {"shrunk_run", write_behind_shrunk, RUN, 400000},
    {"grown_run", write_behind_grown, RUN, 1 << 20},
    {"aligned_small", write_behind_aligned, 96, 32},
    {"aligned_run", write_behind_aligned, 1 << 20, 1 << 17},
    {"calloc_small", write_behind_calloc, SMALL},
    {"calloc_run", write_behind_calloc, 1 << 20},
    {"found_by_realloc", found_by_realloc, SMALL, 5000},
    {NULL},
};

const struct misuse_case misuse_underflow[] = {
    {"by_1_tiny", write_before, 8, 1},
    {"by_1_small", write_before, SMALL, 1},
    {"by_1_mid", write_before, MID, 1},
    {"by_1_run", write_before, 10 << 16, 1},
    {"by_1_mapped", write_before, MAPPED, 1},
    {"by_8_small", write_before, SMALL, 8},
    {"by_16_small", write_before, SMALL, 16},
    {"by_16_run", write_before, RUN, 16},
    {"by_64_small", write_before, SMALL, 64},
    {"by_page_small", write_before, SMALL, 4096},
    {"by_page_mid", write_before, MID, 4096},
    {"by_page_run", write_before, RUN, 4096},
    {"by_page_mapped", write_before, MAPPED, 4096},
    {"by_64k_small", write_before, SMALL, 1 << 16},
    {"by_4m_small", write_before, SMALL, 4 << 20},
    {"far_run", write_far_before, RUN, 60000},
    {"read_by_8_small", read_before, SMALL, 8},
    {"read_by_page_run", read_before, RUN, 4096},
    {NULL},
};
