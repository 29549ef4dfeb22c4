// HZ4_REPORT=warn: wrong frees are reported once for each place that makes them, left undone, and the program goes on.
#include <malloc.h>
#include <unistd.h>

#include "hz4/env/check.h"

extern void free_sized(void *ptr, size_t size);  // C23

static void *hide(void *ptr) {
  void *volatile hidden = ptr;
  return hidden;
}

static __attribute__((noinline)) void free_wrongly(char *block) {
  free(hide(block + 4096));
}

int main(void) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
  char *block = malloc(1 << 20);
  for (int i = 0; i < 100; i++) free_wrongly(block);
  for (int i = 0; i < 100; i++) free(hide(block + 8192));
  for (int i = 0; i < 100; i++) free_sized(hide(block), 100 << 20);
  memset(block, 1, 1 << 20);
  free(block);
  close(ends[1]);
  close(STDERR_FILENO);
  char said[8192];
  size_t used = 0;
  for (ssize_t n; (n = read(ends[0], said + used, sizeof(said) - 1 - used)) > 0;) used += (size_t)n;
  said[used] = '\0';
  int wrong = 0, sized = 0;
  for (char *at = said; (at = strstr(at, "hz4: free of a pointer that is not allocated: 0x")) != NULL; at++) wrong++;
  for (char *at = said; (at = strstr(at, "hz4: sized free with a wrong size or alignment: 0x")) != NULL; at++) sized++;
  if (wrong != 2 || sized != 1) {
    printf("FAILED: %d and %d reports instead of 2 and 1: %s\n", wrong, sized, said);
    return 1;
  }
  puts("PASSED");
  return 0;
}
