#include "hz4/thread.h"

#include <pthread.h>
#include <unistd.h>

#include "hz4/guard.h"
#include "hz4/harden.h"
#include "hz4/huge.h"
#include "hz4/large.h"
#include "hz4/limit_option.h"
#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/misuse.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/report.h"
#include "hz4/rseq.h"
#include "hz4/segment.h"
#include "hz4/shard.h"
#include "hz4/stack.h"
#include "hz4/sys.h"
#include "hz4/syscall.h"
#include "hz4/transfer.h"

static struct hz4_lock lock = HZ4_LOCK_INIT(HZ4_RANK_THREADS);
static struct hz4_lock fork_lock = HZ4_LOCK_INIT(HZ4_RANK_FORK);

// Those of CPUs, side by side, that of id 0 first; before it one without arrays. NO_CACHES: threads have their own. NULL:
// not known yet. Set once, under lock.
HZ4_IN_DATA static _Atomic(char *) cpu_caches;
static char no_caches;
#define NO_CACHES (&no_caches)

// Under lock.
static struct hz4_tcache *idle;

static _Atomic(uint64_t) attached_count;  // threads that have their own

HZ4_IN_DATA static pthread_key_t exit_key;
HZ4_IN_DATA static bool have_exit_key;

enum { INIT_NONE, INIT_BUSY, INIT_DONE };
HZ4_IN_DATA static _Atomic(int) init_state;

static void share_budget(uint64_t caches) {
  hz4_tcache_set_budget(hz4_tcache_share(caches));
}

// ---- end of a thread that has its own cache ----

static void detach(void *cache_ptr) {
  struct hz4_tcache *cache = cache_ptr;
  hz4_front.ended = true;
  hz4_cache_attach_own(NULL);
  hz4_tcache_close(cache);
  // Waits for fork if need be: a thread that ends holds no lock of libc's.
  hz4_lock_acquire(&lock);
  cache->attached = false;
  cache->next_idle = idle;
  idle = cache;
  share_budget(hz4_fetch_sub_relaxed(&attached_count, 1) - 1);
  hz4_lock_release(&lock);
  hz4_misuse_report(HZ4_FRAME());
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
  hz4_bin_fork_begin();
  hz4_lock_fork_begin();
  hz4_lock_fork_acquire(&lock);
  hz4_mid_fork(hz4_lock_fork_acquire);
  hz4_large_fork(hz4_lock_fork_acquire);
  hz4_segment_fork(hz4_lock_fork_acquire);
  hz4_meta_fork_prepare();
}

// The highest rank first: who holds a lock never finds one of higher rank in the hands of fork.
static void give_up_locks(void (*give_up)(struct hz4_lock *lock)) {
  hz4_segment_fork(give_up);
  hz4_large_fork(give_up);
  hz4_mid_fork(give_up);
  give_up(&lock);
}

static void fork_parent(void) {
  if (fork_is_alone) return;
  hz4_meta_fork_parent();
  give_up_locks(hz4_lock_fork_release);
  hz4_lock_fork_end();
  hz4_bin_fork_parent();
  hz4_lock_release(&fork_lock);
  hz4_transfer_settle();
  hz4_misuse_report(HZ4_FRAME());
}

// The caches of the threads that are gone: nobody has a claim, so that they are whole.
static void inherit(void) {
  struct hz4_tcache *own = hz4_cache_here();
  for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) {
    if (!cache->attached || cache == own) continue;
    hz4_tcache_close(cache);
    cache->attached = false;
    cache->next_idle = idle;
    idle = cache;
  }
  hz4_store_relaxed(&attached_count, own != NULL && hz4_cache_is_own(own) ? 1 : 0);
  share_budget(1);
}

static void fork_child(void) {
  if (fork_is_alone) return;
  hz4_meta_fork_child();
  give_up_locks(hz4_lock_fork_reset);
  hz4_huge_fork_child();
  hz4_lock_fork_end();
  hz4_bin_fork_child();
  hz4_lock_release(&fork_lock);
  hz4_misuse_fork_child();
  hz4_transfer_settle();
  inherit();
  hz4_misuse_report(HZ4_FRAME());
}

// ---- begin ----

// The lock may be held. Who shares the budget meanwhile may do so without the container: until a thread begins or ends.
static void read_container(void) {
  hz4_limit_option_read_container();
  share_budget(hz4_load_relaxed(&attached_count));
}

// The environment is not there yet when the dynamic linker allocates before it has started libc. Of a program that has
// rights which who started it has not, that one has no say.
static void read_options(void) {
  if (hz4_options_are_read || environ == NULL) return;
  hz4_options_parse(hz4_options_of_program(), hz4_sys_secure() ? NULL : environ, hz4_warn);
  if (!hz4_limit_option_read(hz4_option.limit)) {
    hz4_warn("neither SOFT[:HARD] nor cgroup[:SHARE], ignored: HZ4_LIMIT=", hz4_option.limit);
  }
  hz4_os_configure((enum hz4_os_huge)hz4_option.huge_pages, read_container);
  if (hz4_option.harden >= 2) hz4_guard_begin();
  if (hz4_option.harden != 0) hz4_harden_begin();
  hz4_report_configure(hz4_option.report != 0);
}

static void init(void) {
  hz4_stderr_remember();
  hz4_report_begin();
  hz4_sys_page_bytes();  // libc is asked for it now, with no lock held
  read_options();
  share_budget(1);
  have_exit_key = pthread_key_create(&exit_key, detach) == 0;
}

void hz4_thread_init(void) {
  if (HZ4_LIKELY(hz4_load_acquire(&init_state) == INIT_DONE)) return;  // pairs with the release below: all of init
  int expected = INIT_NONE;  // and not BUSY: somebody else is at it
  if (hz4_cas_strong_acquire(&init_state, &expected, INIT_BUSY)) {
    hz4_front.starting = true;
    init();
    hz4_front.starting = false;
    hz4_store_release(&init_state, INIT_DONE);
    // Last, for it may allocate.
    if (pthread_atfork(fork_prepare, fork_parent, fork_child) != 0) {
      hz4_warn("pthread_atfork failed: fork is not safe while other threads allocate", NULL);
    }
    return;
  }
  if (hz4_front.starting) return;  // what init calls allocates
  while (hz4_load_acquire(&init_state) != INIT_DONE) hz4_yield();  // pairs with the release above
}

void hz4_thread_init_at_load(void) {
  hz4_thread_init();
  read_options();
}

void hz4_thread_options_changed(void) {
  hz4_lock_acquire(&lock);
  share_budget(hz4_load_relaxed(&attached_count));
  hz4_lock_release(&lock);
}

static struct hz4_tcache *take_idle_or_new(void) {
  if (!hz4_lock_enter(&lock)) return NULL;
  struct hz4_own_cache *own;
  struct hz4_tcache *cache = idle;
  if (cache != NULL) {
    idle = cache->next_idle;
  } else if ((own = hz4_meta_alloc(sizeof(*own))) != NULL) {
    cache = &own->cache;
    cache->area.id = HZ4_AREA_NO_ID;  // before it is listed: nobody may take it for a CPU's
  }
  if (cache != NULL) {
    hz4_transfer_open(cache);
    hz4_cache_enlist(cache);
    cache->attached = true;
    share_budget(hz4_fetch_add_relaxed(&attached_count, 1) + 1);
  }
  hz4_lock_release(&lock);
  return cache;
}

// All caches that the kernel's ids may ask for, as addresses that nobody touches before.
static char *map_cpu_caches_locked(size_t ids) {
  hz4_lock_assert_held(&lock);
  if (ids == 0) return NO_CACHES;
  char *base = hz4_guard_map(hz4_round_up((ids + 1) * HZ4_CACHE_BYTES, hz4_sys_page_bytes()));
  return base != NULL ? base + HZ4_CACHE_BYTES : NO_CACHES;
}

// NULL: fork is on.
static char *find_cpu_caches(void) {
  char *caches = hz4_load_acquire(&cpu_caches);  // pairs with the release below: the mapping
  if (HZ4_LIKELY(caches != NULL)) return caches;
  // Before the lock, for libc is asked.
  bool sequences = hz4_option.front == HZ4_FRONT_CPU && hz4_rseq_area() != NULL;
  size_t ids = sequences ? hz4_rseq_ids() : 0;
  // The kernel is to be asked once, and then has a process of several threads wait for milliseconds.
  if (ids != 0) hz4_rseq_restart_all();
  if (!hz4_lock_enter(&lock)) return NULL;
  caches = hz4_load_relaxed(&cpu_caches);
  if (caches == NULL) caches = map_cpu_caches_locked(ids);
  hz4_store_release(&cpu_caches, caches);
  hz4_lock_release(&lock);
  return caches;
}

// Order: hz4_front says of what a signal's handler finds in between.
static bool attach_to_cpus(char *caches) {
  struct hz4_area *area = caches != NO_CACHES ? hz4_rseq_area() : NULL;
  if (area == NULL) return false;
  hz4_front.caches = caches;
  hz4_front.area = area;
  hz4_store_relaxed(&hz4_cache_here()->visited, true);
  return true;
}

static bool attach_to_own(void) {
  struct hz4_tcache *cache = take_idle_or_new();
  if (cache == NULL) return false;
  // Before pthread_setspecific, which may itself allocate.
  // Where the CPUs' numbers are split, so are the caches': tests have few CPUs.
  if (hz4_shard_count() != 1) cache->area.cpu_id = hz4_option.shards != 0 ? cache->number : hz4_shard_cpu();
  hz4_cache_attach_own(cache);
  if (have_exit_key && pthread_setspecific(exit_key, cache) != 0) {
    hz4_warn("pthread_setspecific failed: what this thread caches when it ends is lost", NULL);
  }
  return true;
}

bool hz4_thread_attach(void) {
  hz4_thread_init();
  if (hz4_is_attached()) return true;
  if (hz4_front.ended || hz4_front.lent || hz4_front.starting) return false;
  if (!hz4_shard_is_known() && !hz4_sys_single_threaded()) {
    hz4_shard_find((uint32_t)hz4_option.shards, HZ4_SHARD_ROOT);
  }
  char *caches = find_cpu_caches();
  return caches != NULL && (attach_to_cpus(caches) || attach_to_own());
}

// ---- all caches ----

void hz4_thread_trim(void) {
  hz4_tcache_empty_here();
  hz4_tcache_empty_all_remote();
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) hz4_transfer_drain(c);
}

static bool is_by_cpu(void) {
  char *caches = hz4_load_relaxed(&cpu_caches);
  return caches != NULL && caches != NO_CACHES;
}

void hz4_thread_stats(struct hz4_thread_stats *out) {
  *out = (struct hz4_thread_stats){.attached = hz4_load_relaxed(&attached_count), .by_cpu = is_by_cpu()};
  for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) ++out->caches;
}
