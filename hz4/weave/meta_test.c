// meta: blocks freed while fork holds the lock come back, each once; blocks from the stock or cut from the spare chunk
// are zero and nobody else's.
#include "hz4/meta.h"

#include "hz4/config.h"
#include "hz4/limit.h"
#include "hz4/lock.h"
#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

enum { BYTES = HZ4_META_UNIT, LARGE = HZ4_META_MAX_BYTES };

static uint64_t *blocks[3];

void hz4_limit_take_anyway(size_t bytes) {
  weave_check(bytes != 0);
}

// A zeroed block, which is this thread's alone: or else the marks race.
static uint64_t *alloc(size_t bytes) {
  uint64_t *block = hz4_meta_alloc(bytes);
  weave_check(block != NULL && block[0] == 0 && block[bytes / 8 - 1] == 0);
  block[0] = block[bytes / 8 - 1] = (uintptr_t)block;
  return block;
}
static void release(uint64_t *block, size_t bytes) {
  weave_check(block[0] == (uintptr_t)block && block[bytes / 8 - 1] == (uintptr_t)block);
  hz4_meta_free(block, bytes);
}

static void fork_begins(void) {
  hz4_lock_fork_begin();
  hz4_meta_fork_prepare();
}
static void free_block_0(void) {
  release(blocks[0], BYTES);
}
static void free_block_1(void) {
  release(blocks[1], BYTES);
}
static void free_both(void) {
  free_block_0();
  free_block_1();
}
static void alloc_block_0(void) {
  blocks[0] = alloc(LARGE);
}
static void alloc_block_1(void) {
  blocks[1] = alloc(LARGE);
}
static void fork_ends(void) {
  hz4_meta_fork_parent();
  hz4_lock_fork_end();
}
static void fork_once(void) {
  fork_begins();
  fork_ends();
}
static void fork_ends_and_alloc(void) {
  fork_ends();
  blocks[2] = alloc(BYTES);
}

static void two_blocks_no_fork(void) {
  blocks[0] = alloc(BYTES);
  blocks[1] = alloc(BYTES);
}
static void two_blocks(void) {
  two_blocks_no_fork();
  fork_begins();
}
// The spare chunk has room for one more of the large blocks.
static void one_left(void) {
  fork_begins();
  for (size_t used = LARGE; used < HZ4_META_CHUNK_MIN; used += LARGE) alloc(LARGE);
}

// The stock has one block.
static void one_stocked(void) {
  fork_begins();
  uint64_t *block = alloc(BYTES);
  fork_ends();
  release(block, BYTES);
  fork_begins();
}
static void take_block_0(void) {
  blocks[0] = alloc(BYTES);
}
static void take_block_1(void) {
  blocks[1] = alloc(BYTES);
}
static void both_are_good(void) {
  fork_ends();
  free_both();
  hz4_meta_check();
}

// What is live is freed, what was put by is taken in: then nothing is in use.
static void nothing_is_lost(void) {
  if (blocks[2] != NULL) release(blocks[2], BYTES);
  release(alloc(BYTES), BYTES);
  struct hz4_meta_stats stats;
  hz4_meta_stats(&stats);
  weave_check(stats.used_bytes == 0);
  hz4_meta_check();
}
static void fork_ends_nothing_is_lost(void) {
  fork_ends();
  nothing_is_lost();
}
static void blocks_are_good(void) {
  release(blocks[0], LARGE);
  release(blocks[1], LARGE);
  hz4_meta_check();
}
static void blocks_are_whole(void) {
  fork_ends();
  blocks_are_good();
}

const struct weave_scenario weave_scenarios[] = {
    {"two free and fork goes on", two_blocks, {free_block_0, free_block_1}, fork_ends_nothing_is_lost, ALL, false},
    {"two take from the stock", one_stocked, {take_block_0, take_block_1}, both_are_good, ALL, false},
    {"two cut from the spare chunk", fork_begins, {alloc_block_0, alloc_block_1}, blocks_are_whole, ALL, false},
    {"a spare chunk runs out", one_left, {alloc_block_0, alloc_block_1}, blocks_are_whole, ALL, false},
    {"one frees, fork ends and allocates", two_blocks, {free_both, fork_ends_and_alloc}, nothing_is_lost, 3, 1, false},
    {"two free, fork ends", two_blocks, {free_block_0, free_block_1, fork_ends}, nothing_is_lost, 2, 1, false},
    {"two free, one forks", two_blocks_no_fork, {free_block_0, free_block_1, fork_once}, nothing_is_lost, 1, 1, false},
    {"one cuts, fork ends", one_left, {alloc_block_0, alloc_block_1, fork_ends}, blocks_are_good, 2, 1, false},
    {0},
};
