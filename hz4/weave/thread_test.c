// thread: init runs once, before anybody goes on; the list of caches and that of idle caches hold whole caches, which belong
// to one thread at a time, or to CPUs. The layers below are plain stand-ins, but for bins and the lock.
#include "hz4/thread.h"

#include <pthread.h>
#include <string.h>

#include "hz4/guard.h"
#include "hz4/large.h"
#include "hz4/limit_option.h"
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

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

enum { CLASS = 1, LENGTH = 8 };

// ---- stand-ins ----

static unsigned inits;
static void (*end_of_thread)(void *);
static void (*fork_handlers[3])(void);
static unsigned opened;  // under the lock of the list of idle caches
static size_t ids;
static __thread struct hz4_area area;

const struct hz4_class_info hz4_class_table[HZ4_MID_CLASSES] = {[CLASS] = {.object_bytes = 16}};
struct hz4_pagemap hz4_pagemap;
void hz4_class_part_tiny(void) {}
void hz4_harden_begin(void) {}
uint32_t hz4_pagemap_class_of(const void *ptr) {
  return (uint32_t)hz4_pagemap_class(ptr);
}
struct hz4_option_values hz4_option;

size_t hz4_rseq_ids(void) {
  return ids;
}
struct hz4_area *hz4_rseq_area(void) {
  return &area;
}
bool hz4_rseq_restart_all(void) {
  weave_restart_sequences();
  return true;
}

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
  ++inits;
  *key = 0;
  end_of_thread = destructor;
  return 0;
}
int pthread_setspecific(pthread_key_t key, const void *value) {
  weave_check(key == 0 && value == hz4_cache_here());
  return 0;
}
int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
  fork_handlers[0] = prepare;
  fork_handlers[1] = parent;
  fork_handlers[2] = child;
  return 0;
}
bool hz4_options_are_read;
void hz4_options_parse(const char *own, char *const *environment, void (*warn)(const char *, const char *)) {
  weave_check(own == NULL && environment != NULL && warn != NULL);
  hz4_options_are_read = true;
  hz4_option.tcache_kib = 1;
}
const char *hz4_options_of_program(void) {
  return NULL;
}
bool hz4_limit_option_read(const char *text) {
  weave_check(*text == '\0');
  return true;
}
void hz4_limit_option_read_container(void) {}
void hz4_os_configure(enum hz4_os_huge huge_pages, void (*grown)(void)) {
  weave_check(grown != NULL);
  weave_check(huge_pages == HZ4_OS_HUGE_NEVER);
}
struct hz4_shards hz4_shards = {.count = 1};
void hz4_shard_find(uint32_t split, const char *root) {
  weave_check(split == 0 && root == NULL);  // it is known how many there are
}
uint32_t hz4_shard_cpu(void) {
  return 0;
}
void hz4_transfer_drain(uint32_t size_class) {
  weave_check(size_class < HZ4_MID_CLASSES);
}
void hz4_guard_begin(void) {}
void hz4_report_begin(void) {}
bool hz4_sys_secure(void) {
  return false;
}

bool hz4_sys_single_threaded(void) {
  return false;
}
void *hz4_meta_alloc(size_t bytes) {
  return hz4_os_map((bytes + 4095) / 4096 * 4096, 4096);
}
void hz4_meta_free(void *ptr, size_t bytes) {
  hz4_os_unmap(ptr, (bytes + 4095) / 4096 * 4096);
}

size_t hz4_tcache_share(uint64_t caches) {
  return 1 + (caches == 0);
}
void hz4_tcache_set_budget(size_t bytes_per_cache) {
  weave_check(bytes_per_cache != 0);
}
void hz4_transfer_open(struct hz4_tcache *cache) {
  weave_check(cache->bins[CLASS].refill == 0);
  ++opened;
}
void hz4_tcache_close(struct hz4_tcache *cache) {
  weave_check(cache->bins[CLASS].refill == 1);
  cache->bins[CLASS].refill = 0;
}
void hz4_tcache_empty_here(void) {
  weave_check(hz4_is_attached());
}
void hz4_tcache_empty_all_remote(void) {
  for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) {
    struct hz4_held held[HZ4_REMOTE_BINS];
    for (uint32_t next = hz4_cache_is_own(cache) ? HZ4_CLASS_SLOTS : 1; next < HZ4_CLASS_SLOTS;) {
      if (hz4_bin_claim_remote(cache, &next, held) != 0) hz4_bin_publish(&held[0]);
    }
  }
}
void hz4_transfer_settle(void) {}

#define NOTHING(name) void name(void) {}
NOTHING(hz4_huge_fork_child)
NOTHING(hz4_meta_fork_prepare)
NOTHING(hz4_meta_fork_parent)
NOTHING(hz4_meta_fork_child)

#define NO_LOCKS(name) \
  void name(void (*act)(struct hz4_lock *lock)) { (void)act; }
NO_LOCKS(hz4_mid_fork)
NO_LOCKS(hz4_large_fork)
NO_LOCKS(hz4_segment_fork)

// ---- scenarios ----

static void init(void) {
  hz4_thread_init();
  weave_check(inits == 1 && end_of_thread != NULL && hz4_option.tcache_kib == 1);
}
static bool here_is_own(void) {
  return hz4_is_attached() && hz4_cache_is_own(hz4_cache_here());
}
// A cache with an array is listed.
static void make_array(void) {
  struct hz4_held held;
  if (!hz4_bin_claim(CLASS, &held)) return;
  if (held.top == NULL) {
    hz4_bin_set_array(&held, hz4_bin_new_array(LENGTH), LENGTH);
    hz4_bin_set_capacity(&held, LENGTH - 1);
  }
  hz4_bin_publish(&held);
}
// A cache's owner writes to bins[].refill, without a claim, and so sees a second owner.
static void attach(void) {
  if (!hz4_thread_attach()) return;  // a fork gate may be closed
  if (here_is_own()) {
    weave_check(hz4_cache_here()->attached && hz4_cache_here()->bins[CLASS].refill == 0);
    hz4_cache_here()->bins[CLASS].refill = 1;
  }
  make_array();
}
static void end(void) {
  if (!hz4_is_attached()) return;
  end_of_thread(hz4_cache_here());
  weave_check(!hz4_is_attached() && !hz4_thread_attach());
}
static void attach_and_end(void) {
  attach();
  end();
}
// A cache whose thread has ended, for the next one.
static void one_idle(void) {
  attach_and_end();
  hz4_front.ended = false;
}
static void trim(void) {
  attach();
  if (hz4_is_attached()) hz4_thread_trim();
}
static void fork_once(void) {
  fork_handlers[0]();
  fork_handlers[1]();
}
static void counted(void) {
  struct hz4_thread_stats stats;
  hz4_thread_stats(&stats);
  unsigned listed = 0, attached = 0;
  for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) {
    ++listed;
    attached += cache->attached;
  }
  weave_check(stats.caches == listed && stats.attached == attached);
}
static void two_attached(void) {
  counted();
  weave_check(opened == 2);
}

// ---- caches of CPUs ----

static void init_for_cpus(void) {
  ids = 2;
  init();
}
static void attach_to_0(void) {
  weave_run_on(1);
  attach();
  weave_check(hz4_is_attached() && !here_is_own());
}
static void attach_to_1(void) {
  weave_run_on(2);
  attach();
}
static void trim_on_1(void) {
  weave_run_on(2);
  trim();
}
static void two_listed(void) {
  struct hz4_thread_stats stats;
  hz4_thread_stats(&stats);
  weave_check(stats.by_cpu == 1 && stats.attached == 0 && stats.caches == 2 && opened == 0);
}

const struct weave_scenario weave_scenarios[] = {
    {"two initialise", NULL, {init, init}, init, ALL, false},
    {"three initialise", NULL, {init, init, init}, init, ALL, false},
    {"one ends, one begins", one_idle, {attach_and_end, attach}, counted, 3, 1, false},
    {"one ends, two begin", one_idle, {attach_and_end, attach, attach}, counted, 1, 1, false},
    {"two attach, one trims", one_idle, {attach, attach, trim}, counted, 1, 1, false},
    {"two initialise and attach", NULL, {attach, attach}, two_attached, 2, 1, false},
    {"one begins and ends, one forks", init, {attach_and_end, fork_once}, counted, 3, 1, false},
    {"two attach to CPUs, one trims", init_for_cpus, {attach_to_0, attach_to_1, trim_on_1}, two_listed, 1, 1, false},
    {0},
};
