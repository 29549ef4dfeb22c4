// The sequences of sequence.h as weave runs them. Not to be included by itself.
//
// Each load of a top or a limit, each look at a slot and each commit is a step, before which the kernel (kernel.c) may
// have interrupted the sequence: then it begins anew, as the assembly does, maybe on another id.
// Loads and commits are relaxed. What a sequence goes on to touch by an address that depends on a top, aarch64 touches
// after what the publisher did: weave_sequence_follow stands for that. claim's load is an acquire.
// Slots are plain memory: whoever changes them beside a sequence is found out as a race.
#ifndef HZ4_WEAVE_SEQUENCE_MODEL_H_
#define HZ4_WEAVE_SEQUENCE_MODEL_H_

#include "hz4/weave/weave.h"

#define HZ4_SEQUENCE_RESTARTS 1
#define HZ4_SEQUENCE_SIGNATURE 0u

// An area of its own is nothing to the kernel.
HZ4_INLINE char *hz4_sequence_begin(void) {
  struct hz4_area *area = hz4_front.area;
  if (area->id != HZ4_AREA_NO_ID) area->id = weave_sequence_begin();
  return hz4_front.caches + (intptr_t)area->id * (intptr_t)HZ4_CACHE_BYTES;
}

HZ4_INLINE _Atomic(uintptr_t) *hz4_sequence_top(char *cache, size_t size_class) {
  return (_Atomic(uintptr_t) *)(cache + HZ4_CACHE_TOP_OFFSET) + size_class;
}

HZ4_INLINE _Atomic(uintptr_t) *hz4_sequence_limit(char *cache, size_t size_class) {
  return (_Atomic(uintptr_t) *)(cache + HZ4_CACHE_LIMIT_OFFSET) + size_class;
}

HZ4_INLINE void *hz4_sequence_pop(size_t size_class) {
  for (;;) {
    char *cache = hz4_sequence_begin();
    _Atomic(uintptr_t) *word = hz4_sequence_top(cache, size_class);
    uint64_t top;
    if (!weave_sequence_load(word, &top, false)) continue;
    weave_sequence_follow();
    void **slot = (void **)(cache + top);
    if (!weave_sequence_look(slot)) continue;
    void *object = *slot;
    if (object == NULL) {
      weave_sequence_end();
      return NULL;
    }
    if (weave_sequence_commit(word, top - sizeof(void *))) return object;
  }
}

// What is left is a hint, and publishes nothing.
HZ4_INLINE void *hz4_sequence_pop_counted(size_t size_class, size_t size) {
  (void)size;
  return hz4_sequence_pop(size_class);
}

HZ4_INLINE bool hz4_sequence_push(size_t size_class, void *object) {
  for (;;) {
    char *cache = hz4_sequence_begin();
    _Atomic(uintptr_t) *word = hz4_sequence_top(cache, size_class);
    uint64_t top, limit;
    if (!weave_sequence_load(word, &top, false)) continue;
    weave_sequence_follow();
    if (!weave_sequence_load(hz4_sequence_limit(cache, size_class), &limit, false)) continue;
    if (!weave_sequence_look((void **)(cache + top))) continue;
    if (top >= limit || *(void **)(cache + top) == object) {
      weave_sequence_end();
      return false;
    }
    void **slot = (void **)(cache + top) + 1;
    if (!weave_sequence_look(slot)) continue;
    *slot = object;
    if (weave_sequence_commit(word, top + sizeof(void *))) return true;
  }
}

HZ4_INLINE void *hz4_sequence_swap(size_t size_class, uint32_t random, void *object) {
  for (;;) {
    char *cache = hz4_sequence_begin();
    uint64_t top;
    if (!weave_sequence_load(hz4_sequence_top(cache, size_class), &top, false)) continue;
    weave_sequence_follow();
    void **newest = (void **)(cache + top);
    if (!weave_sequence_look(newest)) continue;
    if (*newest == NULL) {
      weave_sequence_end();
      return NULL;
    }
    void ***slots = (void ***)(cache + HZ4_CACHE_BINS_OFFSET + size_class * HZ4_CACHE_BIN_BYTES);
    if (!weave_sequence_look(slots)) continue;
    void **chosen = newest - hz4_sequence_depth((uint64_t)(newest - *slots), random);
    if (!weave_sequence_look(chosen)) continue;
    void *other = *chosen;
    if (weave_sequence_commit(chosen, (uintptr_t)object)) return other;
  }
}

HZ4_INLINE struct hz4_claim hz4_sequence_claim(size_t size_class) {
  for (;;) {
    char *cache = hz4_sequence_begin();
    _Atomic(uintptr_t) *word = hz4_sequence_top(cache, size_class);
    uint64_t top;
    if (!weave_sequence_load(word, &top, true)) continue;
    struct hz4_claim claim = {cache, (uintptr_t)top};
    if (claim.top == HZ4_TOP_CLAIMED || claim.top == HZ4_TOP_CLAIMED_REMOTE) {
      weave_sequence_end();
      return claim;
    }
    if (weave_sequence_commit(word, HZ4_TOP_CLAIMED)) return claim;
  }
}

// Counters publish nothing and nobody's way depends on them: no steps.
HZ4_INLINE void hz4_sequence_add(size_t offset, uint64_t n) {
  (void)offset;
  (void)n;
}

#endif  // HZ4_WEAVE_SEQUENCE_MODEL_H_
