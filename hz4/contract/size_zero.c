// Row: malloc(0), and whatever else allocates nothing, gives a block of its own that can be freed.
#include "hz4/contract/suite.h"

#define MAN "malloc(3): for size 0 a unique pointer that can be passed to free"
#define C_ZERO "C23 7.24.3: size zero is NULL or as if the size were nonzero; glibc chooses the latter"
#define POSIX_UNIQUE "POSIX.1-2024 malloc: a pointer to unique space that can be passed to free"

static void *calloc_zero_zero(size_t size) {
  (void)size;
  return api.calloc(0, 0);
}

static void *calloc_zero_elements(size_t size) {
  (void)size;
  return api.calloc(0, 1000);
}

static void *calloc_empty_elements(size_t size) {
  (void)size;
  return api.calloc(1000, 0);
}

static void *malloc_zero(size_t size) {
  (void)size;
  return api.malloc(0);
}

static void *realloc_null_zero(size_t size) {
  (void)size;
  return api.realloc(NULL, 0);
}

static void *aligned_alloc_zero(size_t size) {
  (void)size;
  return api.aligned_alloc(256, 0);
}

static void *memalign_zero(size_t size) {
  (void)size;
  return api.memalign(256, 0);
}

static void *posix_memalign_zero(size_t size) {
  (void)size;
  void *block = NULL;
  CHECK(api.posix_memalign(&block, 256, 0) == 0);
  return block;
}

static void *valloc_zero(size_t size) {
  (void)size;
  return api.valloc(0);
}

static void *pvalloc_zero(size_t size) {
  (void)size;
  return api.pvalloc(0);
}

static const struct contract_subject zeros[] = {
    {.name = "malloc(0)", .allocate = malloc_zero, .alignment = 16},
    {.name = "calloc(0,0)", .allocate = calloc_zero_zero, .alignment = 16},
    {.name = "calloc(0,n)", .allocate = calloc_zero_elements, .alignment = 16},
    {.name = "calloc(n,0)", .allocate = calloc_empty_elements, .alignment = 16},
    {.name = "realloc(NULL,0)", .allocate = realloc_null_zero, .alignment = 16},
    {.name = "aligned_alloc(a,0)", .allocate = aligned_alloc_zero, .alignment = 256},
    {.name = "memalign(a,0)", .allocate = memalign_zero, .alignment = 256},
    {.name = "posix_memalign(a,0)", .allocate = posix_memalign_zero, .alignment = 256},
    {.name = "valloc(0)", .allocate = valloc_zero, .alignment = 4096},
    {.name = "pvalloc(0)", .allocate = pvalloc_zero, .alignment = 4096},
    {0},
};

static void is_not_null(const struct contract_subject *zero) {
  for (int i = 0; i < 100; i++) MUST(zero->allocate(0) != NULL, "NULL, errno %d", errno);
}

// Also from ordinary blocks.
static void is_unique(const struct contract_subject *zero) {
  enum { kBlocks = 500 };
  static void *blocks[kBlocks];
  for (int i = 0; i < kBlocks; i++) {
    blocks[i] = contract_block(i % 5 == 4 ? api.malloc(1) : zero->allocate(0), 0);
    for (int j = 0; j < i; j++) MUST(blocks[i] != blocks[j], "the same address twice");
  }
}

static void is_aligned(const struct contract_subject *zero) {
  for (int i = 0; i < 100; i++) {
    uintptr_t address = (uintptr_t)contract_block(zero->allocate(0), 0);
    MUST(address % zero->alignment == 0, "%#lx is not aligned to %zu", (unsigned long)address, zero->alignment);
  }
}

static void is_freed_by_free(const struct contract_subject *zero) {
  for (int i = 0; i < 20000; i++) api.free(zero->allocate(0));
  long before = rss_kib();
  for (int i = 0; i < 400000; i++) api.free(zero->allocate(0));
  long grown = rss_kib() - before;
  MUST(grown < 4096, "400000 blocks that were freed cost %ld KiB", grown);
}

static void can_be_grown(const struct contract_subject *zero) {
  for (size_t size = 1; size <= MIB; size *= 4) {
    void *block = contract_block(api.realloc(contract_block(zero->allocate(0), 0), size), size);
    contract_fill(block, size, 3);
    MUST(contract_same(block, size, 3), "the grown block does not hold its content");
    api.free(block);
  }
}

static const struct contract_rule rules[] = {
    {"is-not-null", MAN, is_not_null, zeros},
    {"is-unique", POSIX_UNIQUE, is_unique, zeros},
    {"is-aligned", "x86-64 ABI: max_align_t; glibc manual, Allocating Aligned Memory Blocks", is_aligned, zeros},
    {"is-freed-by-free", POSIX_UNIQUE, is_freed_by_free, zeros},
    {"can-be-grown", C_ZERO, can_be_grown, zeros},
    {0},
};

const struct contract_row contract_size_zero = {"malloc(0)", rules};
