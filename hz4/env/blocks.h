// Blocks that tell whether they are whole, and slots by which threads pass them to each other.
#ifndef HZ4_ENV_BLOCKS_H_
#define HZ4_ENV_BLOCKS_H_

#include <malloc.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/env/loaded.h"

enum { kSlots = 256 };

struct block {
  size_t size;
  uint64_t mark;
};

static _Atomic(struct block *) slots[kSlots];

static uint64_t mark_of(const struct block *block) {
  return (uint64_t)(uintptr_t)block * 0x9e3779b97f4a7c15u ^ block->size;
}

static uint64_t *last_word(struct block *block) {
  return (uint64_t *)block + block->size / 8 - 1;
}

// Two words at the front, and one at the end: who has the same block, or one across its end, writes others.
static struct block *make(uint64_t *state) {
  size_t size = (sizeof(struct block) + 8 + random_size(state, next_random(state) % 8 == 0 ? 16 : 10)) & ~(size_t)7;
  struct block *block = malloc(size);
  CHECK(block != NULL);
  block->size = size;
  block->mark = *last_word(block) = mark_of(block);
  return block;
}

static void release(struct block *block) {
  if (block == NULL) return;
  CHECK(block->mark == mark_of(block) && *last_word(block) == block->mark);
  block->mark = *last_word(block) = 0;
  free(block);
}

// Puts a block, or NULL, into some slot; returns what was there.
static struct block *exchange(uint64_t *state, struct block *block) {
  return atomic_exchange(&slots[next_random(state) % kSlots], block);
}

__attribute__((unused)) static void free_slots(void) {
  for (int i = 0; i < kSlots; i++) release(atomic_exchange(&slots[i], NULL));
}

// Steps of one thread among others.
__attribute__((unused)) static void churn_steps(uint64_t seed, int steps) {
  for (int i = 0; i < steps; i++) {
    release(exchange(&seed, make(&seed)));
    if (i % 1024 == 0) sched_yield();
    if (i % 4096 == 0) malloc_trim(0);
  }
}

// A child of fork frees what it has inherited, and goes on.
__attribute__((unused)) static void churn_in_child(uint64_t seed, int steps) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    free_slots();
    churn_steps(seed, steps);
    hz4_check();
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

#endif  // HZ4_ENV_BLOCKS_H_
