// tcache: an object that is freed, sent to its owner's inbox, stolen, flushed at an exit, emptied remotely or deferred
// during a fork has one holder at a time, who sees what the last one wrote, and is with Mid when all have ended. One class,
// bins of one object. The layers below are plain stand-ins, but for bins and the lock.
#include "hz4/tcache.h"

#include "hz4/limit.h"
#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/rseq.h"
#include "hz4/segment.h"
#include "hz4/shard.h"
#include "hz4/sizeclass.h"
#include "hz4/transfer.h"
#include "hz4/weave/weave.h"

enum { CLASS = 1, OBJECTS = 4, CACHES = 3 };

// ---- stand-ins ----

const struct hz4_class_info hz4_class_table[HZ4_MID_CLASSES] = {
    [CLASS] = {.object_bytes = HZ4_INBOX_OBJECT_MAX, .bin_slots_max = 2},
};
struct hz4_option_values hz4_option;
size_t hz4_limit_of_caches(size_t wanted) {
  return wanted;
}

struct hz4_shards hz4_shards = {.count = 1};
uint32_t hz4_mid_drain(uint32_t shard, uint32_t size_class, void **out, uint32_t room) {
  (void)shard, (void)size_class, (void)out, (void)room;
  return 0;
}
uint32_t hz4_mid_send_home(uint32_t size_class, void **given, uint32_t count) {
  (void)size_class, (void)given;
  return count;
}

static struct hz4_lock mid_lock = HZ4_LOCK_INIT(HZ4_RANK_MID);
static unsigned objects[OBJECTS];  // written by whoever holds the object
// Of CPUs; or of threads, with the stand-ins in them. The zeros before a cache end the one before it.
static _Alignas(HZ4_CACHE_BYTES) char memory[1 + CACHES][HZ4_CACHE_BYTES];
static __thread struct hz4_area area;
// Under mid_lock.
static unsigned *depot[OBJECTS];
static uint32_t in_depot;

static struct hz4_tcache *cache(int i) {
  return (struct hz4_tcache *)memory[1 + i];
}

struct hz4_mid_result hz4_mid_give(uint32_t size_class, void **given, uint32_t count, const void *giver, bool purge) {
  (void)purge;
  weave_check(size_class == CLASS && giver != &hz4_no_cache.cache);
  if (!hz4_lock_enter(&mid_lock)) return (struct hz4_mid_result){0};
  for (uint32_t i = 0; i < count; ++i) {
    for (uint32_t j = 0; j < in_depot; ++j) weave_check(depot[j] != given[i]);
    depot[in_depot++] = given[i];
  }
  hz4_lock_release(&mid_lock);
  return (struct hz4_mid_result){.objects = count};
}
struct hz4_mid_result hz4_mid_take(uint32_t size_class, void **out, uint32_t want, uint32_t fresh, void *owner,
                                   bool zero) {
  weave_check(size_class == CLASS && want == 1 && owner != NULL && !zero);
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
  return cache(0);
}
void hz4_mid_expect(uint32_t size_class) {
  weave_check(size_class == CLASS);
}
uint32_t hz4_mid_portion(uint32_t size_class) {
  weave_check(size_class == CLASS);
  return HZ4_MOVE_OBJECTS;
}
uint32_t hz4_mid_declines(uint32_t size_class) {
  return size_class - CLASS;
}
bool hz4_mid_is_declining(uint32_t size_class) {
  return size_class != CLASS;
}
void hz4_misuse_note(const char *what, const void *ptr) {
  weave_fail("%s: %p", what, ptr);
}
bool hz4_policy_heap_declined(void) {
  return false;
}
bool hz4_segment_purge(size_t keep_bytes) {
  return keep_bytes == 0;
}
struct hz4_pagemap hz4_pagemap;
void hz4_class_part_tiny(void) {}
uint64_t hz4_random_shared;
uint64_t hz4_random_secret;
uint32_t hz4_pagemap_class_of(const void *ptr) {
  return (uint32_t)hz4_pagemap_class(ptr);
}
bool hz4_rseq_restart_all(void) {
  weave_restart_sequences();
  return true;
}

// Never the same address twice: a late touch of a batch or a bin is seen.
void *hz4_meta_alloc(size_t bytes) {
  weave_check(bytes <= 4096);
  return hz4_os_map(4096, 4096);
}
void hz4_meta_free(void *ptr, size_t bytes) {
  weave_check(bytes <= 4096);
  hz4_os_unmap(ptr, 4096);
}

// ---- caches of threads ----

static void free_object(unsigned *object) {
  ++*object;
  if (!hz4_sequence_push(CLASS, object)) hz4_tcache_overflow(CLASS, object);
}
static void free_again(unsigned *object) {
  if (object != NULL) free_object(object);
}

// In vain, and to be found themselves.
static void search(int i) {
  hz4_cache_attach_own(cache(i));
  weave_check(hz4_tcache_refill(CLASS, NULL) == NULL);
}
// Cache 0 owns all objects. Cache 1 frees, cache 2 steals. Their bins have arrays.
static void open_caches(void) {
  hz4_option.inbox = 1;
  hz4_tcache_set_budget(HZ4_TCACHE_BYTES_MIN);
  for (int i = 0; i < CACHES; ++i) {
    hz4_transfer_open(cache(i));
    search(i);
  }
  hz4_cache_attach_own(cache(1));
}
static void one_waits(void) {
  open_caches();
  free_object(&objects[0]);
  free_object(&objects[1]);
}
static void free_two(void) {
  hz4_cache_attach_own(cache(1));
  free_object(&objects[2]);
  free_object(&objects[3]);
}
static void steal(void) {
  hz4_cache_attach_own(cache(2));
  free_again(hz4_tcache_refill(CLASS, NULL));
}
static void owner_refills(void) {
  hz4_cache_attach_own(cache(0));
  free_again(hz4_tcache_refill(CLASS, NULL));
}
static void search_0(void) {
  search(0);
}
static void search_1(void) {
  search(1);
}
static void search_2(void) {
  search(2);
}
static void owner_exits(void) {
  hz4_tcache_close(cache(0));
}
static void owner_exits_next_begins(void) {
  owner_exits();
  hz4_transfer_open(cache(0));
}
static void empty_inboxes(void) {
  hz4_cache_attach_own(cache(2));
  hz4_tcache_empty_remote(cache(0));  // leaves it alone
  hz4_transfer_empty(cache(0), false);
}
// Once all have sent what they sent, a trim finds it.
static void a_trim_leaves_nothing(void) {
  empty_inboxes();
  weave_check(hz4_inbox_objects(&cache(0)->inbox[CLASS]) == 0);
}
static void all_are_with_mid(void) {
  for (int i = 0; i < CACHES; ++i) hz4_tcache_close(cache(i));
  weave_check(in_depot == OBJECTS);
  weave_check(hz4_load_relaxed(&cache(0)->inbox[CLASS].word) == HZ4_INBOX_CLOSED);
}
static void others_exit(void) {
  weave_check(hz4_load_relaxed(&cache(0)->inbox[CLASS].word) == HZ4_INBOX_CLOSED);
  hz4_tcache_close(cache(1));
  hz4_tcache_close(cache(2));
  weave_check(in_depot == OBJECTS);
}

// ---- caches of CPUs ----

static void run_on(unsigned ids) {
  hz4_front.caches = memory[1];
  hz4_front.area = &area;
  weave_run_on(ids);
}
// No inboxes: what leaves a bin goes to Mid. An object is in the bin of id 0.
static void one_in_bin(void) {
  hz4_tcache_set_budget(HZ4_TCACHE_BYTES_MIN);
  run_on(1);
  weave_check(hz4_tcache_refill(CLASS, NULL) == NULL);
  free_object(&objects[0]);
}
static void frees_two(void) {
  run_on(1);
  free_object(&objects[2]);
  free_object(&objects[3]);
}
static void takes_one(void) {
  run_on(1);
  unsigned *object = hz4_sequence_pop(CLASS);
  if (object == NULL) object = hz4_tcache_refill(CLASS, NULL);
  free_again(object);
  free_object(&objects[1]);
}
// It may come to a cache without arrays.
static void frees_one_and_moves(void) {
  run_on(3);
  free_object(&objects[1]);
}
// To a cache that nobody has been at.
static void comes_to_id_1(void) {
  run_on(2);
  free_again(hz4_tcache_refill(CLASS, NULL));
}
static void empties(void) {
  run_on(4);
  hz4_tcache_empty_remote(cache(0));
}
static void frees_one_and_empties(void) {
  frees_one_and_moves();
  empties();
}
static void empties_here(void) {
  run_on(1);
  free_object(&objects[1]);
  hz4_tcache_empty_here();
}
static void all_come_home(void) {
  for (int i = 0; i < CACHES; ++i) {
    run_on(1u << i);
    hz4_tcache_empty_here();
  }
  weave_check(in_depot == OBJECTS);
}
static void all_are_given(void) {
  for (int i = 1; i < OBJECTS; ++i) free_object(&objects[i]);
  all_come_home();
}

// ---- fork ----

static void give(int i) {
  uint8_t declines = 0;
  void *object = &objects[i];
  ++objects[i];
  hz4_transfer_give(CLASS, &object, 1, &declines, true);
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
  hz4_transfer_settle();
}
static void fork_once(void) {
  fork_begins();
  fork_ends();
}
// What was deferred when fork had settled already, the next flush takes along.
static void the_next_takes_all(void) {
  give(3);
  weave_check(in_depot == OBJECTS);
}

const struct weave_scenario weave_scenarios[] = {
    {"fork ends beside frees", fork_begins, {give_0, give_1_and_2, fork_ends}, the_next_takes_all, 1, 1, false},
    {"one forks beside frees", NULL, {give_0, give_1_and_2, fork_once}, the_next_takes_all, 1, 1, false},
    {"the owner exits beside frees", one_waits, {owner_exits, free_two}, others_exit, 2, 0, false},
    {"the owner exits, and a thief", one_waits, {owner_exits, free_two, steal}, others_exit, 1, 1, false},
    {"the next owner begins", one_waits, {owner_exits_next_begins, free_two, steal}, all_are_with_mid, 1, 0, false},
    {"the owner refills beside a thief", one_waits, {owner_refills, free_two, steal}, all_are_with_mid, 1, 0, false},
    {"the owner exits beside a trim", one_waits, {owner_exits, free_two, empty_inboxes}, others_exit, 1, 0, false},
    {"a trim beside frees", one_waits, {empty_inboxes, free_two}, a_trim_leaves_nothing, 2, 1, false},
    {"three look for a victim", NULL, {search_1, search_0, search_2}, NULL, 1, 0, false},
    {"two on one id", one_in_bin, {frees_two, takes_one}, all_come_home, 2, 1, false},
    {"two come to a cache", one_in_bin, {comes_to_id_1, comes_to_id_1}, all_are_given, 2, 0, false},
    {"two on one id, one moves", one_in_bin, {frees_two, frees_one_and_moves}, all_come_home, 2, 0, false},
    {"two on one id, one empties it", one_in_bin, {frees_two, empties_here}, all_come_home, 2, 0, false},
    {"one empties remotely", one_in_bin, {frees_two, frees_one_and_empties}, all_come_home, 2, 0, false},
    {"two on one id, one empties remotely", one_in_bin, {frees_two, takes_one, empties}, all_come_home, 1, 0, false},
    {0},
};
