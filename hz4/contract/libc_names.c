// The suite over libc's names, of whatever malloc the process has. What all libcs declare is called as programs call it; what
// is glibc's or C23's is asked of the dynamic linker, and may not be there.
#include <dlfcn.h>
#include <malloc.h>

#include "hz4/contract/suite.h"

struct contract_api api = {
    .malloc = malloc,
    .calloc = calloc,
    .realloc = realloc,
    .free = free,
    .aligned_alloc = aligned_alloc,
    .memalign = memalign,
    .posix_memalign = posix_memalign,
    .valloc = valloc,
    .malloc_usable_size = malloc_usable_size,
};

void contract_bind(void) {
  *(void **)&api.pvalloc = dlsym(RTLD_DEFAULT, "pvalloc");
  *(void **)&api.malloc_trim = dlsym(RTLD_DEFAULT, "malloc_trim");
  *(void **)&api.free_sized = dlsym(RTLD_DEFAULT, "free_sized");
  *(void **)&api.free_aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
}
