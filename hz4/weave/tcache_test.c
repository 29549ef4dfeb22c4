// tcache: an object that is freed, sent to its owner's inbox, stolen, flushed at an exit or parked during a fork has
// one holder at a time, who sees what the last one wrote, and is with Mid when all have ended. One class, bins of one
// object. The layers below are plain stand-ins, but for the lock.
#include "hz4/tcache.h"

#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/sizeclass.h"
#include "hz4/weave/weave.h"

enum { CLASS = 1, OBJECTS = 4 };

// ---- stand-ins ----

const struct hz4_class_info hz4_class_table[HZ4_CLASS_SLOTS] = {
    [CLASS] = {.object_bytes = HZ4_INBOX_OBJECT_MAX, .bin_slots_max = 2},
};
struct hz4_options hz4_options;

static struct hz4_lock mid_lock = HZ4_LOCK_INIT(HZ4_RANK_MID);
static unsigned objects[OBJECTS];  // written by whoever holds the object
static struct hz4_tcache caches[3];
// Under mid_lock.
static unsigned *depot[OBJECTS];
static uint32_t in_depot;

struct hz4_mid_result hz4_mid_give(uint32_t size_class, void *const *given, uint32_t count, const void *giver) {
  weave_check(size_class == CLASS && giver != &hz4_tcache_ended && giver != &hz4_tcache_none);
  if (!hz4_lock_enter(&mid_lock)) return (struct hz4_mid_result){0};
  for (uint32_t i = 0; i < count; ++i) {
    for (uint32_t j = 0; j < in_depot; ++j) weave_check(depot[j] != given[i]);
    depot[in_depot++] = given[i];
  }
  hz4_lock_release(&mid_lock);
  return (struct hz4_mid_result){.objects = count};
}
struct hz4_mid_result hz4_mid_take(uint32_t size_class, void **out, uint32_t want, uint32_t fresh, void *owner) {
  weave_check(size_class == CLASS && want == 1 && owner != NULL);
  weave_check(fresh == 0 || fresh == HZ4_REFILL_FRESH_BYTES / HZ4_INBOX_OBJECT_MAX);
  struct hz4_mid_result result = {0};
  if (!hz4_lock_enter(&mid_lock)) return result;
  if (in_depot != 0) {
    out[0] = depot[--in_depot];
    result.objects = result.from_depot = 1;
  }
  hz4_lock_release(&mid_lock);
  return result;
}
void *hz4_mid_owner(const void *object) {
  weave_check(object != NULL);
  return &caches[0];
}
uint32_t hz4_mid_ebbs(uint32_t size_class) {
  return size_class - CLASS;
}
bool hz4_mid_is_ebbing(uint32_t size_class) {
  return size_class != CLASS;
}
bool hz4_segment_purge(size_t keep_bytes) {
  return keep_bytes == 0;
}
struct hz4_pagemap hz4_pagemap;

// Never the same address twice: a late touch of a batch or a bin is seen.
void *hz4_meta_alloc(size_t bytes) {
  weave_check(bytes <= 4096);
  return hz4_os_map(4096, 4096);
}
void hz4_meta_free(void *ptr, size_t bytes) {
  weave_check(bytes <= 4096);
  hz4_os_unmap(ptr, 4096);
}

// ---- scenarios ----

static void free_object(struct hz4_tcache *cache, unsigned *object) {
  ++*object;
  if (!hz4_tcache_push(cache, CLASS, object)) hz4_tcache_overflow(cache, CLASS, object);
}
static void free_again(struct hz4_tcache *cache, unsigned *object) {
  if (object != NULL) free_object(cache, object);
}

// Cache 0 owns all objects. Cache 1 frees, cache 2 steals: its bin has its array.
static void open_caches(void) {
  hz4_options.inbox = 1;
  hz4_tcache_set_budget(HZ4_TCACHE_BYTES_MIN);
  for (int i = 0; i < 3; ++i) {
    hz4_tcache_open(&caches[i]);
    hz4_tcache_refill(&caches[i], CLASS, false);
  }
}
static void one_waits(void) {
  open_caches();
  free_object(&caches[1], &objects[0]);
  free_object(&caches[1], &objects[1]);
}
static void free_two(void) {
  free_object(&caches[1], &objects[2]);
  free_object(&caches[1], &objects[3]);
}
static void steal(void) {
  if (hz4_tcache_steal(&caches[2], &caches[0], CLASS)) free_again(&caches[2], hz4_tcache_pop(&caches[2], CLASS));
}
static void owner_refills(void) {
  free_again(&caches[0], hz4_tcache_refill(&caches[0], CLASS, false));
}
static void owner_exits(void) {
  hz4_tcache_close(&caches[0]);
}
static void owner_exits_next_begins(void) {
  owner_exits();
  hz4_tcache_open(&caches[0]);
}
static void empty_inboxes(void) {
  hz4_tcache_empty_inboxes(&caches[2], &caches[0]);
}
static void all_exit(void) {
  for (int i = 0; i < 3; ++i) hz4_tcache_close(&caches[i]);
}
static void all_are_with_mid(void) {
  all_exit();
  weave_check(in_depot == OBJECTS);
  weave_check(hz4_load_relaxed(&caches[0].inbox[CLASS].word) == HZ4_INBOX_CLOSED);
}
static void others_exit(void) {
  weave_check(hz4_load_relaxed(&caches[0].inbox[CLASS].word) == HZ4_INBOX_CLOSED);
  hz4_tcache_close(&caches[1]);
  hz4_tcache_close(&caches[2]);
  weave_check(in_depot == OBJECTS);
}

// ---- fork ----

static void give(int i) {
  uint8_t ebbs = 0;
  void *object = &objects[i];
  ++objects[i];
  hz4_tcache_give(&hz4_tcache_ended.counters, CLASS, &object, 1, &ebbs);
}
static void give_0(void) {
  give(0);
}
static void give_1_and_2(void) {
  give(1);
  give(2);
}
static void fork_begins(void) {
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&mid_lock);
}
static void fork_ends(void) {
  hz4_lock_fork_release(&mid_lock);
  hz4_lock_fork_end();
  hz4_tcache_settle();
}
static void fork_once(void) {
  fork_begins();
  fork_ends();
}
// What was parked when fork had settled already, the next flush takes along.
static void the_next_takes_all(void) {
  give(3);
  weave_check(in_depot == OBJECTS);
}

const struct weave_scenario weave_scenarios[] = {
    {"fork ends beside frees", fork_begins, {give_0, give_1_and_2, fork_ends}, the_next_takes_all, 1, 1, false},
    {"one forks beside frees", NULL, {give_0, give_1_and_2, fork_once}, the_next_takes_all, 1, 1, false},
    {"the owner exits beside frees", one_waits, {owner_exits, free_two}, others_exit, 3, 1, false},
    {"the owner exits, and a thief", one_waits, {owner_exits, free_two, steal}, others_exit, 2, 1, false},
    {"the next owner begins", one_waits, {owner_exits_next_begins, free_two, steal}, all_are_with_mid, 1, 1, false},
    {"the owner refills beside a thief", one_waits, {owner_refills, free_two, steal}, all_are_with_mid, 1, 1, false},
    {"the owner exits beside a trim", one_waits, {owner_exits, free_two, empty_inboxes}, others_exit, 1, 1, false},
    {0},
};
