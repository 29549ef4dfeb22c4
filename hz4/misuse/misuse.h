// For programs that do one wrong thing. Each names the pointer on stdout before, and says so if it survives; neither
// allocates.
#ifndef HZ4_MISUSE_MISUSE_H_
#define HZ4_MISUSE_MISUSE_H_

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// C23. libc does not declare them yet.
extern void free_sized(void *ptr, size_t size);
extern void free_aligned_sized(void *ptr, size_t alignment, size_t size);

// Returns a pointer that the compiler knows nothing about.
static inline void *announce(void *ptr) {
  char line[32];
  int length = snprintf(line, sizeof(line), "0x%016lx\n", (unsigned long)ptr);
  if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(1);
  void *volatile hidden = ptr;
  return hidden;
}

static inline int survived(void) {
  return write(STDOUT_FILENO, "survived\n", 9) == 9 ? 0 : 1;
}

#endif  // HZ4_MISUSE_MISUSE_H_
