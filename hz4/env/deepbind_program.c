// argv[1] is a library for RTLD_DEEPBIND. With argv[2] "cross", "cross_realloc" or "cross_mapped", the program's free or
// realloc is given what the library allocated.
#include <dlfcn.h>
#include <malloc.h>

#include "hz4/env/check.h"

int main(int argc, char **argv) {
  CHECK(argc > 1);
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND);
  CHECK(library != NULL);
  void *(*library_malloc)(size_t);
  void (*library_free)(void *);
  *(void **)&library_malloc = dlsym(library, "library_malloc");
  *(void **)&library_free = dlsym(library, "library_free");
  CHECK(library_malloc != NULL && library_free != NULL);
  // Each side with its own: both heaps live in one process.
  for (size_t size = 1; size < 4 << 20; size *= 3) {
    void *theirs = library_malloc(size), *mine = malloc(size);
    touch(theirs, size);
    touch(mine, size);
    library_free(theirs);
    free(mine);
  }
  const char *how = argc > 2 ? argv[2] : "";
  // Above 32 MiB libc always maps a block by itself.
  char *theirs = library_malloc(strcmp(how, "cross_mapped") == 0 ? 64 << 20 : 100);
  printf("0x%016lx\n", (unsigned long)theirs);
  fflush(stdout);
  if (strncmp(how, "cross", 5) != 0) {
    library_free(theirs);
  } else if (strcmp(how, "cross_realloc") == 0) {
    memset(theirs, 7, 100);
    CHECK(malloc_usable_size(theirs) >= 100);
    char *mine = realloc(theirs, 5000);
    CHECK(mine != NULL && mine[0] == 7 && mine[99] == 7);
    free(mine);
  } else {
    errno = 4321;
    free(theirs);
    CHECK(errno == 4321);
  }
  puts("done");
  return 0;
}
