// HZ4_REPORT=warn: wrong use is reported once for each place, left undone, and the program goes on.
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

static __attribute__((noinline)) void resize_wrongly(char *block) {
  errno = 0;
  CHECK(realloc(hide(block + 4096), 100) == NULL && errno == EINVAL);
}

static __attribute__((noinline)) void ask_wrongly(char *block) {
  CHECK(malloc_usable_size(hide(block + 4096)) == 0);
}

// How often this was said.
static int count_of(const char *said, const char *line) {
  int count = 0;
  for (const char *at = said; (at = strstr(at, line)) != NULL; at++) count++;
  return count;
}

int main(void) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
  char *block = malloc(1 << 20);
  for (int i = 0; i < 100; i++) free_wrongly(block);
  for (int i = 0; i < 100; i++) free(hide(block + 8192));
  for (int i = 0; i < 100; i++) free_sized(hide(block), 100 << 20);
  char *small = malloc(8000);  // as a pointer into it 4096 is the middle
  for (int i = 0; i < 100; i++) resize_wrongly(block);
  for (int i = 0; i < 100; i++) ask_wrongly(block);
  for (int i = 0; i < 100; i++) CHECK(realloc(hide(small + 16), 100) == NULL);
  for (int i = 0; i < 100; i++) CHECK(malloc_usable_size(hide(small + 16)) == 0);
  free(small);
  memset(block, 1, 1 << 20);
  free(block);
  close(ends[1]);
  close(STDERR_FILENO);
  char said[8192];
  size_t used = 0;
  for (ssize_t n; (n = read(ends[0], said + used, sizeof(said) - 1 - used)) > 0;) used += (size_t)n;
  said[used] = '\0';
  int wrong = count_of(said, "hz4: free of a pointer that is not allocated: 0x");
  int sized = count_of(said, "hz4: sized free with a wrong size or alignment: 0x");
  int resized = count_of(said, "hz4: realloc of a pointer that is not allocated: 0x");
  int asked = count_of(said, "hz4: malloc_usable_size of a pointer that is not allocated: 0x");
  if (wrong != 2 || sized != 1 || resized != 2 || asked != 2) {
    printf("FAILED: %d, %d, %d and %d reports instead of 2, 1, 2 and 2: %s\n", wrong, sized, resized, asked, said);
    return 1;
  }
  puts("PASSED");
  return 0;
}
