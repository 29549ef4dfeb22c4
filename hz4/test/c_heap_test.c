// The whole allocator from C alone, on threads that free each other's blocks: what MemorySanitizer can run, for which all
// code must be instrumented (Debian's libstdc++ and GoogleTest are not). Whatever hz4 decides by is read here.
#include <pthread.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { THREADS = 3, SLOTS = 300, STEPS = 6000 };

static struct slot {
  pthread_mutex_t mutex;
  // under mutex
  unsigned char *block;
  size_t size;
  unsigned char value;  // of every byte
} slots[SLOTS];

// Few that are large.
static size_t some_size(uint64_t *random) {
  return random_size(random, next_random(random) % 16 == 0 ? 22 : 14);
}

static bool all_are(const unsigned char *block, unsigned char value, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (block[i] != value) return false;
  }
  return true;
}

static void allocate(struct slot *slot, uint64_t *random) {
  size_t size = some_size(random), alignment = (size_t)16 << next_random(random) % 9;
  void *block = NULL;
  switch (next_random(random) % 4) {
    case 0: block = hz4_malloc(size); break;
    case 1:
      block = hz4_calloc(1, size);
      CHECK(block == NULL || all_are(block, 0, size));
      break;
    case 2: CHECK(hz4_posix_memalign(&block, alignment, size) == 0 && (uintptr_t)block % alignment == 0); break;
    default: block = hz4_realloc(NULL, size); break;
  }
  CHECK(block != NULL && hz4_malloc_usable_size(block) >= size);
  slot->block = block;
  slot->size = size;
}

static void step(struct slot *slot, uint64_t *random) {
  if (slot->block == NULL) {
    allocate(slot, random);
  } else {
    CHECK(all_are(slot->block, slot->value, slot->size));
    if (next_random(random) % 4 != 0) {
      hz4_free(slot->block);
      slot->block = NULL;
      return;
    }
    size_t size = some_size(random);
    unsigned char *moved = hz4_realloc(slot->block, size);
    CHECK(moved != NULL && all_are(moved, slot->value, size < slot->size ? size : slot->size));
    slot->block = moved;
    slot->size = size;
  }
  slot->value = (unsigned char)next_random(random);
  memset(slot->block, slot->value, slot->size);
}

static void *work(void *seed) {
  uint64_t random = (uintptr_t)seed;
  for (int i = 0; i < STEPS; ++i) {
    struct slot *slot = &slots[next_random(&random) % SLOTS];
    pthread_mutex_lock(&slot->mutex);
    step(slot, &random);
    pthread_mutex_unlock(&slot->mutex);
    if (i % 1000 == 0) hz4_malloc_trim(i % 2000 == 0 ? 0 : (size_t)1 << 20);
    if (i % 1000 == 0) hz4_check();
  }
  return NULL;
}

int main(void) {
  for (int i = 0; i < SLOTS; ++i) pthread_mutex_init(&slots[i].mutex, NULL);
  // Twice: caches are closed, and opened again.
  for (uintptr_t round = 0; round < 2; ++round) {
    pthread_t threads[THREADS];
    for (uintptr_t t = 0; t < THREADS; ++t) {
      CHECK(pthread_create(&threads[t], NULL, work, (void *)(round * THREADS + t + 1)) == 0);
    }
    for (int t = 0; t < THREADS; ++t) pthread_join(threads[t], NULL);
  }
  for (int i = 0; i < SLOTS; ++i) hz4_free(slots[i].block);
  hz4_malloc_trim(0);
  hz4_check();
  CHECK(hz4_stats_get("heap_spans") == 0 && hz4_stats_get("segment_used_bytes") == 0);
  CHECK(hz4_stats_get("large_live_mapped_bytes") == 0);
  static char json[1 << 16];
  CHECK(hz4_stats_json(json, sizeof(json)) < sizeof(json) && json[0] == '{');
  hz4_stats_print(1);
  return 0;
}
