// Rank 7. HZ4_HARDEN: the state of every object is known, and no object is handed out in an order that can be foretold.
//
// State: a byte for each object beside its span's bitmap, LIVE (the program has it), FREED, or NONE (nobody has had
// it). Whoever takes an object for the program finds that it is not LIVE and makes it so; whoever frees it finds it
// LIVE and makes it FREED. Where it waits meanwhile, in a bin, a batch, a depot or its span, is nothing to the state.
// So that malloc and free need no test for this, their fast paths find nothing to do: no size is small enough for malloc's,
// and the page map has class 0 for spans that have states, where no object begins. What it notes of such a page besides
// leads to an object's state by arithmetic alone.
//
// The bytes are read and written by relaxed loads and stores; an exchange would wait for all stores before it.
// Argument. A correct program passes an object from its free to the next malloc by the bin's sequences or by Mid's
// lock, and from malloc to free by its own means; each orders the byte with it. What can go unseen is two frees of one
// object within the few instructions between load and store. Then two copies of the pointer wait, and all that can
// become of them is: one is taken and LIVE when the other is taken, which malloc reports; or both go home, which the
// bitmap reports; or one is freed before the other is taken, and two wait as before. No two mallocs return one object,
// unless these too are at it within the same few instructions.
//
// Order: what is freed takes the place of one of the newest in its bin, chosen at random, and that one is on top now.
#ifndef HZ4_HARDEN_H_
#define HZ4_HARDEN_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/bin.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/random.h"
#include "hz4/sequence.h"
#include "hz4/sizeclass.h"
#include "hz4/span.h"

HZ4_BEGIN_DECLS

enum { HZ4_STATE_NONE, HZ4_STATE_LIVE, HZ4_STATE_FREED };

// ---- HZ4_HARDEN=2 ----
//
// A block has at least a byte more than was asked for, and of what it has more the first HZ4_CANARY_BYTES hold a secret
// pattern while the program has it: who frees or resizes it finds there that somebody wrote past the end. Small objects
// are cleared when they are freed, and are found zero when they are handed out, or somebody wrote after free. What
// nobody had before is cleared then.

// What is to be asked for instead. (At least 17: so that a descriptor with a slack for each object is one block of
// meta's.)
HZ4_INLINE size_t hz4_harden_room(size_t size) {
  if (HZ4_LIKELY(hz4_option.harden < 2) || size == 0) return size;
  return size < 16 ? 17 : size + 1;
}

// Dresses the object, which was in this state, for a program that asked for size bytes, and returns it; undresses it, before
// it is in a bin. pre: as hz4_panic. (Spans of the zero class, and what is older than the options, have no slacks: there
// nothing is done.)
void *hz4_harden_dress(void *object, uint8_t state, size_t size);
void hz4_harden_undress(void *object);

// What was asked for. pre: the program has the object.
size_t hz4_harden_asked(const struct hz4_span *span, const void *object);
// From now on that is size. False: there is no room for it. pre: likewise; size != 0.
bool hz4_harden_resize(const struct hz4_span *span, void *object, size_t size);

// ---- both levels ----

// HZ4_HARDEN is set: hides the classes from malloc's fast path. Before there are threads.
void hz4_harden_begin(void);

// What is wrong with a free of a pointer at which the program has no object.
__attribute__((cold)) const char *hz4_harden_wrong(const void *ptr);

// The object, which is from before HZ4_HARDEN was read; or else aborts: its span is gone.
__attribute__((cold)) void *hz4_harden_out_unknown(void *object);

HZ4_END_DECLS

// Of what the page map notes of ptr's page. NULL: no object begins there.
HZ4_INLINE _Atomic(uint8_t) *hz4_harden_state_at(const struct hz4_page_states *note, const void *ptr) {
  uint64_t reciprocal = hz4_load_relaxed(&note->reciprocal);
  unsigned __int128 index = (unsigned __int128)((uintptr_t)ptr - hz4_load_relaxed(&note->base)) * reciprocal;
  // The fraction is less than the reciprocal just where the offset is a multiple of the object's size.
  if (HZ4_UNLIKELY((uint64_t)index >= reciprocal)) return NULL;
  _Atomic(uint8_t) *state = (_Atomic(uint8_t) *)hz4_load_relaxed(&note->state) + (uint64_t)(index >> 64);
  if (state == NULL) __builtin_unreachable();
  return state;
}

// Likewise. NULL also: it is in no span that has states.
HZ4_INLINE _Atomic(uint8_t) *hz4_harden_state(const void *ptr) {
  const struct hz4_page_states *note = hz4_pagemap_states(ptr);
  return note != NULL ? hz4_harden_state_at(note, ptr) : NULL;
}

// The object leaves for the program, which asked for size bytes. Aborts where it cannot: somebody has it, or its span
// is gone. pre: as hz4_panic.
HZ4_INLINE void *hz4_harden_out(void *object, size_t size) {
  const struct hz4_page_states *note = hz4_pagemap_states(object);
  if (HZ4_UNLIKELY(note == NULL)) return hz4_harden_out_unknown(object);
  _Atomic(uint8_t) *state = hz4_harden_state_at(note, object);
  uint8_t found = HZ4_LIKELY(state != NULL) ? hz4_load_relaxed(state) : (uint8_t)HZ4_STATE_LIVE;
  if (HZ4_UNLIKELY(found == HZ4_STATE_LIVE)) hz4_panic_pointer("double free, found by malloc", object);
  hz4_store_relaxed(state, HZ4_STATE_LIVE);
  return HZ4_LIKELY(hz4_option.harden < 2) ? object : hz4_harden_dress(object, found, size);
}

// The object comes back from the program. False: that does not have it. note: as above.
HZ4_INLINE bool hz4_harden_in(const struct hz4_page_states *note, const void *ptr) {
  _Atomic(uint8_t) *state = hz4_harden_state_at(note, ptr);
  if (HZ4_UNLIKELY(state == NULL || hz4_load_relaxed(state) != HZ4_STATE_LIVE)) return false;
  hz4_store_relaxed(state, HZ4_STATE_FREED);
  return true;
}

// Puts what came back into this CPU's bin. Returns the object that has no room there, or NULL.
HZ4_INLINE void *hz4_harden_push(size_t size_class, void *ptr) {
  void *other = hz4_sequence_swap(size_class, hz4_random_of(&((struct hz4_tcache *)hz4_sequence_cache())->random), ptr);
  if (other == NULL) other = ptr;
  HZ4_PREFETCH(other, hz4_front.ahead);
  return HZ4_LIKELY(hz4_sequence_push(size_class, other)) ? NULL : other;
}

#endif  // HZ4_HARDEN_H_
