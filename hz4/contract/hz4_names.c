// The suite over hz4's own names, beside libc's malloc.
#include "hz4/contract/suite.h"
#include "hz4/hz4.h"

struct contract_api api = {
    .malloc = hz4_malloc,
    .calloc = hz4_calloc,
    .realloc = hz4_realloc,
    .free = hz4_free,
    .free_sized = hz4_free_sized,
    .free_aligned_sized = hz4_free_aligned_sized,
    .aligned_alloc = hz4_aligned_alloc,
    .memalign = hz4_memalign,
    .posix_memalign = hz4_posix_memalign,
    .valloc = hz4_valloc,
    .pvalloc = hz4_pvalloc,
    .malloc_usable_size = hz4_malloc_usable_size,
    .malloc_trim = hz4_malloc_trim,
    .names_pointers = true,
};

void contract_bind(void) {
}

const struct contract_row *const contract_rows[] = {CONTRACT_ROWS_OF_EVERY_PROGRAM, NULL};
