// For programs that do one wrong thing. Each names the pointer on stdout before, and says so if it survives.
#ifndef HZ4_ENV_MISUSE_MISUSE_H_
#define HZ4_ENV_MISUSE_MISUSE_H_

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A pointer that the compiler knows nothing about, announced by write(2)'s path and not through our own malloc.
static inline void *announce(void *ptr) {
  static char buffer[64];
  setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
  printf("0x%016lx\n", (unsigned long)ptr);
  fflush(stdout);
  void *volatile hidden = ptr;
  return hidden;
}

static inline int survived(void) {
  puts("survived");
  return 0;
}

#endif  // HZ4_ENV_MISUSE_MISUSE_H_
