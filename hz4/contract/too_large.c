// Row: a size that no object can have, or that no memory is left for, gives NULL and ENOMEM, and changes nothing.
#include "hz4/contract/suite.h"

#define MAN "malloc(3): more than PTRDIFF_MAX bytes is an error"
#define C_NULL "C23 7.24.3: if the space cannot be allocated, a null pointer is returned"
#define POSIX_ENOMEM "POSIX.1-2024 malloc, calloc, realloc, aligned_alloc, posix_memalign: ENOMEM"
#define C_CALLOC "C23 7.24.3.2: calloc returns a null pointer if nmemb * size would wrap around"

static const size_t kAbovePtrdiffMax[] = {(size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX + 2, (size_t)PTRDIFF_MAX + 4097,
                                          SIZE_MAX / 4 * 3, SIZE_MAX - (1 << 20)};
// Where adding a header, or rounding up to 16, a page or a larger unit, wraps around to a small size.
static const size_t kBelowSizeMax[] = {0,  1,    7,    8,    15,   16,   17,    31,    32,      63,
                                       64, 4094, 4095, 4096, 4097, 8192, 65535, 65536, 1 << 20, (1 << 21) - 1};
static const size_t kBelowPtrdiffMax[] = {0, 1, 15, 16, 31, 32, 63, 64, 4095, 4096, 65535, 65536};

static void must_be_null(const struct contract_subject *entry, size_t size) {
  MUST(entry->allocate(size) == NULL, "%#zx gave a block", size);
}

static void must_be_enomem(const struct contract_subject *entry, size_t size) {
  MUST_FAIL(entry->allocate(size), ENOMEM, size);
}

static void above_ptrdiff_max(const struct contract_subject *entry,
                              void (*must)(const struct contract_subject *, size_t)) {
  for (size_t i = 0; i < COUNT(kAbovePtrdiffMax); i++) must(entry, kAbovePtrdiffMax[i]);
}

static void above_ptrdiff_max_is_null(const struct contract_subject *entry) {
  above_ptrdiff_max(entry, must_be_null);
}

static void above_ptrdiff_max_is_enomem(const struct contract_subject *entry) {
  above_ptrdiff_max(entry, must_be_enomem);
}

static void size_max(const struct contract_subject *entry, void (*must)(const struct contract_subject *, size_t)) {
  for (size_t i = 0; i < COUNT(kBelowSizeMax); i++) must(entry, SIZE_MAX - kBelowSizeMax[i]);
}

static void size_max_does_not_wrap(const struct contract_subject *entry) {
  size_max(entry, must_be_null);
}

static void size_max_is_enomem(const struct contract_subject *entry) {
  size_max(entry, must_be_enomem);
}

static void ptrdiff_max_is_enomem(const struct contract_subject *entry) {
  for (size_t i = 0; i < COUNT(kBelowPtrdiffMax); i++) must_be_enomem(entry, (size_t)PTRDIFF_MAX - kBelowPtrdiffMax[i]);
}

static void beyond_the_address_space_is_enomem(const struct contract_subject *entry) {
  for (int shift = 47; shift < 63; shift++) must_be_enomem(entry, (size_t)1 << shift);
}

static void out_of_memory_is_enomem(const struct contract_subject *entry) {
  contract_limit_addresses(64 * MIB);
  for (size_t gib = 16; gib <= 256; gib *= 2) must_be_enomem(entry, gib << 30);
}

// Other blocks keep their content and their usable size, and are not given out again.
static void failure_changes_nothing(const struct contract_subject *entry) {
  enum { kBlocks = 6 };
  static const size_t sizes[kBlocks] = {1, 100, 1000, 5000, 70000, 700000};
  void *blocks[kBlocks];
  size_t usable[kBlocks];
  for (unsigned i = 0; i < kBlocks; i++) {
    blocks[i] = contract_block(api.malloc(sizes[i]), sizes[i]);
    usable[i] = api.malloc_usable_size(blocks[i]);
    contract_fill(blocks[i], usable[i], i);
  }
  for (size_t i = 0; i < COUNT(kAbovePtrdiffMax); i++) (void)entry->allocate(kAbovePtrdiffMax[i]);
  for (size_t i = 0; i < COUNT(kBelowSizeMax); i++) (void)entry->allocate(SIZE_MAX - kBelowSizeMax[i]);
  for (unsigned i = 0; i < kBlocks; i++) {
    MUST(api.malloc_usable_size(blocks[i]) == usable[i], "another block's usable size changed");
    MUST(contract_same(blocks[i], usable[i], i), "another block's content changed");
    api.free(blocks[i]);
  }
}

static void failures_cost_no_memory(const struct contract_subject *entry) {
  for (int i = 0; i < 10; i++) (void)entry->allocate(SIZE_MAX - 4096);
  long before = proc_kib("/proc/self/status", "VmSize");
  for (int i = 0; i < 5000; i++) (void)entry->allocate(i % 2 == 0 ? (size_t)PTRDIFF_MAX + 1 : SIZE_MAX - 4096);
  long grown = proc_kib("/proc/self/status", "VmSize") - before;
  MUST(grown <= 8192, "5000 failures cost %ld KiB of addresses", grown);
}

static void success_follows_failure(const struct contract_subject *entry) {
  for (size_t size = 1; size <= MIB; size = size * 3 + 1) {
    MUST(entry->allocate(SIZE_MAX - size) == NULL, "a block of SIZE_MAX - %zu bytes", size);
    void *block = contract_block(entry->allocate(size), size);
    contract_fill(block, size, 1);
    api.free(block);
  }
}

// ---- what only some entries can get wrong ----

static void must_overflow(size_t count, size_t size) {
  MUST(api.calloc(count, size) == NULL, "%#zx times %#zx gave a block", count, size);
}

static void square_of_size_max(const struct contract_subject *none) {
  (void)none;
  must_overflow(SIZE_MAX, SIZE_MAX);
}

static void product_wraps_to_zero(const struct contract_subject *none) {
  (void)none;
  must_overflow((size_t)1 << 32, (size_t)1 << 32);
  must_overflow((size_t)1 << 63, 2);
  must_overflow(2, (size_t)1 << 63);
}

static void product_wraps_to_a_small_size(const struct contract_subject *none) {
  (void)none;
  must_overflow(SIZE_MAX / 8 + 2, 8);
  must_overflow(((size_t)1 << 32) + 1, (size_t)1 << 32);
  must_overflow(SIZE_MAX / 3 + 2, 3);
}

static void product_wraps_to_a_large_size(const struct contract_subject *none) {
  (void)none;
  must_overflow(SIZE_MAX / 2 + 2, 3);
  must_overflow(SIZE_MAX, 2);
}

static void product_above_ptrdiff_max(const struct contract_subject *none) {
  (void)none;
  must_overflow((size_t)PTRDIFF_MAX / 8 + 1, 8);
  must_overflow((size_t)1 << 31, (size_t)1 << 32);
}

static void calloc_overflow_is_enomem(const struct contract_subject *none) {
  (void)none;
  MUST_FAIL(api.calloc(SIZE_MAX, SIZE_MAX), ENOMEM, SIZE_MAX);
  MUST_FAIL(api.calloc((size_t)1 << 32, (size_t)1 << 32), ENOMEM, (size_t)1 << 32);
  MUST_FAIL(api.calloc((size_t)PTRDIFF_MAX / 8 + 1, 8), ENOMEM, (size_t)PTRDIFF_MAX / 8 + 1);
}

static void zero_times_anything_is_no_overflow(const struct contract_subject *none) {
  (void)none;
  api.free(contract_block(api.calloc(0, SIZE_MAX), 0));
  api.free(contract_block(api.calloc(SIZE_MAX, 0), 0));
}

// What is up to two pages below the limit.
static void pvalloc_below(size_t limit, bool errno_too) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t below = 0; below <= 2 * page; below++) {
    MUST(api.pvalloc(limit - below) == NULL, "%#zx gave a block", limit - below);
    if (errno_too) MUST_FAIL(api.pvalloc(limit - below), ENOMEM, limit - below);
  }
}

static void pvalloc_does_not_wrap(const struct contract_subject *none) {
  (void)none;
  pvalloc_below(SIZE_MAX, false);
}

static void pvalloc_does_not_round_above_ptrdiff_max(const struct contract_subject *none) {
  (void)none;
  pvalloc_below((size_t)PTRDIFF_MAX, false);
}

static void pvalloc_rounding_is_enomem(const struct contract_subject *none) {
  (void)none;
  pvalloc_below(SIZE_MAX, true);
  pvalloc_below((size_t)PTRDIFF_MAX, true);
}

// A size and an alignment of which each is harmless, and whose sum is not.
static void size_plus_alignment_does_not_wrap(const struct contract_subject *entry) {
  for (size_t alignment = 16; alignment <= (size_t)1 << 46; alignment *= 2) {
    const size_t sizes[] = {SIZE_MAX - alignment, SIZE_MAX - alignment + 1, SIZE_MAX - alignment + 2,
                            (size_t)PTRDIFF_MAX - alignment + 1};
    for (size_t i = 0; i < COUNT(sizes); i++) {
      MUST(entry->allocate_aligned(alignment, sizes[i]) == NULL, "%#zx gave a block", sizes[i]);
    }
  }
}

static void an_alignment_beyond_all_addresses_is_null(const struct contract_subject *entry) {
  for (int shift = 48; shift < 64; shift++) {
    MUST(entry->allocate_aligned((size_t)1 << shift, 1) == NULL, "2^%d gave a block", shift);
  }
}

static void too_much_alignment_is_enomem(const struct contract_subject *entry) {
  for (size_t alignment = 16; alignment <= (size_t)1 << 46; alignment *= 2) {
    MUST_FAIL(entry->allocate_aligned(alignment, SIZE_MAX - alignment), ENOMEM, alignment);
  }
  for (int shift = 48; shift < 64; shift++) {
    MUST_FAIL(entry->allocate_aligned((size_t)1 << shift, 1), ENOMEM, (size_t)1 << shift);
  }
}

static const struct contract_rule rules[] = {
    {"above-ptrdiff-max-is-null", MAN, above_ptrdiff_max_is_null, contract_entries},
    {"above-ptrdiff-max-is-enomem", POSIX_ENOMEM, above_ptrdiff_max_is_enomem, contract_entries},
    {"size-max-does-not-wrap", C_NULL, size_max_does_not_wrap, contract_entries},
    {"size-max-is-enomem", POSIX_ENOMEM, size_max_is_enomem, contract_entries},
    {"ptrdiff-max-is-enomem", POSIX_ENOMEM, ptrdiff_max_is_enomem, contract_entries},
    {"beyond-the-address-space-is-enomem", POSIX_ENOMEM, beyond_the_address_space_is_enomem, contract_entries},
    {"out-of-memory-is-enomem", POSIX_ENOMEM, out_of_memory_is_enomem, contract_entries},
    {"failure-changes-nothing", C_NULL, failure_changes_nothing, contract_entries},
    {"failures-cost-no-memory", C_NULL, failures_cost_no_memory, contract_entries},
    {"success-follows-failure", C_NULL, success_follows_failure, contract_entries},
    {"calloc-square-of-size-max", C_CALLOC, square_of_size_max, NULL},
    {"calloc-product-wraps-to-zero", C_CALLOC, product_wraps_to_zero, NULL},
    {"calloc-product-wraps-to-a-small-size", C_CALLOC, product_wraps_to_a_small_size, NULL},
    {"calloc-product-wraps-to-a-large-size", C_CALLOC, product_wraps_to_a_large_size, NULL},
    {"calloc-product-above-ptrdiff-max", MAN, product_above_ptrdiff_max, NULL},
    {"calloc-overflow-is-enomem", POSIX_ENOMEM, calloc_overflow_is_enomem, NULL},
    {"calloc-zero-times-anything-is-no-overflow", C_CALLOC, zero_times_anything_is_no_overflow, NULL},
    {"pvalloc-does-not-wrap-when-rounding", MAN, pvalloc_does_not_wrap, NULL},
    {"pvalloc-does-not-round-above-ptrdiff-max", MAN, pvalloc_does_not_round_above_ptrdiff_max, NULL},
    {"pvalloc-rounding-is-enomem", "pvalloc(3): ENOMEM", pvalloc_rounding_is_enomem, NULL},
    {"size-plus-alignment-does-not-wrap", MAN, size_plus_alignment_does_not_wrap, contract_aligned_entries},
    {"alignment-beyond-all-addresses-is-null", C_NULL, an_alignment_beyond_all_addresses_is_null,
     contract_aligned_entries},
    {"too-much-alignment-is-enomem", POSIX_ENOMEM, too_much_alignment_is_enomem, contract_aligned_entries},
    {0},
};

const struct contract_row contract_too_large = {"size too large, overflow", rules};
