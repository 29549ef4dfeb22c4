// Row: calloc gives zeros, whatever the memory held before and whatever became of the attempt to give it back.
#include "hz4/contract/suite.h"
#include "hz4/env/sandbox.h"

#define C_ZERO "C23 7.24.3.2: the space is initialized to all bits zero"
#define REUSED "C23 7.24.3.2; jemalloc#2005: reused memory is not zero because madvise was called"
#define QEMU "jemalloc#2005: qemu-user's madvise does nothing, and succeeds"
#define LOCKED "madvise(2): MADV_DONTNEED of locked pages fails with EINVAL"

static const struct contract_subject sizes[] = {
    {.name = "calloc of 1", .size = 1},           {.name = "calloc of 100", .size = 100},
    {.name = "calloc of 2000", .size = 2000},     {.name = "calloc of 30 KB", .size = 30000},
    {.name = "calloc of 200 KB", .size = 200000}, {.name = "calloc of 1 MiB", .size = 1 << 20},
    {.name = "calloc of 8 MiB", .size = 8 << 20}, {0},
};

// As many blocks as make 16 MiB, 2,000 at most.
static size_t live_blocks(size_t size) {
  size_t count = 16 * MIB / size;
  return count > 2000 ? 2000 : count;
}

static void *zero_block(size_t count, size_t size) {
  void *block = contract_block(api.calloc(count, size), count * size);
  MUST(is_zero(block, count * size), "%zu times %zu bytes are not zero", count, size);
  return block;
}

// Blocks that were full of ones, freed, and may serve again.
static void leave_dirt(size_t size) {
  static void *blocks[2000];
  const size_t count = live_blocks(size);
  for (size_t i = 0; i < count; i++) {
    blocks[i] = contract_block(api.malloc(size), size);
    memset(blocks[i], 0xff, api.malloc_usable_size(blocks[i]));
  }
  for (size_t i = 0; i < count; i++) api.free(blocks[i]);
}

static void must_all_be_zero(size_t size) {
  static void *blocks[2000];
  const size_t count = live_blocks(size);
  for (size_t i = 0; i < count; i++) blocks[i] = zero_block(1, size);
  for (size_t i = 0; i < count; i++) api.free(blocks[i]);
}

static void fresh(const struct contract_subject *subject) {
  must_all_be_zero(subject->size);
}

static void after_free(const struct contract_subject *subject) {
  for (int round = 0; round < 3; round++) {
    leave_dirt(subject->size);
    must_all_be_zero(subject->size);
  }
}

// Dirt of another size: the memory is split, merged, or mapped anew.
static void after_other_sizes(const struct contract_subject *subject) {
  for (const struct contract_subject *other = sizes; other->name != NULL; other++) {
    leave_dirt(other->size);
    must_all_be_zero(subject->size);
  }
}

static void after_trim(const struct contract_subject *subject) {
  for (int round = 0; round < 3; round++) {
    leave_dirt(subject->size);
    api.malloc_trim(0);
    must_all_be_zero(subject->size);
  }
}

static void after_calloc_written(const struct contract_subject *subject) {
  for (int round = 0; round < 20; round++) {
    void *block = zero_block(1, subject->size);
    memset(block, 0xff, api.malloc_usable_size(block));
    api.free(block);
  }
}

// A block shrinks in place, and what it gave up is given out again.
static void after_shrinking(const struct contract_subject *subject) {
  const size_t size = subject->size;
  for (int round = 0; round < 5; round++) {
    void *large = contract_block(api.malloc(size * 8), size * 8);
    memset(large, 0xff, size * 8);
    large = contract_block(api.realloc(large, size), size);
    for (int i = 0; i < 5; i++) api.free(zero_block(1, size));
    api.free(large);
  }
}

static void *dirt_thread(void *size) {
  leave_dirt((size_t)size);
  return NULL;
}

static void after_another_thread(const struct contract_subject *subject) {
  contract_in_thread(dirt_thread, (void *)subject->size);
  must_all_be_zero(subject->size);
}

static void by_any_count(const struct contract_subject *subject) {
  leave_dirt(subject->size);
  for (size_t count = 1; count <= subject->size; count *= 3) api.free(zero_block(count, subject->size / count));
}

static void with_madvise(const struct contract_subject *subject, int error) {
  leave_dirt(subject->size);
  const int madvise_only[] = {SYS_madvise};
  if (!sandbox_install(madvise_only, 1, false, error)) contract_skip("no seccomp filters here");
  for (int round = 0; round < 3; round++) {
    leave_dirt(subject->size);
    api.malloc_trim(0);
    must_all_be_zero(subject->size);
  }
}

static void when_madvise_does_nothing(const struct contract_subject *subject) {
  with_madvise(subject, 0);
}

static void when_madvise_is_refused(const struct contract_subject *subject) {
  with_madvise(subject, EINVAL);
}

static const struct contract_rule rules[] = {
    {"is-zero-when-fresh", C_ZERO, fresh, sizes},
    {"is-zero-after-free", REUSED, after_free, sizes},
    {"is-zero-after-other-sizes", REUSED, after_other_sizes, sizes},
    {"is-zero-after-trim", REUSED, after_trim, sizes},
    {"is-zero-after-calloc-was-written", REUSED, after_calloc_written, sizes},
    {"is-zero-after-shrinking", REUSED, after_shrinking, sizes},
    {"is-zero-after-another-thread", REUSED, after_another_thread, sizes},
    {"is-zero-by-any-count", C_ZERO, by_any_count, sizes},
    {"is-zero-when-madvise-does-nothing", QEMU, when_madvise_does_nothing, sizes},
    {"is-zero-when-madvise-is-refused", LOCKED, when_madvise_is_refused, sizes},
    {0},
};

const struct contract_row contract_calloc = {"calloc is zero", rules};
