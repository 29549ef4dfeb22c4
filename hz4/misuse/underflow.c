#include "hz4/misuse/misuse.h"

static bool touch(size_t size, long at, long bytes, bool write) {
  char *before = malloc(size), *block = malloc(size), *behind = malloc(size);
  char *last = (char *)announce(block) + at;
  for (long i = 0; i < bytes; ++i) {
    if (write) put(last - i, 0x5a);
    else get(last - i);
  }
  went_on();
  free(block);
  free(before);
  free(behind);
  malloc_trim(0);
  return true;
}

static bool write_before(size_t size, long bytes) {
  return touch(size, -1, bytes, true);
}

static bool read_before(size_t size, long bytes) {
  return touch(size, -1, bytes, false);
}

static bool write_far(size_t size, long distance) {
  return touch(size, -distance, 1, true);
}

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
    {"far_run", write_far, RUN, 60000},
    {"read_by_8_small", read_before, SMALL, 8},
    {"read_by_page_run", read_before, RUN, 4096},
    {NULL},
};
