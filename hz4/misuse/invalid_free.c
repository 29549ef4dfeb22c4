#include <sys/mman.h>

#include "hz4/misuse/misuse.h"

static bool wrong(void *ptr) {
  free(announce(ptr));
  went_on();
  return true;
}

static bool number(size_t size, long address) {
  return wrong((void *)address);
}

static bool later_number(size_t size, long address) {
  free(malloc(1));
  return wrong((void *)address);
}

static bool stack(size_t size, long by) {
  char local[64] __attribute__((aligned(16))) = {0};
  return wrong(local + by);
}

static bool stack_later(size_t size, long by) {
  free(malloc(1));
  return stack(size, by);
}

static bool statics(size_t size, long by) {
  static char bytes[64];
  return wrong(bytes + by);
}

static bool cfree_statics(size_t size, long by) {
  extern void cfree(void *ptr) __attribute__((weak));
  static char bytes[64];
  if (cfree == NULL) skip();
  cfree(announce(bytes));
  went_on();
  return true;
}

static bool text(size_t size, long by) {
  return wrong((char *)"text");
}

static bool code(size_t size, long by) {
  return wrong((void *)(uintptr_t)code);
}

static bool of_libc(size_t size, long by) {
  return wrong(stdout);
}

static bool break_page(size_t size, long by) {
  return wrong(sbrk(4096));
}

static bool mapping(size_t size, long by) {
  return wrong(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static bool near_block(size_t size, long by) {
  char *neighbour = malloc(size), *block = malloc(size);
  wrong(block + by);
  free(neighbour);
  return true;
}

static bool near_aligned(size_t size, long align) {
  char *block = aligned_alloc(align, size);
  return wrong(block + align / 2);
}

// Where the next object would be, or is.
static bool next(size_t size, long by) {
  char *block = malloc(size);
  return wrong(block + malloc_usable_size(block));
}

static bool high_bits(size_t size, long by) {
  return wrong((void *)((uintptr_t)malloc(size) | (uintptr_t)1 << by));
}

const struct misuse_case misuse_invalid_free[] = {
    {"stack", stack, 0, 16},
    {"stack_later", stack_later, 0, 16},
    {"stack_unaligned", stack, 0, 3},
    {"static", statics, 0, 0},
    {"cfree_static", cfree_statics},
    {"text", text},
    {"code", code},
    {"libc", of_libc},
    {"break", break_page},
    {"mapping", mapping, 1 << 20},
    {"small_number", number, 0, 42},
    {"unmapped", later_number, 0, 0x123456789000},
    {"kernel_address", number, 0, (long)0xffff800000001000},
    {"interior_small", near_block, SMALL, 16},
    {"interior_mid", near_block, MID, 4096},
    {"interior_run", near_block, RUN, 65536},
    {"interior_mapped", near_block, MAPPED, 16},
    {"interior_mapped_far", near_block, MAPPED, 4 << 20},
    {"interior_aligned", near_aligned, 8192, 4096},
    {"unaligned_small", near_block, SMALL, 1},
    {"unaligned_mid", near_block, MID, 8},
    {"unaligned_run", near_block, RUN, 1},
    {"before_small", near_block, SMALL, -16},
    {"before_run", near_block, RUN, -16},
    {"next_small", next, SMALL},
    {"next_run", next, RUN},
    {"high_bits", high_bits, SMALL, 56},
    {NULL},
};
