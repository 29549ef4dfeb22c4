// large: what is freed while fork holds the lock is taken over after it, each once; and a copy that fork makes finds
// nothing on its way to the system and back. The layers below are plain stand-ins, but for the lock.
#include "hz4/large.h"

#include "hz4/guarded.h"
#include "hz4/limit.h"
#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/span.h"
#include "hz4/weave/weave.h"

// ---- stand-ins ----

enum { BLOCKS = 3, DESCRIPTOR_BYTES = 4096 };

static struct hz4_span *spans[BLOCKS];
static int begun;

struct hz4_option_values hz4_option = {.dirty_kib = HZ4_PAGE_BYTES >> 10};

uint64_t hz4_sys_now_ns(void) {
  weave_fail("large blocks need no clock");
}

void hz4_pagemap_set(const void *base, size_t count, struct hz4_span *span, uint32_t size_class) {
  weave_check(base != NULL && count == 1 && size_class == 0);
  if (span == NULL) return;
  weave_check(begun < BLOCKS);
  spans[begun++] = span;
}
bool hz4_pagemap_reserve(const void *base, size_t count) {
  return base != NULL && count == 1;
}
bool hz4_limit_take(size_t bytes) {
  return bytes == HZ4_PAGE_BYTES;
}
void hz4_limit_give(size_t bytes) {
  weave_check(bytes == HZ4_PAGE_BYTES || bytes == 0);
}
bool hz4_segment_purge(size_t keep_bytes) {
  return keep_bytes == 0;
}
// Never the same address twice: a late touch of a descriptor is seen.
void *hz4_meta_alloc(size_t bytes) {
  weave_check(bytes <= DESCRIPTOR_BYTES);
  return hz4_os_map(DESCRIPTOR_BYTES, DESCRIPTOR_BYTES);
}
void hz4_meta_free(void *ptr, size_t bytes) {
  weave_check(bytes <= DESCRIPTOR_BYTES);
  hz4_os_unmap(ptr, DESCRIPTOR_BYTES);
}
bool hz4_os_purge(void *base, size_t bytes) {
  return base != NULL && bytes == HZ4_PAGE_BYTES;
}
size_t hz4_os_address_limit(void) {
  return SIZE_MAX;
}

bool hz4_guarded_trim(void) {
  return false;
}
size_t hz4_guarded_bytes(void) {
  return 0;
}

// What is not called.
void hz4_limit_take_anyway(size_t bytes) {
  weave_fail("counts %zu bytes", bytes);
}
struct hz4_span *hz4_guarded_map(size_t bytes, size_t align) {
  weave_fail("maps %zu bytes at %zu between guards", bytes, align);
}
void hz4_guarded_free(struct hz4_span *span) {
  weave_fail("frees %p between guards", (void *)span);
}
bool hz4_guarded_grow(struct hz4_span *span, size_t bytes) {
  weave_fail("grows %p to %zu between guards", (void *)span, bytes);
}
struct hz4_span *hz4_pagemap_span(const void *ptr) {
  weave_fail("looks up %p", ptr);
}
enum hz4_os_resized hz4_os_resize(void *base, size_t old_bytes, size_t new_bytes) {
  weave_fail("resizes %zu bytes at %p to %zu", old_bytes, base, new_bytes);
}
bool hz4_os_move(void *base, size_t bytes, void *to, size_t to_bytes) {
  weave_fail("moves %zu bytes at %p to %zu at %p", bytes, base, to_bytes, to);
}

// ---- scenarios ----

// Three blocks side by side; that in the middle stays.
static void three_blocks(void) {
  for (int i = 0; i < BLOCKS; ++i) {
    bool zeroed = false;
    hz4_large_alloc(HZ4_PAGE_BYTES, HZ4_PAGE_BYTES, &zeroed);
  }
}
// The first is free, and all that may be kept: the next one that is freed sends it to the system.
static void first_is_free(void) {
  three_blocks();
  hz4_large_free(spans[0]);
}
static void fork_begins(void) {
  hz4_lock_fork_begin();
  hz4_large_fork(hz4_lock_fork_acquire);
}
static void fork_ends(void) {
  hz4_large_fork(hz4_lock_fork_release);
  hz4_lock_fork_end();
}
static void forking(void) {
  three_blocks();
  fork_begins();
}
// Fork copies the memory: whoever writes to what is in the books, or should be, races with it.
static void fork_once(void) {
  fork_begins();
  static volatile char copy;
  for (size_t i = 0; i < sizeof(struct hz4_span); ++i) copy = ((const char *)spans[0])[i];
  (void)copy;
  fork_ends();
}
static void free_first(void) {
  hz4_large_free(spans[0]);
}
static void free_last(void) {
  hz4_large_free(spans[2]);
}
static void free_both(void) {
  free_first();
  free_last();
}
static void look(void) {
  struct hz4_large_stats stats;
  hz4_large_stats(&stats);
}
static void both_are_there(void) {
  struct hz4_large_stats stats;
  hz4_large_stats(&stats);
  weave_check(stats.cached_bytes + stats.retained_bytes == 2 * HZ4_PAGE_BYTES);
  weave_check(hz4_large_trim());
  hz4_large_stats(&stats);
  weave_check(stats.cached_bytes + stats.retained_bytes == 0);
}
static void fork_ends_both_are_there(void) {
  fork_ends();
  both_are_there();
}
static void fork_ends_and_look(void) {
  fork_ends();
  look();
}

const struct weave_scenario weave_scenarios[] = {
    {"two free while fork goes on", forking, {free_first, free_last}, fork_ends_both_are_there, 3, 1, false},
    {"one frees both, fork ends", forking, {free_both, fork_ends_and_look}, both_are_there, 3, 1, false},
    {"two free, fork ends", forking, {free_first, free_last, fork_ends_and_look}, both_are_there, 1, 1, false},
    {"one purges, one forks", first_is_free, {free_last, fork_once}, both_are_there, 4, 1, false},
    {"one purges, one forks, one looks", first_is_free, {free_last, fork_once, look}, both_are_there, 2, 1, false},
    {0},
};
