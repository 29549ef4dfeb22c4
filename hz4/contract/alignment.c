// Rows: 16 bytes for every size; what aligned_alloc, memalign and posix_memalign make of an alignment; large
// alignments; pvalloc.
#include "hz4/contract/suite.h"

#define ABI "x86-64 ABI: max_align_t is aligned to 16 bytes; contract: for every size, smaller ones included"

static void must_be_aligned(const void *ptr, size_t alignment, size_t size) {
  uintptr_t address = (uintptr_t)ptr;
  MUST(address % alignment == 0, "%#lx of %zu bytes is not aligned to %zu", (unsigned long)address, size, alignment);
}

// ---- every size ----

// Several live blocks of each size: the first of a page may be aligned by chance.
static void sizes_are_aligned(const struct contract_subject *entry, size_t from, size_t to, size_t step) {
  enum { kLive = 5 };
  for (size_t size = from; size <= to; size += step) {
    void *blocks[kLive];
    for (int i = 0; i < kLive; i++) {
      blocks[i] = contract_block(entry->allocate(size), size);
      must_be_aligned(blocks[i], entry->alignment, size);
    }
    for (int i = 0; i < kLive; i++) api.free(blocks[i]);
  }
}

static void tiny_sizes(const struct contract_subject *entry) {
  sizes_are_aligned(entry, 1, 15, 1);
}

static void small_sizes(const struct contract_subject *entry) {
  sizes_are_aligned(entry, 16, 2048, 1);
}

static void medium_sizes(const struct contract_subject *entry) {
  sizes_are_aligned(entry, 2049, 300000, 1777);
}

static void large_sizes(const struct contract_subject *entry) {
  sizes_are_aligned(entry, 300001, 20 * MIB, MIB / 2 + 3);
}

static const struct contract_rule every_size_rules[] = {
    {"tiny-sizes-are-aligned", ABI, tiny_sizes, contract_entries},
    {"small-sizes-are-aligned", ABI, small_sizes, contract_entries},
    {"medium-sizes-are-aligned", ABI, medium_sizes, contract_entries},
    {"large-sizes-are-aligned", ABI, large_sizes, contract_entries},
    {0},
};

const struct contract_row contract_alignment = {"alignment of every size", every_size_rules};

// ---- aligned_alloc ----

#define GLIBC_2_38 "glibc 2.38 NEWS: aligned_alloc fails with EINVAL unless the alignment is a power of two"
#define C_ALIGNED "C23 7.24.3.1: an alignment that is not valid gives a null pointer"
#define C17_MULTIPLE "C17 DR 460, kept in C23 7.24.3.1: the size need not be a multiple of the alignment"

static const struct contract_subject no_powers[] = {
    {.name = "alignment 0", .alignment = 0},
    {.name = "alignment 3", .alignment = 3},
    {.name = "alignment 6", .alignment = 6},
    {.name = "alignment 24", .alignment = 24},
    {.name = "alignment 48", .alignment = 48},
    {.name = "alignment 100", .alignment = 100},
    {.name = "alignment 4095", .alignment = 4095},
    {.name = "alignment 6144", .alignment = 6144},
    {.name = "alignment SIZE_MAX", .alignment = SIZE_MAX},
    {.name = "alignment 2^63+16", .alignment = ((size_t)1 << 63) + 16},
    {0},
};

static void aligned_alloc_refuses(const struct contract_subject *subject) {
  for (size_t size = 0; size < MIB; size = size * 3 + 1) {
    MUST(api.aligned_alloc(subject->alignment, size) == NULL, "a block of %zu bytes", size);
  }
}

static void aligned_alloc_says_einval(const struct contract_subject *subject) {
  for (size_t size = 0; size < MIB; size = size * 3 + 1) {
    MUST_FAIL(api.aligned_alloc(subject->alignment, size), EINVAL, size);
  }
}

static void aligned_alloc_takes_small_powers(const struct contract_subject *none) {
  (void)none;
  for (size_t alignment = 1; alignment <= 8; alignment *= 2) {
    for (size_t size = 1; size < 100; size++) {
      void *block = contract_block(api.aligned_alloc(alignment, size), size);
      must_be_aligned(block, alignment, size);
      api.free(block);
    }
  }
}

static void aligned_alloc_takes_any_size(const struct contract_subject *none) {
  (void)none;
  for (size_t alignment = 16; alignment <= 65536; alignment *= 2) {
    for (size_t size = alignment + 1; size < 3 * alignment; size += alignment / 8 + 1) {
      void *block = contract_block(api.aligned_alloc(alignment, size), size);
      must_be_aligned(block, alignment, size);
      contract_fill(block, size, 1);
      api.free(block);
    }
  }
}

static void aligned_alloc_takes_less_than_the_alignment(const struct contract_subject *none) {
  (void)none;
  for (size_t alignment = 16; alignment <= 65536; alignment *= 2) {
    for (size_t size = 1; size < alignment; size = size * 2 + 1) {
      void *block = contract_block(api.aligned_alloc(alignment, size), size);
      must_be_aligned(block, alignment, size);
      contract_fill(block, size, 1);
      api.free(block);
    }
  }
}

static const struct contract_rule aligned_alloc_rules[] = {
    {"aligned_alloc-refuses", C_ALIGNED, aligned_alloc_refuses, no_powers},
    {"aligned_alloc-says-einval", GLIBC_2_38, aligned_alloc_says_einval, no_powers},
    {"aligned_alloc-takes-small-powers", C_ALIGNED, aligned_alloc_takes_small_powers, NULL},
    {"aligned_alloc-takes-any-size", C17_MULTIPLE, aligned_alloc_takes_any_size, NULL},
    {"aligned_alloc-takes-less-than-the-alignment", C17_MULTIPLE, aligned_alloc_takes_less_than_the_alignment, NULL},
    {0},
};

const struct contract_row contract_aligned_alloc = {"aligned_alloc", aligned_alloc_rules};

// ---- memalign ----

#define GLIBC_MEMALIGN "glibc malloc.c, _mid_memalign: an alignment is rounded up to a power of two"
#define GLIBC_NO_POWER "glibc malloc.c, _mid_memalign: EINVAL where no power of two is as large"

static const struct contract_subject odd_alignments[] = {
    {.name = "memalign of 0", .alignment = 0},           {.name = "memalign of 1", .alignment = 1},
    {.name = "memalign of 3", .alignment = 3},           {.name = "memalign of 17", .alignment = 17},
    {.name = "memalign of 24", .alignment = 24},         {.name = "memalign of 48", .alignment = 48},
    {.name = "memalign of 100", .alignment = 100},       {.name = "memalign of 1000", .alignment = 1000},
    {.name = "memalign of 4097", .alignment = 4097},     {.name = "memalign of 65537", .alignment = 65537},
    {.name = "memalign of 3 MiB", .alignment = 3 << 20}, {0},
};

static void memalign_rounds_up(const struct contract_subject *odd) {
  size_t due = 16;
  while (due < odd->alignment) due *= 2;
  for (size_t size = 1; size < 200000; size = size * 3 + 1) {
    void *block = contract_block(api.memalign(odd->alignment, size), size);
    must_be_aligned(block, due, size);
    contract_fill(block, size, 1);
    api.free(block);
  }
}

static void memalign_above_all_powers_is_einval(const struct contract_subject *none) {
  (void)none;
  for (size_t less = 0; less < 100; less++) MUST_FAIL(api.memalign(SIZE_MAX - less, 1), EINVAL, SIZE_MAX - less);
  MUST_FAIL(api.memalign(((size_t)1 << 63) + 1, 1), EINVAL, ((size_t)1 << 63) + 1);
}

static const struct contract_rule memalign_rules[] = {
    {"rounds-up", GLIBC_MEMALIGN, memalign_rounds_up, odd_alignments},
    {"memalign-above-all-powers-is-einval", GLIBC_NO_POWER, memalign_above_all_powers_is_einval, NULL},
    {0},
};

const struct contract_row contract_memalign = {"memalign", memalign_rules};

// ---- large alignments ----

#define GLIBC_ALIGNED "glibc manual, Allocating Aligned Memory Blocks: the address is a multiple of the alignment"
#define ALIGNED_MAX (64 * MIB)

static const size_t kSizes[] = {1, 100, 4096, 70000, 300000, 3 * MIB};

static void exact(const struct contract_subject *entry, size_t from, size_t to) {
  for (size_t alignment = from; alignment <= to; alignment *= 2) {
    for (size_t i = 0; i < COUNT(kSizes); i++) {
      void *block = contract_block(entry->allocate_aligned(alignment, kSizes[i]), kSizes[i]);
      must_be_aligned(block, alignment, kSizes[i]);
      touch(block, kSizes[i]);
      api.free(block);
    }
  }
}

static void small_alignments_are_exact(const struct contract_subject *entry) {
  exact(entry, 8, 2048);
}

static void medium_alignments_are_exact(const struct contract_subject *entry) {
  exact(entry, 4096, MIB / 2);
}

static void alignments_to_64_mib_are_exact(const struct contract_subject *entry) {
  exact(entry, MIB, ALIGNED_MAX);
}

static void alignments_above_are_exact(const struct contract_subject *entry) {
  exact(entry, 2 * ALIGNED_MAX, 1024 * MIB);
}

static void all_usable_bytes_are_there(const struct contract_subject *entry) {
  for (size_t alignment = 16; alignment <= ALIGNED_MAX; alignment *= 4) {
    void *block = contract_block(entry->allocate_aligned(alignment, 5000), 5000);
    size_t usable = api.malloc_usable_size(block);
    MUST(usable >= 5000, "usable size %zu at alignment %zu", usable, alignment);
    if (usable > MIB) usable = MIB;
    contract_fill(block, usable, 2);
    MUST(contract_same(block, usable, 2), "the content is lost at alignment %zu", alignment);
    api.free(block);
  }
}

static void larger_than_the_alignment(const struct contract_subject *entry) {
  for (size_t alignment = MIB; alignment <= ALIGNED_MAX; alignment *= 2) {
    size_t size = 3 * alignment + 1;
    void *block = contract_block(entry->allocate_aligned(alignment, size), size);
    must_be_aligned(block, alignment, size);
    touch(block, size);
    api.free(block);
  }
}

static void many_live_do_not_overlap(const struct contract_subject *entry) {
  enum { kBlocks = 20 };
  for (size_t alignment = 32; alignment <= ALIGNED_MAX; alignment *= 8) {
    void *blocks[kBlocks];
    for (unsigned i = 0; i < kBlocks; i++) {
      blocks[i] = contract_block(entry->allocate_aligned(alignment, 1000), 1000);
      must_be_aligned(blocks[i], alignment, 1000);
      contract_fill(blocks[i], 1000, i);
    }
    for (unsigned i = 0; i < kBlocks; i++) {
      MUST(contract_same(blocks[i], 1000, i), "block %u of alignment %zu was written over", i, alignment);
      api.free(blocks[i]);
    }
  }
}

static void freed_addresses_come_back(const struct contract_subject *entry) {
  for (int i = 0; i < 20; i++) api.free(entry->allocate_aligned(ALIGNED_MAX, 100));
  long before = proc_kib("/proc/self/status", "VmSize");
  for (int i = 0; i < 1000; i++) {
    void *block = contract_block(entry->allocate_aligned(ALIGNED_MAX, 100), 100);
    touch(block, 100);
    api.free(block);
  }
  long grown = proc_kib("/proc/self/status", "VmSize") - before;
  MUST(grown < 512 << 10, "1000 blocks that were freed cost %ld KiB of addresses", grown);
}

static void can_be_reallocated(const struct contract_subject *entry) {
  for (size_t alignment = 32; alignment <= ALIGNED_MAX; alignment *= 8) {
    void *block = contract_block(entry->allocate_aligned(alignment, 5000), 5000);
    contract_fill(block, 5000, 4);
    block = contract_block(api.realloc(block, 500000), 500000);
    MUST(contract_same(block, 5000, 4), "realloc lost the content of a block of alignment %zu", alignment);
    touch(block, 500000);
    api.free(block);
  }
}

static const struct contract_rule large_rules[] = {
    {"8-to-2048-are-exact", GLIBC_ALIGNED, small_alignments_are_exact, contract_aligned_entries},
    {"4-kib-to-512-kib-are-exact", GLIBC_ALIGNED, medium_alignments_are_exact, contract_aligned_entries},
    {"1-mib-to-64-mib-are-exact", GLIBC_ALIGNED, alignments_to_64_mib_are_exact, contract_aligned_entries},
    {"128-mib-to-1-gib-are-exact", GLIBC_ALIGNED, alignments_above_are_exact, contract_aligned_entries},
    {"all-usable-bytes-are-there", GLIBC_ALIGNED, all_usable_bytes_are_there, contract_aligned_entries},
    {"sizes-above-the-alignment", GLIBC_ALIGNED, larger_than_the_alignment, contract_aligned_entries},
    {"many-live-do-not-overlap", "C23 7.24.3: objects are disjoint", many_live_do_not_overlap,
     contract_aligned_entries},
    {"freed-addresses-come-back", "C23 7.24.3.3: free makes the space available again", freed_addresses_come_back,
     contract_aligned_entries},
    {"can-be-reallocated", "C23 7.24.3.7: realloc takes what any of these functions gave", can_be_reallocated,
     contract_aligned_entries},
    {0},
};

const struct contract_row contract_large_alignments = {"alignments to 64 MiB and above", large_rules};

// ---- pvalloc ----

#define GLIBC_PVALLOC "glibc manual, Replacing malloc; memalign(3): pvalloc rounds up to whole pages"
#define GLIBC_VALLOC "glibc manual, Allocating Aligned Memory Blocks: valloc aligns to the page"

static const struct contract_subject around_pages[] = {
    {.name = "pvalloc of 1", .size = 1},
    {.name = "pvalloc of 4095", .size = 4095},
    {.name = "pvalloc of 4096", .size = 4096},
    {.name = "pvalloc of 4097", .size = 4097},
    {.name = "pvalloc of 7 pages and 5", .size = 7 * 4096 + 5},
    {.name = "pvalloc of 100 pages and 1", .size = 100 * 4096 + 1},
    {.name = "pvalloc of 1000 pages less 1", .size = 1000 * 4096 - 1},
    {0},
};

static void pvalloc_rounds_up(const struct contract_subject *subject) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size = subject->size, due = (size + page - 1) / page * page;
  for (int i = 0; i < 10; i++) {
    void *block = contract_block(api.pvalloc(size), size);
    size_t usable = api.malloc_usable_size(block);
    MUST(usable >= due, "usable size %zu, not %zu", usable, due);
    must_be_aligned(block, page, size);
    contract_fill(block, due, 1);
    MUST(contract_same(block, due, 1), "the pages do not hold their content");
  }
}

static void valloc_aligns_to_the_page(const struct contract_subject *none) {
  (void)none;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t size = 1; size < MIB; size = size * 2 + 1) {
    void *block = contract_block(api.valloc(size), size);
    must_be_aligned(block, page, size);
    contract_fill(block, size, 1);
    api.free(block);
  }
}

static const struct contract_rule pvalloc_rules[] = {
    {"rounds-up", GLIBC_PVALLOC, pvalloc_rounds_up, around_pages},
    {"valloc-aligns-to-the-page", GLIBC_VALLOC, valloc_aligns_to_the_page, NULL},
    {0},
};

const struct contract_row contract_pvalloc = {"pvalloc", pvalloc_rules};
