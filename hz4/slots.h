// Rank 7. Guarded slots: places for a few sampled objects where use after free, and use before the first byte or behind the
// last, is a fault at once, and can be told from where the object was allocated and freed.
//
// A pool of HZ4_SLOTS slots is mapped once, none of it to be touched. A slot holds one object of at most
// HZ4_SLOT_BYTES_MAX bytes, at its beginning or, as chance has it, at its end; only the system pages which that lies in can
// be touched, and they held nothing before. A page between two slots never can be. What is freed cannot be touched until
// its slot, the one that has been free for longest, is taken again. Of the bytes beside the object in its pages free looks
// whether they are zero still.
//
// Threads: `order` of a slot says when it was freed, and 0 that somebody has it. Who changes it from there to 0 by
// compare-and-swap has the slot, and gives it up by a release store; nobody else writes to it. So there is no lock, and a
// child of fork lacks at most the slots that threads which are gone had in hand.
#ifndef HZ4_SLOTS_H_
#define HZ4_SLOTS_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_guarded_block;
struct hz4_sample;
struct hz4_span;

// Maps the pool. False: there is no memory for it. Before there are threads, or under a lock of the caller's.
bool hz4_slots_begin(void);

// An object of its own, all zero. NULL: it is too large, every slot is taken, or there is no pool. `stack` says where.
void *hz4_slots_alloc(size_t size, size_t align, bool at_end, const uintptr_t *stack, uint32_t depth);

// Where the record of the guarded object is that begins at ptr; NULL: none begins there. pre: ptr is in the pool, that is,
// in a span of kind SLOTS.
_Atomic(struct hz4_sample *) *hz4_slots_sample(const void *ptr);

// Returns what is wrong with the bytes beside the object; NULL: nothing. pre: who calls it has taken the record.
const char *hz4_slots_free(void *ptr, const void *frame);

// What a free of ptr is, which begins no live object: pre: it is in the pool.
const char *hz4_slots_wrong_free(const void *ptr);

// The object at, or nearest to, this address. False: it is not in the pool. Async-signal-safe.
bool hz4_slots_find(const void *address, struct hz4_guarded_block *out);

HZ4_END_DECLS

#endif  // HZ4_SLOTS_H_
