// Row: malloc_usable_size is 0 for NULL, constant while the block lives, and every byte of it can be used.
#include "hz4/contract/suite.h"

#define MAN "malloc_usable_size(3): the number of usable bytes, at least the requested size"
#define MAN_NULL "malloc_usable_size(3): 0 for NULL"
#define CONSTANT "systemd#22801: programs ask twice, and use what they were told first"
#define ALL_BYTES "systemd#22801, malloc_usable_size(3): the usable bytes may be written to"

static const size_t kSizes[] = {1, 15, 16, 17, 24, 100, 1000, 4096, 5000, 33000, 200000, 300000, MIB, 2 * MIB + 1};

enum { kLive = 8 };

static void null_is_0(const struct contract_subject *none) {
  (void)none;
  errno = 1234;
  MUST(api.malloc_usable_size(NULL) == 0, "it is %zu", api.malloc_usable_size(NULL));
}

static void is_at_least_the_size(const struct contract_subject *entry) {
  for (size_t i = 0; i < COUNT(kSizes); i++) {
    void *block = contract_block(entry->allocate(kSizes[i]), kSizes[i]);
    size_t usable = api.malloc_usable_size(block);
    MUST(usable >= kSizes[i], "%zu for a block of %zu bytes", usable, kSizes[i]);
    api.free(block);
  }
}

// Neighbours that are written to their last usable byte, all at the same time.
static void every_byte_can_be_written(const struct contract_subject *entry) {
  for (size_t i = 0; i < COUNT(kSizes); i++) {
    void *blocks[kLive];
    for (unsigned n = 0; n < kLive; n++) {
      blocks[n] = contract_block(entry->allocate(kSizes[i]), kSizes[i]);
      contract_fill(blocks[n], api.malloc_usable_size(blocks[n]), n);
    }
    for (unsigned n = 0; n < kLive; n++) {
      size_t usable = api.malloc_usable_size(blocks[n]);
      MUST(contract_same(blocks[n], usable, n), "the %zu usable bytes of %zu are not all its own", usable, kSizes[i]);
    }
    for (unsigned n = 0; n < kLive; n++) api.free(blocks[n]);
  }
}

// ---- constant while the block lives, whatever happens ----

static void must_be_constant(const struct contract_subject *block, void (*meanwhile)(void *ptr, size_t usable)) {
  void *ptr = contract_block(block->allocate(block->size), block->size);
  size_t before = api.malloc_usable_size(ptr);
  meanwhile(ptr, before);
  size_t after = api.malloc_usable_size(ptr);
  MUST(after == before, "it went from %zu to %zu", before, after);
  api.free(ptr);
}

static void write_all(void *ptr, size_t usable) {
  memset(ptr, 0xff, usable);
}

static void constant_when_written(const struct contract_subject *block) {
  must_be_constant(block, write_all);
}

static void free_neighbours(void *ptr, size_t usable) {
  void *others[kLive];
  (void)ptr;
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < kLive; i++) others[i] = contract_block(api.malloc(usable), usable);
    for (int i = 0; i < kLive; i++) api.free(others[i]);
  }
  api.malloc_trim(0);
}

static void constant_when_others_are_freed(const struct contract_subject *block) {
  must_be_constant(block, free_neighbours);
}

static void *ask(void *ptr) {
  return (void *)api.malloc_usable_size(ptr);
}

static void *ask_in_thread(void *ptr) {
  MUST(ask(ptr) == ask(ptr), "another thread is told two sizes");
  return NULL;
}

static void from_another_thread(void *ptr, size_t usable) {
  (void)usable;
  contract_in_thread(ask_in_thread, ptr);
}

static void constant_across_threads(const struct contract_subject *block) {
  must_be_constant(block, from_another_thread);
}

// What is said to be usable is what realloc to that size keeps in use.
static void realloc_to_usable(const struct contract_subject *block) {
  void *ptr = contract_block(block->allocate(block->size), block->size);
  size_t usable = api.malloc_usable_size(ptr);
  contract_fill(ptr, usable, 9);
  ptr = contract_block(api.realloc(ptr, usable), usable);
  MUST(api.malloc_usable_size(ptr) >= usable, "realloc to %zu usable bytes gave %zu", usable,
       api.malloc_usable_size(ptr));
  MUST(contract_same(ptr, usable, 9), "realloc to the usable size lost content");
  api.free(ptr);
}

static const struct contract_rule rules[] = {
    {"usable-size-of-null-is-0", MAN_NULL, null_is_0, NULL},
    {"usable-size-is-at-least-the-size", MAN, is_at_least_the_size, contract_entries},
    {"every-usable-byte-can-be-written", ALL_BYTES, every_byte_can_be_written, contract_entries},
    {"usable-size-is-constant-when-written", CONSTANT, constant_when_written, contract_blocks},
    {"usable-size-is-constant-when-others-are-freed", CONSTANT, constant_when_others_are_freed, contract_blocks},
    {"usable-size-is-constant-across-threads", CONSTANT, constant_across_threads, contract_blocks},
    {"realloc-to-usable-size-keeps-all", ALL_BYTES, realloc_to_usable, contract_blocks},
    {0},
};

const struct contract_row contract_usable_size = {"malloc_usable_size", rules};
