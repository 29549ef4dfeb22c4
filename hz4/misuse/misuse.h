// A program of cases, each of which does one wrong thing: `misuse FAMILY/CASE`. Without an argument it lists them.
//
// What a case says on stdout tells what became of it: the pointer, before the wrong thing; "went on", when the wrong thing
// is done; and at the end "survived", or "harmless" where what is wrong had no effect.
#ifndef HZ4_MISUSE_MISUSE_H_
#define HZ4_MISUSE_MISUSE_H_

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct misuse_case {
  const char *name;  // NULL ends a family
  bool (*run)(size_t size, long by);  // true: it did harm, or may have
  size_t size;       // of the block
  long by;           // whatever the case has two of
};

// A file each.
extern const struct misuse_case misuse_double_free[], misuse_invalid_free[], misuse_sized_free[], misuse_realloc[],
    misuse_usable_size[], misuse_overflow[], misuse_underflow[], misuse_write_after_free[], misuse_read_after_free[],
    misuse_reuse[], misuse_size_zero[], misuse_information[], misuse_structure[];

// A block of each way that hz4 has: of a small class, of one above 16 KiB, of pages, of many pages.
enum { SMALL = 100, MID = 20000, RUN = 600000, MAPPED = 8 << 20 };

// Returns a pointer that the compiler knows nothing about.
void *announce(void *ptr);
void went_on(void);
// The allocator has no such call.
_Noreturn void skip(void);

// Runs it in another thread, to its end.
void in_thread(void *(*run)(void *), void *argument);

// As C23 has them; or a C++ allocator's delete, or else the case is skipped.
void sized_free(void *ptr, size_t size);
void aligned_sized_free(void *ptr, size_t alignment, size_t size);

// Touches that no compiler drops.
static inline void put(void *at, int byte) {
  *(volatile char *)at = (char)byte;
}
static inline int get(const void *at) {
  return *(const volatile char *)at;
}

#endif  // HZ4_MISUSE_MISUSE_H_
