// Rank 8. Threads come, end and fork.
//
// A thread gets a cache at its first slow operation. When it ends, the destructor of one pthread key empties the cache
// into Mid and puts it by for another thread; whatever the thread still allocates or frees after that (in destructors
// that run later, in any round) goes to Mid directly. Caches are never unmapped, so that a stale pointer to one, as an
// owner hint, is harmless.
//
// Lock: HZ4_RANK_THREADS, for the list of idle caches. The list of all caches only grows, and is walked without a lock.
#ifndef HZ4_THREAD_H_
#define HZ4_THREAD_H_

#include "hz4/base.h"
#include "hz4/tcache.h"

#ifdef __cplusplus
extern "C" {
#endif

// Makes hz4 ready: page map, options, the exit key, the fork handlers. Any thread, any number of times.
void hz4_thread_init(void);

// From a constructor, while there is one thread: the same, and the options if they could not be read before.
void hz4_thread_init_at_load(void);

// This thread's cache, which it gets now if it can. Not real (hz4_tcache_is_real): the thread has ended, fork is on, or
// there is no memory.
struct hz4_tcache *hz4_thread_attach(void);

// Fills the bin of this class from inboxes of threads that may not come to drain them. Looks at a few threads only, at
// others each time. True when the bin is no longer empty.
bool hz4_thread_steal(struct hz4_tcache *cache, uint32_t size_class);

// Empties this thread's cache, and the inboxes of all others, into Mid.
void hz4_thread_trim(void);

// Newest first; follow next_listed. Caches of ended threads included.
struct hz4_tcache *hz4_thread_list(void);

struct hz4_thread_stats {
  uint64_t attached, caches;
};
void hz4_thread_stats(struct hz4_thread_stats *out);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_THREAD_H_
