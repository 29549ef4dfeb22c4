#include "hz4/thread.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "hz4/large.h"
#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/segment.h"
#include "hz4/sys.h"

static struct hz4_lock lock = HZ4_LOCK_INIT(HZ4_RANK_THREADS);
static struct hz4_lock fork_lock = HZ4_LOCK_INIT(HZ4_RANK_FORK);

// Under lock.
static struct hz4_tcache *idle;

// All caches ever made, newest first. Written under lock; next_listed never changes.
static _Atomic(struct hz4_tcache *) listed;
static _Atomic(uint64_t) attached_count, listed_count;

// Where the next search for a sleeping inbox begins.
static _Atomic(struct hz4_tcache *) steal_cursor;

static pthread_key_t exit_key;
static bool have_exit_key;

enum { INIT_NONE, INIT_BUSY, INIT_DONE };
static _Atomic(int) init_state;

static void share_budget(void) {
  uint64_t threads = hz4_load_relaxed(&attached_count);
  size_t bytes = (hz4_options.tcache_kib << 10) / (threads != 0 ? threads : 1);
  if (bytes > HZ4_TCACHE_BYTES_MAX) bytes = HZ4_TCACHE_BYTES_MAX;
  if (bytes < HZ4_TCACHE_BYTES_MIN) bytes = HZ4_TCACHE_BYTES_MIN;
  hz4_tcache_set_budget(bytes);
}

// ---- end ----

static void detach(void *cache_ptr) {
  struct hz4_tcache *cache = cache_ptr;
  hz4_tcache_current = &hz4_tcache_ended;
  hz4_tcache_close(cache);
  // Waits for fork if need be: a thread that ends holds no lock of libc's.
  hz4_lock_acquire(&lock);
  cache->attached = false;
  cache->next_idle = idle;
  idle = cache;
  hz4_fetch_sub_relaxed(&attached_count, 1);
  hz4_lock_release(&lock);
  share_budget();
}

// ---- fork ----

// Nobody else is in mid-air, or can be before fork is over: the heap is whole without a lock. If this thread is itself in
// malloc, and forks in a signal's handler, both sides finish it. Written under fork_lock, or by the only thread.
static bool fork_is_alone;

// prepare runs after the handlers that the program registered later, and so just before the system call, but for what
// libc locks for itself in between: see lock.h.
static void fork_prepare(void) {
  if (hz4_sys_single_threaded()) {
    fork_is_alone = true;
    return;
  }
  hz4_lock_acquire(&fork_lock);
  fork_is_alone = false;
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&lock);
  hz4_mid_fork_prepare();
  hz4_large_fork_prepare();
  hz4_segment_fork_prepare();
  hz4_meta_fork_prepare();
}

static void fork_parent(void) {
  if (fork_is_alone) return;
  hz4_meta_fork_parent();
  hz4_segment_fork_parent();
  hz4_large_fork_parent();
  hz4_mid_fork_parent();
  hz4_lock_fork_release(&lock);
  hz4_lock_fork_end();
  hz4_lock_release(&fork_lock);
  hz4_tcache_settle();
}

static void fork_child(void) {
  if (fork_is_alone) return;
  hz4_meta_fork_child();
  hz4_segment_fork_child();
  hz4_large_fork_child();
  hz4_mid_fork_child();
  hz4_lock_fork_reset(&lock);
  hz4_lock_fork_end();
  hz4_lock_release(&fork_lock);
  hz4_tcache_settle();
  for (struct hz4_tcache *cache = hz4_thread_list(); cache != NULL; cache = cache->next_listed) {
    if (!cache->attached || cache == hz4_tcache_current) continue;
    hz4_tcache_abandon(cache);
    cache->attached = false;
    cache->next_idle = idle;
    idle = cache;
  }
  hz4_store_relaxed(&attached_count, hz4_tcache_is_real(hz4_tcache_current) ? 1 : 0);
  share_budget();
}

// ---- begin ----

static bool options_read;

// The environment is not there yet when the dynamic linker allocates before it has started libc.
static void read_options(void) {
  if (options_read || environ == NULL) return;
  options_read = true;
  hz4_options_parse(environ, hz4_warn);
  hz4_os_configure(hz4_options.huge_pages != 0);
  hz4_segment_configure(hz4_options.dirty_kib << 10, (unsigned)hz4_options.dirty_shift);
}

static void init(void) {
  read_options();
  share_budget();
  have_exit_key = pthread_key_create(&exit_key, detach) == 0;
  if (!have_exit_key) hz4_warn("no pthread key left: what a thread caches when it ends is lost", NULL);
}

void hz4_thread_init(void) {
  if (HZ4_LIKELY(hz4_load_acquire(&init_state) == INIT_DONE)) return;  // pairs with the release below: all of init
  int expected = INIT_NONE;  // and not BUSY: somebody else is at it
  if (hz4_cas_strong_acquire(&init_state, &expected, INIT_BUSY)) {
    init();
    hz4_store_release(&init_state, INIT_DONE);
    // Last, for it may allocate.
    if (pthread_atfork(fork_prepare, fork_parent, fork_child) != 0) {
      hz4_warn("pthread_atfork failed: fork is not safe while other threads allocate", NULL);
    }
    return;
  }
  while (hz4_load_acquire(&init_state) != INIT_DONE) sched_yield();  // pairs with the release above
}

void hz4_thread_init_at_load(void) {
  hz4_thread_init();
  read_options();
}

static struct hz4_tcache *take_idle_or_new(void) {
  if (!hz4_lock_enter(&lock)) return NULL;
  struct hz4_tcache *cache = idle;
  if (cache != NULL) {
    idle = cache->next_idle;
  } else if ((cache = hz4_meta_alloc(sizeof(*cache))) != NULL) {
    cache->next_listed = hz4_load_relaxed(&listed);
    // Release: publishes next_listed and zeroed counters to hz4_thread_list.
    hz4_store_release(&listed, cache);
    hz4_fetch_add_relaxed(&listed_count, 1);
  }
  if (cache != NULL) {
    hz4_tcache_open(cache);
    cache->attached = true;
    hz4_fetch_add_relaxed(&attached_count, 1);
  }
  hz4_lock_release(&lock);
  return cache;
}

struct hz4_tcache *hz4_thread_attach(void) {
  hz4_thread_init();
  if (hz4_tcache_current != &hz4_tcache_none) return hz4_tcache_current;
  // Hardened: without a cache, every operation goes to Mid, whose bitmaps know each object's state.
  struct hz4_tcache *cache = hz4_options.harden != 0 ? NULL : take_idle_or_new();
  if (cache == NULL) return &hz4_tcache_none;
  // Before pthread_setspecific, which may itself allocate.
  hz4_tcache_current = cache;
  share_budget();
  if (have_exit_key && pthread_setspecific(exit_key, cache) != 0) {
    hz4_warn("pthread_setspecific failed: what this thread caches when it ends is lost", NULL);
  }
  return cache;
}

// ---- all threads ----

struct hz4_tcache *hz4_thread_list(void) {
  return hz4_load_acquire(&listed);  // pairs with take_idle_or_new
}

bool hz4_thread_steal(struct hz4_tcache *cache, uint32_t size_class) {
  struct hz4_tcache *victim = hz4_load_acquire(&steal_cursor);  // a listed cache: pairs with take_idle_or_new
  bool stolen = false;
  for (int i = 0; i < HZ4_STEAL_TRIES && !stolen; ++i) {
    if (victim == NULL) victim = hz4_thread_list();
    if (victim == NULL) break;
    stolen = victim != cache && hz4_tcache_steal(cache, victim, size_class);
    victim = victim->next_listed;
  }
  hz4_store_release(&steal_cursor, victim);
  return stolen;
}

void hz4_thread_trim(void) {
  struct hz4_tcache *mine = hz4_tcache_current;
  if (!hz4_tcache_is_real(mine)) return;
  hz4_tcache_trim(mine);
  for (struct hz4_tcache *cache = hz4_thread_list(); cache != NULL; cache = cache->next_listed) {
    hz4_tcache_empty_inboxes(mine, cache);
  }
}

void hz4_thread_stats(struct hz4_thread_stats *out) {
  out->attached = hz4_load_relaxed(&attached_count);
  out->caches = hz4_load_relaxed(&listed_count);
}
