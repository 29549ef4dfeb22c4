// Rank 9. Whose caches there are, and how threads come to them, end and fork.
//
// Caches of CPUs, where sequences are to be had: one for each number that the kernel hands out to the threads which run at
// once. They lie side by side, zero at first, and so need no beginning; a thread's first slow operation tells it where, and
// its end is nothing to hz4.
// Caches of threads elsewhere (HZ4_FRONT=thread, an old kernel or libc, valgrind, a filter of system calls): a thread gets
// one at its first slow operation. When it ends, the destructor of one pthread key empties it into Mid and puts it by for
// another thread; what the thread allocates or frees after that goes to Mid directly.
// Caches are never unmapped, so that a stale pointer to one, as an owner hint, is harmless.
//
// Lock: HZ4_RANK_THREADS, for the list of idle caches.
#ifndef HZ4_THREAD_H_
#define HZ4_THREAD_H_

#include "hz4/base.h"
#include "hz4/tcache.h"

HZ4_BEGIN_DECLS

// Makes hz4 ready: page map, options, the exit key, the fork handlers. Any thread, any number of times.
void hz4_thread_init(void);

// From a constructor, while there is one thread: the same, and the options if they could not be read before.
void hz4_thread_init_at_load(void);

// After hz4_options_set, and where the limits have changed: what caches may hold.
void hz4_thread_options_changed(void);

// Whether this thread has a cache, which it gets now if it can. It cannot when it has ended or is a child of vfork, when
// fork is on, or when there is no memory.
bool hz4_thread_attach(void);

// Empties all caches of CPUs, or else this thread's, and all inboxes, into Mid.
void hz4_thread_trim(void);

struct hz4_thread_stats {
  uint64_t attached, caches, by_cpu;
};
void hz4_thread_stats(struct hz4_thread_stats *out);

HZ4_END_DECLS

#endif  // HZ4_THREAD_H_
