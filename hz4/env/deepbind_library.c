// A library to be loaded with RTLD_DEEPBIND: its malloc and free are libc's, whatever is preloaded.
#include <stdlib.h>

void *library_malloc(size_t size) {
  return malloc(size);
}

void library_free(void *ptr) {
  free(ptr);
}
