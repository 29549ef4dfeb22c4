// jemalloc's own names, in a program whose malloc is hz4: they and libc's take each other's blocks.
#include <malloc.h>

#include "hz4/env/check.h"

extern void *mallocx(size_t size, int flags);
extern void *rallocx(void *ptr, size_t size, int flags);
extern size_t xallocx(void *ptr, size_t size, size_t extra, int flags);
extern size_t sallocx(const void *ptr, int flags);
extern void dallocx(void *ptr, int flags);
extern void sdallocx(void *ptr, size_t size, int flags);
extern size_t nallocx(size_t size, int flags);

// Of jemalloc/jemalloc.h.
#define MALLOCX_LG_ALIGN(lg) (lg)
#define MALLOCX_ZERO 0x40
#define MALLOCX_TCACHE_NONE MALLOCX_TCACHE(-1)
#define MALLOCX_TCACHE(cache) (((cache) + 2) << 8)
#define MALLOCX_ARENA(arena) (((arena) + 1) << 20)

static const size_t kSizes[] = {1, 16, 100, 1000, 4096, 5000, 40000, 262144, 262145, 1 << 20, (5 << 20) + 1};
static const volatile size_t kTooMuch = (size_t)PTRDIFF_MAX + 1;

static void check_block(char *block, size_t size, int flags) {
  CHECK(block != NULL && (uintptr_t)block % ((size_t)1 << (flags & 0x3f)) == 0);
  size_t usable = sallocx(block, flags);
  CHECK(usable >= size && usable == malloc_usable_size(block) && usable == nallocx(size, flags));
  CHECK(xallocx(block, size, 0, flags) == usable);
  if ((flags & MALLOCX_ZERO) != 0) CHECK(is_zero(block, usable));
  memset(block, 0xff, usable);
}

// What it had stays, and what is new is zero.
static char *grow(char *block, size_t size, int flags) {
  size_t had = sallocx(block, 0);
  memset(block, 7, had);
  block = rallocx(block, size, flags | MALLOCX_ZERO);
  CHECK(block != NULL && (uintptr_t)block % ((size_t)1 << (flags & 0x3f)) == 0);
  CHECK(sallocx(block, 0) >= size);
  for (size_t i = 0; i < had && i < size; i++) CHECK(block[i] == 7);
  CHECK(is_zero(block + had, sallocx(block, 0) - had));
  return block;
}

static void check_flags(int flags) {
  for (size_t i = 0; i < sizeof(kSizes) / sizeof(kSizes[0]); i++) {
    size_t size = kSizes[i];
    for (int round = 0; round < 3; round++) {  // what was written before is taken again
      char *block = mallocx(size, flags);
      check_block(block, size, flags);
      if (round == 0) sdallocx(block, size, flags);
      else if (round == 1) sdallocx(block, sallocx(block, flags), flags);
      else free(block);
    }
    char *block = grow(mallocx(size, flags), size * 2, flags);
    block = grow(block, size * 3, flags);
    block = rallocx(block, size, flags);
    CHECK(block != NULL && block[0] == 7 && block[size - 1] == 7);
    if (flags == 0) block = realloc(block, size * 2);
    dallocx(block, flags);
  }
}

int main(void) {
  check_flags(0);
  check_flags(MALLOCX_ZERO);
  check_flags(MALLOCX_TCACHE_NONE | MALLOCX_ARENA(7));
  for (int lg = 3; lg <= 22; lg++) check_flags(MALLOCX_LG_ALIGN(lg) | (lg % 2 != 0 ? MALLOCX_ZERO : 0));
  void *block = malloc(100);
  CHECK(sallocx(block, 0) == malloc_usable_size(block));
  dallocx(block, 0);
  CHECK(nallocx(kTooMuch, 0) == 0 && nallocx(1, MALLOCX_LG_ALIGN(63)) == 0);
  CHECK(mallocx(kTooMuch, 0) == NULL && mallocx(kTooMuch, MALLOCX_ZERO | MALLOCX_LG_ALIGN(5)) == NULL);
  CHECK(mallocx(1, MALLOCX_LG_ALIGN(63)) == NULL);
  block = mallocx(100, 0);
  CHECK(rallocx(block, kTooMuch, MALLOCX_ZERO) == NULL);
  dallocx(block, 0);
  puts("PASSED");
  return 0;
}
