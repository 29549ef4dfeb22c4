// A library whose thread-local memory the dynamic linker allocates at a thread's first touch: too much for static TLS.
#include <string.h>

static __thread char memory[100000];

char *touch_thread_local(int value) {
  memset(memory, value, sizeof(memory));
  return memory;
}
