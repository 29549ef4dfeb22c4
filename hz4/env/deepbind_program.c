// argv[1] is a library for RTLD_DEEPBIND. With argv[2] "cross", frees what the library allocated by the program's free.
#include <dlfcn.h>

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
  void *theirs = library_malloc(100);
  printf("0x%016lx\n", (unsigned long)theirs);
  fflush(stdout);
  if (argc > 2 && strcmp(argv[2], "cross") == 0) free(theirs);
  else library_free(theirs);
  puts("done");
  return 0;
}
