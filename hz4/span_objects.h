// Rank 5. The objects of one span: which are in it, as a bitmap, and where its memory went back to the system.
//
// pre, of every function: the span's kind is OBJECTS, and the caller holds the lock of its class. None takes a lock,
// calls the system or touches the objects; the lists that spans are on, and the sums over them, are Mid's.
#ifndef HZ4_SPAN_OBJECTS_H_
#define HZ4_SPAN_OBJECTS_H_

#include "hz4/base.h"
#include "hz4/span.h"
#include "hz4/sys.h"

HZ4_BEGIN_DECLS

// Bytes of a descriptor for a span of the class; level 1: with a state for each object, 2: and its slack.
uint32_t hz4_span_meta_bytes(uint32_t size_class, uint32_t level);

// Cuts the span into objects of the class, all of them in it. zeroed: its memory is fresh from the system. pre: base
// and bytes are set, the rest is zero.
void hz4_span_cut(struct hz4_span *span, uint32_t size_class, bool zeroed, uint32_t level);

// Takes up to `want` objects out, lowest addresses first. Returns their number; adds to *filled the bytes that they lie
// in and that held no memory, and will when the program touches them.
uint32_t hz4_span_take(struct hz4_span *span, void **out, uint32_t want, size_t *filled);

// The same, but from the object of this index on, and then those before it.
uint32_t hz4_span_take_from(struct hz4_span *span, uint32_t index, void **out, uint32_t want, size_t *filled);

// Whether the object that would be taken next is all zero, for nobody ever had it. pre: there is one.
bool hz4_span_next_is_zero(const struct hz4_span *span);

// Puts the objects back in, up to the first that is not this span's. Returns their number, at least one. Those among
// them where no object begins, or that are in the span already, are noted as misuse, and left out. pre: the first is of
// this span.
uint32_t hz4_span_put(struct hz4_span *span, void *const *objects, uint32_t count);

// Where the record of the sampled object is that begins at ptr; NULL: none begins there. Whoever has the object has that
// place: this function alone needs no lock. pre: the span is of a class of sampled objects.
_Atomic(struct hz4_sample *) *hz4_span_sample(struct hz4_span *span, const void *ptr);

// Finds the parts all of whose objects are in the span and whose memory has not gone back, up to `room` runs of them, and
// counts them as gone: the caller purges them, and until it has, takes no object out. Returns how many runs; where that is
// `room`, there may be more.
size_t hz4_span_purge(struct hz4_span *span, struct hz4_sys_run *runs, size_t room);

// Bytes that hold no memory.
size_t hz4_span_purged_bytes(const struct hz4_span *span);

// What is wrong where the bitmap and its counts do not agree; NULL: they do.
const char *hz4_span_broken(const struct hz4_span *span);

HZ4_END_DECLS

#endif  // HZ4_SPAN_OBJECTS_H_
