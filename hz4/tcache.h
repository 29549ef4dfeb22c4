// Rank 8. What goes through the caches: growing, refilling and flushing bins.
//
// Adopt what you free: a freed object goes into the bin of the CPU that frees, whoever allocated it. When a bin overflows,
// its older half leaves, or as many as make whole batches if it was not found empty since it grew.
#ifndef HZ4_TCACHE_H_
#define HZ4_TCACHE_H_

#include "hz4/base.h"
#include "hz4/bin.h"

HZ4_BEGIN_DECLS

// Each of so many caches' share of what HZ4_TCACHE_KIB and the limit allow them together.
size_t hz4_tcache_share(uint64_t caches);

// A cache may hold so many bytes; that of a CPU no more than its share either. Any thread may call it.
void hz4_tcache_set_budget(size_t bytes_per_cache);

// An object of the class, whose bin was found empty, and more for the bin: from the inbox, a depot, spans, others'
// inboxes, or a fresh span. *zeroed: whether zeros are wanted; then, whether the object is known to be zero; NULL: no
// matter. NULL: none to be had (or fork is on). pre: attached.
void *hz4_tcache_refill(uint32_t size_class, bool *zeroed);

// Takes an object whose bin was found full; or, as misuse to be noted, that was found on top of it. pre: attached.
void hz4_tcache_overflow(uint32_t size_class, void *object);

// What the bins of the cache that this thread is at hold.
size_t hz4_tcache_bytes_here(void);

// Gives what is in the bins to Mid: of the cache that this thread is at; of any CPU's (a thread's is left alone); of one
// that nobody uses, for its thread has ended: then its inboxes are emptied too, and closed.
void hz4_tcache_empty_here(void);
void hz4_tcache_empty_remote(struct hz4_tcache *cache);
void hz4_tcache_empty_all_remote(void);  // and what waits in the inboxes of all caches
void hz4_tcache_close(struct hz4_tcache *cache);

// Aborts where an invariant of the cache that this thread is at is broken.
void hz4_tcache_check(void);

HZ4_END_DECLS

#endif  // HZ4_TCACHE_H_
