// thread: init runs once, before anybody goes on; the list of caches, the steal cursor and the list of idle caches hold
// whole caches, which belong to one thread at a time. The layers below are plain stand-ins, but for the lock.
#include "hz4/thread.h"

#include <pthread.h>
#include <string.h>

#include "hz4/large.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/segment.h"
#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

// Whether a steal of this class finds something at once, or looks at all caches in vain.
enum { FOUND = 1, NOT_FOUND = 2 };

// ---- stand-ins ----

static unsigned inits;
static void (*end_of_thread)(void *);
static void (*fork_handlers[3])(void);
static unsigned opened;  // under the lock of the list of threads

struct hz4_tcache hz4_tcache_none, hz4_tcache_ended;
__thread struct hz4_tcache *hz4_tcache_current __attribute__((tls_model("initial-exec"))) = &hz4_tcache_none;
struct hz4_options hz4_options;

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
  ++inits;
  *key = 0;
  end_of_thread = destructor;
  return 0;
}
int pthread_setspecific(pthread_key_t key, const void *value) {
  weave_check(key == 0 && value == hz4_tcache_current);
  return 0;
}
int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
  fork_handlers[0] = prepare;
  fork_handlers[1] = parent;
  fork_handlers[2] = child;
  return 0;
}
void hz4_options_parse(char *const *environment, void (*warn)(const char *, const char *)) {
  weave_check(environment != NULL && warn != NULL);
  hz4_options.tcache_kib = 1;
}
void hz4_os_configure(bool huge_pages) {
  weave_check(!huge_pages);
}
void hz4_segment_configure(size_t floor_bytes, unsigned share_shift) {
  weave_check(floor_bytes == 0 && share_shift == 0);
}
bool hz4_sys_single_threaded(void) {
  return false;
}
void *hz4_meta_alloc(size_t bytes) {
  return hz4_os_map((bytes + 4095) / 4096 * 4096, 4096);
}

// A cache's owner counts in capacity_bytes, which is plain, and so sees a second owner.
void hz4_tcache_set_budget(size_t bytes_per_thread) {
  weave_check(bytes_per_thread != 0);
}
void hz4_tcache_open(struct hz4_tcache *cache) {
  weave_check(cache->capacity_bytes == 0);
  cache->capacity_bytes = 1;
  ++opened;
}
void hz4_tcache_close(struct hz4_tcache *cache) {
  weave_check(cache->capacity_bytes == 1);
  cache->capacity_bytes = 0;
}
bool hz4_tcache_steal(struct hz4_tcache *cache, struct hz4_tcache *victim, uint32_t size_class) {
  weave_check(victim != NULL && victim != cache && victim->next_listed != victim);
  return size_class == FOUND;
}
void hz4_tcache_abandon(struct hz4_tcache *cache) {
  cache->capacity_bytes = 0;
}
void hz4_tcache_trim(struct hz4_tcache *cache) {
  weave_check(cache == hz4_tcache_current);
}
void hz4_tcache_empty_inboxes(struct hz4_tcache *cache, struct hz4_tcache *victim) {
  weave_check(cache != NULL && victim != NULL);
}
void hz4_tcache_settle(void) {}

#define NOTHING(name) void name(void) {}
NOTHING(hz4_mid_fork_prepare)
NOTHING(hz4_mid_fork_parent)
NOTHING(hz4_mid_fork_child)
NOTHING(hz4_large_fork_prepare)
NOTHING(hz4_large_fork_parent)
NOTHING(hz4_large_fork_child)
NOTHING(hz4_segment_fork_prepare)
NOTHING(hz4_segment_fork_parent)
NOTHING(hz4_segment_fork_child)
NOTHING(hz4_meta_fork_prepare)
NOTHING(hz4_meta_fork_parent)
NOTHING(hz4_meta_fork_child)

// ---- scenarios ----

static void init(void) {
  hz4_thread_init();
  weave_check(inits == 1 && end_of_thread != NULL && hz4_options.tcache_kib == 1);
}
static void attach(void) {
  struct hz4_tcache *cache = hz4_thread_attach();
  // A fork gate may be closed: then there is none.
  if (!hz4_tcache_is_real(cache)) return;
  weave_check(cache == hz4_tcache_current && cache->attached && cache->capacity_bytes == 1);
}
static void end(void) {
  if (!hz4_tcache_is_real(hz4_tcache_current)) return;
  end_of_thread(hz4_tcache_current);
  weave_check(hz4_tcache_current == &hz4_tcache_ended);
}
static void attach_and_end(void) {
  attach();
  end();
}
// A cache whose thread has ended, for the next one.
static void one_idle(void) {
  attach_and_end();
  hz4_tcache_current = &hz4_tcache_none;
}
static void walk(void) {
  unsigned found = 0;
  for (struct hz4_tcache *cache = hz4_thread_list(); cache != NULL; cache = cache->next_listed) {
    weave_check(hz4_load_relaxed(&cache->inbox_stash_max) == 0);
    ++found;
  }
  weave_check(found <= 2);
}
static void search(void) {
  weave_check(!hz4_thread_steal(NULL, NOT_FOUND));
}
static void steal(void) {
  hz4_thread_steal(NULL, FOUND);
}
static void attach_and_steal(void) {
  attach();
  steal();
}
static void attach_and_search(void) {
  attach();
  weave_check(!hz4_thread_steal(hz4_tcache_current, NOT_FOUND));
}
static void fork_once(void) {
  fork_handlers[0]();
  fork_handlers[1]();
}
static void counted(void) {
  struct hz4_thread_stats stats;
  hz4_thread_stats(&stats);
  unsigned listed = 0, attached = 0;
  for (struct hz4_tcache *cache = hz4_thread_list(); cache != NULL; cache = cache->next_listed) {
    ++listed;
    attached += cache->attached;
  }
  weave_check(stats.caches == listed && stats.attached == attached);
}
static void two_attached(void) {
  counted();
  weave_check(opened == 2);
}

const struct weave_scenario weave_scenarios[] = {
    {"two initialise", NULL, {init, init}, init, ALL, false},
    {"one attaches, one walks", init, {attach, walk}, counted, ALL, false},
    {"one attaches, one searches", init, {attach, search}, counted, ALL, false},
    {"one ends, one begins", one_idle, {attach_and_end, attach}, counted, 3, 1, false},
    {"two attach, one steals by the cursor", init, {attach, attach_and_steal, steal}, two_attached, 2, 1, false},
    {"three initialise", NULL, {init, init, init}, init, ALL, false},
    {"two attach, one walks", init, {attach, attach, walk}, two_attached, 2, 1, false},
    {"two attach and search", init, {attach_and_search, attach_and_search}, two_attached, 2, 1, false},
    {"two search, one attaches", init, {attach, search, search}, counted, 1, 1, false},
    {"one begins and ends, one forks", init, {attach_and_end, fork_once}, counted, 3, 1, false},
    {0},
};
