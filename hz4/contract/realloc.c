// Rows: realloc(NULL, n) and realloc(p, 0); a realloc that fails; a realloc that grows.
#include "hz4/contract/suite.h"

#define C_NULL_IS_MALLOC "C23 7.24.3.7: with a null pointer realloc behaves like malloc"
#define GLIBC_ZERO "glibc manual, Changing the Size of a Block: realloc(p, 0) frees the block and returns NULL"
#define C_INTACT "C23 7.24.3.7: if memory for the new object is not allocated, the old object is not deallocated"
#define C_CONTENT "C23 7.24.3.7: the contents are the same up to the lesser of the new and old sizes"
#define USABLE "malloc_usable_size(3) and systemd#12438: programs use all usable bytes, and realloc must keep them"

static void *new_block(const struct contract_subject *block) {
  return contract_block(block->allocate(block->size), block->size);
}

// ---- realloc(NULL, n), realloc(p, 0) ----

static const struct contract_subject null_sizes[] = {
    {.name = "1 byte", .size = 1},          {.name = "100 bytes", .size = 100}, {.name = "5000 bytes", .size = 5000},
    {.name = "100 KB", .size = 100 * 1000}, {.name = "3 MiB", .size = 3 << 20}, {0},
};

static void null_gives_a_block(const struct contract_subject *subject) {
  void *block = contract_block(api.realloc(NULL, subject->size), subject->size);
  size_t usable = api.malloc_usable_size(block);
  MUST(usable >= subject->size, "usable size %zu", usable);
  contract_fill(block, usable, 1);
  MUST(contract_same(block, usable, 1), "the block does not hold its content");
  api.free(block);
}

static void zero_returns_null(const struct contract_subject *block) {
  for (int i = 0; i < 20; i++) MUST(api.realloc(new_block(block), 0) == NULL, "not NULL");
}

static void zero_keeps_errno(const struct contract_subject *block) {
  for (int i = 0; i < 20; i++) {
    void *ptr = new_block(block);
    errno = 1234;
    (void)api.realloc(ptr, 0);
    MUST(errno == 1234, "errno became %d", errno);
  }
}

static void zero_frees(const struct contract_subject *block) {
  const size_t total = 64 * MIB, bytes = block->size < 16 ? 16 : block->size;
  long before = rss_kib();
  for (size_t sum = 0; sum < total; sum += bytes) {
    char *ptr = new_block(block);
    for (size_t i = 0; i < block->size; i += 4096) ptr[i] = 1;
    (void)api.realloc(ptr, 0);
  }
  long grown = rss_kib() - before;
  MUST(grown < 24 * 1024, "64 MiB of blocks, each freed by realloc, cost %ld KiB", grown);
}

static const struct contract_rule edge_rules[] = {
    {"from-null-is-malloc", C_NULL_IS_MALLOC, null_gives_a_block, null_sizes},
    {"to-zero-returns-null", GLIBC_ZERO, zero_returns_null, contract_blocks},
    {"to-zero-keeps-errno", GLIBC_ZERO, zero_keeps_errno, contract_blocks},
    {"to-zero-frees", GLIBC_ZERO, zero_frees, contract_blocks},
    {0},
};

const struct contract_row contract_realloc_edges = {"realloc(NULL, n), realloc(p, 0)", edge_rules};

// ---- failing ----

static const size_t kTooLarge[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX,        SIZE_MAX - 15,
                                   SIZE_MAX - 4096,         (size_t)1 << 47, (size_t)PTRDIFF_MAX};

static void fail_all(void *ptr) {
  for (size_t i = 0; i < COUNT(kTooLarge); i++) {
    MUST(api.realloc(ptr, kTooLarge[i]) == NULL, "%#zx gave a block", kTooLarge[i]);
  }
}

static void failure_is_enomem(const struct contract_subject *block) {
  void *ptr = new_block(block);
  for (size_t i = 0; i < COUNT(kTooLarge); i++) MUST_FAIL(api.realloc(ptr, kTooLarge[i]), ENOMEM, kTooLarge[i]);
}

static void failure_keeps_content(const struct contract_subject *block) {
  void *ptr = new_block(block);
  size_t usable = api.malloc_usable_size(ptr);
  contract_fill(ptr, usable, 5);
  fail_all(ptr);
  MUST(contract_same(ptr, usable, 5), "the old block changed");
}

static void failure_keeps_usable_size(const struct contract_subject *block) {
  void *ptr = new_block(block);
  size_t usable = api.malloc_usable_size(ptr);
  fail_all(ptr);
  size_t after = api.malloc_usable_size(ptr);
  MUST(after == usable, "the usable size went from %zu to %zu", usable, after);
}

static void failure_does_not_free(const struct contract_subject *block) {
  enum { kOthers = 50 };
  void *ptr = new_block(block);
  fail_all(ptr);
  for (int i = 0; i < kOthers; i++) MUST(new_block(block) != ptr, "the block was given out again");
}

static void failure_leaves_a_usable_block(const struct contract_subject *block) {
  void *ptr = new_block(block);
  contract_fill(ptr, block->size, 6);
  fail_all(ptr);
  size_t larger = block->size * 2 + 100;
  ptr = contract_block(api.realloc(ptr, larger), larger);
  MUST(contract_same(ptr, block->size, 6), "what realloc gave later has another content");
  api.free(ptr);
}

static void out_of_memory_keeps_content(const struct contract_subject *block) {
  void *ptr = new_block(block);
  size_t usable = api.malloc_usable_size(ptr);
  contract_fill(ptr, usable, 7);
  contract_limit_addresses(32 * MIB);
  MUST(api.realloc(ptr, (size_t)64 << 30) == NULL, "64 GiB were given");
  MUST(contract_same(ptr, usable, 7), "the old block changed");
  api.free(ptr);
}

static const struct contract_rule failing_rules[] = {
    {"failure-is-enomem", "POSIX.1-2024 realloc: ENOMEM", failure_is_enomem, contract_blocks},
    {"failure-keeps-content", C_INTACT, failure_keeps_content, contract_blocks},
    {"failure-keeps-usable-size", C_INTACT, failure_keeps_usable_size, contract_blocks},
    {"failure-does-not-free", C_INTACT, failure_does_not_free, contract_blocks},
    {"failure-leaves-a-usable-block", C_INTACT, failure_leaves_a_usable_block, contract_blocks},
    {"out-of-memory-keeps-content", C_INTACT, out_of_memory_keeps_content, contract_blocks},
    {0},
};

const struct contract_row contract_realloc_failing = {"failing realloc", failing_rules};

// ---- growing and shrinking ----

// Reallocates a block whose usable bytes are filled with the seed; what fits must be there still.
static void *resize(void *ptr, size_t size, unsigned seed) {
  size_t usable = api.malloc_usable_size(ptr);
  ptr = contract_block(api.realloc(ptr, size), size);
  size_t now = api.malloc_usable_size(ptr), kept = usable < size ? usable : size;
  MUST(now >= size, "the usable size is %zu after realloc to %zu", now, size);
  MUST(contract_same(ptr, kept, seed), "from %zu usable bytes to %zu: the first %zu are not the same", usable, size,
       kept);
  return ptr;
}

static void *filled(void *ptr, unsigned seed) {
  contract_fill(ptr, api.malloc_usable_size(ptr), seed);
  return ptr;
}

static void beyond_usable_keeps_usable(const struct contract_subject *block) {
  for (size_t more = 1; more <= 4096; more *= 8) {
    void *ptr = filled(new_block(block), 1);
    api.free(resize(ptr, api.malloc_usable_size(ptr) + more, 1));
  }
}

static void tenfold_keeps_usable(const struct contract_subject *block) {
  void *ptr = filled(new_block(block), 2);
  ptr = resize(ptr, block->size * 10 + 1, 2);
  touch(ptr, block->size * 10 + 1);
  api.free(ptr);
}

static void in_steps_keeps_usable(const struct contract_subject *block) {
  void *ptr = new_block(block);
  size_t size = block->size;
  for (unsigned step = 0; step < 8; step++) {
    filled(ptr, step);
    size += size / 4 + 5;
    ptr = resize(ptr, size, step);
  }
  api.free(ptr);
}

static void to_the_same_size_keeps_content(const struct contract_subject *block) {
  void *ptr = filled(new_block(block), 3);
  for (int i = 0; i < 5; i++) ptr = filled(resize(ptr, block->size, 3), 3);
  api.free(ptr);
}

static void shrinking_keeps_the_rest(const struct contract_subject *block) {
  void *ptr = new_block(block);
  for (size_t size = block->size; size > 0; size /= 2) ptr = resize(filled(ptr, 4), size, 4);
  api.free(ptr);
}

static void leaves_others_alone(const struct contract_subject *block) {
  enum { kBlocks = 8 };
  void *blocks[kBlocks];
  for (unsigned i = 0; i < kBlocks; i++) blocks[i] = filled(new_block(block), i);
  for (unsigned i = 0; i < kBlocks; i += 2) {
    blocks[i] = resize(blocks[i], block->size * 3 + i, i);
    contract_fill(blocks[i], block->size * 3 + i, 100);
  }
  for (unsigned i = 1; i < kBlocks; i += 2) {
    MUST(contract_same(blocks[i], api.malloc_usable_size(blocks[i]), i), "a neighbour's content changed");
  }
}

static const struct contract_rule growing_rules[] = {
    {"growing-beyond-usable-keeps-usable", USABLE, beyond_usable_keeps_usable, contract_blocks},
    {"growing-tenfold-keeps-usable", USABLE, tenfold_keeps_usable, contract_blocks},
    {"growing-in-steps-keeps-usable", USABLE, in_steps_keeps_usable, contract_blocks},
    {"to-the-same-size-keeps-content", C_CONTENT, to_the_same_size_keeps_content, contract_blocks},
    {"shrinking-keeps-the-rest", C_CONTENT, shrinking_keeps_the_rest, contract_blocks},
    {"growing-leaves-others-alone", C_CONTENT, leaves_others_alone, contract_blocks},
    {0},
};

const struct contract_row contract_realloc_growing = {"growing realloc", growing_rules};
