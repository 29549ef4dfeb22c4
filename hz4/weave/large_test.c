// large: page runs freed while fork holds the segment lock go back to their segment after it, each once. The layers
// below are plain stand-ins, but for the lock.
#include "hz4/large.h"

#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/span.h"
#include "hz4/weave/weave.h"

// ---- stand-ins ----

static struct hz4_lock segment_lock = HZ4_LOCK_INIT(HZ4_RANK_SEGMENT);
static char pages[2][HZ4_PAGE_BYTES];
static struct hz4_span *spans[2];
static unsigned handed_out, returned[2];  // under segment_lock

struct hz4_run hz4_segment_alloc_aligned(size_t count, size_t align_pages, bool grow) {
  weave_check(count == 1 && align_pages == 1 && grow && handed_out < 2);
  return (struct hz4_run){.base = pages[handed_out++]};
}
bool hz4_segment_free(struct hz4_segment *segment, char *base, size_t count, bool hollow) {
  weave_check(segment == NULL && count == 1 && !hollow);
  if (!hz4_lock_enter(&segment_lock)) return false;
  ++returned[base == pages[1]];
  hz4_lock_release(&segment_lock);
  return true;
}
bool hz4_segment_purge(size_t keep_bytes) {
  return keep_bytes == 0;
}
void hz4_pagemap_set(const void *base, size_t count, struct hz4_span *span, uint32_t size_class) {
  weave_check(count == 1 && size_class == 0);
  if (span != NULL) spans[base == pages[1]] = span;
}
// Never the same address twice: a late touch of a descriptor is seen.
void *hz4_meta_alloc(size_t bytes) {
  weave_check(bytes <= 4096);
  return hz4_os_map(4096, 4096);
}
void hz4_meta_free(void *ptr, size_t bytes) {
  weave_check(bytes <= 4096);
  hz4_os_unmap(ptr, 4096);
}

// What is for mappings only.
struct hz4_span *hz4_pagemap_span(const void *ptr) {
  weave_fail("looks up %p", ptr);
}
bool hz4_pagemap_reserve(const void *base, size_t count) {
  weave_fail("reserves %zu pages at %p", count, base);
}
bool hz4_os_purge(void *base, size_t bytes) {
  weave_fail("purges %zu bytes at %p", bytes, base);
}
bool hz4_os_resize(void *base, size_t old_bytes, size_t new_bytes) {
  weave_fail("resizes %zu bytes at %p to %zu", old_bytes, base, new_bytes);
}
bool hz4_os_move(void *base, size_t bytes, void *to, size_t to_bytes) {
  weave_fail("moves %zu bytes at %p to %zu at %p", bytes, base, to_bytes, to);
}

// ---- scenarios ----

static void two_runs(void) {
  bool zeroed;
  hz4_large_alloc(HZ4_PAGE_BYTES, 16, &zeroed);
  hz4_large_alloc(HZ4_PAGE_BYTES, 16, &zeroed);
}
static void fork_begins(void) {
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&segment_lock);
}
static void forking(void) {
  two_runs();
  fork_begins();
}
static void fork_ends(void) {
  hz4_lock_fork_release(&segment_lock);
  hz4_lock_fork_end();
}
static void fork_once(void) {
  fork_begins();
  fork_ends();
}
static void fork_ends_and_trim(void) {
  fork_ends();
  hz4_large_trim();
}
static void free_run_0(void) {
  hz4_large_free(spans[0]);
}
static void free_run_1(void) {
  hz4_large_free(spans[1]);
}
static void free_both(void) {
  free_run_0();
  free_run_1();
}
static void trim(void) {
  hz4_large_trim();
}
static void each_returns_once(void) {
  hz4_large_trim();
  weave_check(returned[0] == 1 && returned[1] == 1);
}
static void fork_ends_each_returns_once(void) {
  fork_ends();
  each_returns_once();
}

const struct weave_scenario weave_scenarios[] = {
    {"two free while fork goes on", forking, {free_run_0, free_run_1}, fork_ends_each_returns_once, 3, 1, false},
    {"two free, one trims in vain", forking, {free_run_0, free_run_1, trim}, fork_ends_each_returns_once, 1, 1, false},
    {"one frees both, fork ends", forking, {free_both, fork_ends_and_trim}, each_returns_once, 4, 1, false},
    {"two free, fork ends", forking, {free_run_0, free_run_1, fork_ends_and_trim}, each_returns_once, 2, 1, false},
    {"one frees, one trims, one forks", two_runs, {free_both, trim, fork_once}, each_returns_once, 2, 1, false},
    {0},
};
