// The suite over libc's names in a static program, whose malloc is hz4: there is no dynamic linker to ask for what libc's
// headers do not declare.
#include <malloc.h>

#include "hz4/contract/suite.h"

// Not every libc declares them.
void *pvalloc(size_t size);
int malloc_trim(size_t pad);
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);

struct contract_api api = {
    .malloc = malloc,
    .calloc = calloc,
    .realloc = realloc,
    .free = free,
    .free_sized = free_sized,
    .free_aligned_sized = free_aligned_sized,
    .aligned_alloc = aligned_alloc,
    .memalign = memalign,
    .posix_memalign = posix_memalign,
    .valloc = valloc,
    .pvalloc = pvalloc,
    .malloc_usable_size = malloc_usable_size,
    .malloc_trim = malloc_trim,
    .names_pointers = true,
};

void contract_bind(void) {
}
