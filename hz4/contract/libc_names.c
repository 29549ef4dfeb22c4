// The suite over libc's names, of whatever malloc the process has. What glibc's headers declare is called as programs
// call it; what C23 adds is asked of the dynamic linker, and may not be there.
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
    .pvalloc = pvalloc,
    .malloc_usable_size = malloc_usable_size,
    .malloc_trim = malloc_trim,
};

void contract_bind(void) {
  *(void **)&api.free_sized = dlsym(RTLD_DEFAULT, "free_sized");
  *(void **)&api.free_aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
}

const struct contract_row *const contract_rows[] = {
    CONTRACT_ROWS_OF_EVERY_PROGRAM, &contract_symbols,    &contract_old_names,
    &contract_statistics,           &contract_libc_calls, NULL,
};
