// A library to be preloaded: allocates in its constructor, which runs before those of the program, and frees in its
// destructor, which runs after them.
#include <stdlib.h>
#include <string.h>

char *early_block;

__attribute__((constructor)) static void begin(void) {
  early_block = malloc(6);
  memcpy(early_block, "early", 6);
  free(realloc(malloc(100), 100000));
}

__attribute__((destructor)) static void end(void) {
  free(early_block);
  free(malloc(5000000));
}
