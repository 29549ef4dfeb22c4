// Rank 6. Batches of objects that other threads freed for an owner: many producers, anyone may take.
//
// An inbox is one word: the address of the newest batch, with the number of batches (at most 62) in its low six bits, and
// that of the objects in all of them (at most 65,535) above.
//   push   links the batch to the newest and swings the word, by compare-and-swap
//   take   swings the word to empty and gets the whole chain
//   close  swings the word to CLOSED, which is "no batch, and full", and gets the whole chain
// Argument. Every take or close removes the whole chain at once, so nobody follows the next pointer of a batch he does
// not own, and a batch that was taken and pushed again meanwhile does no harm: where push finds the word as it read it,
// linking to that batch is right, whatever happened between (no ABA). A take by compare-and-swap cannot reopen a closed
// inbox. push's release publishes next, count and the objects; take's and close's acquire pair with it. A push after a
// close fails, so that nothing is left in the inbox of a thread that ended.
#ifndef HZ4_INBOX_H_
#define HZ4_INBOX_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

struct hz4_batch {
  struct hz4_batch *next;
  uint64_t count;
  void *objects[HZ4_BATCH_OBJECTS];
};

struct hz4_inbox {
  _Atomic(uintptr_t) word;
};

#define HZ4_INBOX_DEPTH_MASK ((uintptr_t)63)
#define HZ4_INBOX_OBJECTS_SHIFT 48
#define HZ4_INBOX_OBJECTS_MAX (UINTPTR_MAX >> HZ4_INBOX_OBJECTS_SHIFT)
#define HZ4_INBOX_BATCH_MASK (((uintptr_t)1 << HZ4_INBOX_OBJECTS_SHIFT) - 1 - HZ4_INBOX_DEPTH_MASK)
#define HZ4_INBOX_CLOSED HZ4_INBOX_DEPTH_MASK
// A depth that no push is refused for.
#define HZ4_INBOX_NO_LIMIT HZ4_INBOX_DEPTH_MASK

HZ4_INLINE struct hz4_batch *hz4_inbox_batch(uintptr_t word) {
  return (struct hz4_batch *)(word & HZ4_INBOX_BATCH_MASK);
}

// How many objects wait. Any thread.
HZ4_INLINE uintptr_t hz4_inbox_objects(struct hz4_inbox *inbox) {
  return hz4_load_relaxed(&inbox->word) >> HZ4_INBOX_OBJECTS_SHIFT;
}

// False, and nothing has changed, when `limit` batches wait already or the inbox is closed. 1 <= limit <= NO_LIMIT.
HZ4_INLINE bool hz4_inbox_push(struct hz4_inbox *inbox, struct hz4_batch *batch, uintptr_t limit) {
  uintptr_t seen = hz4_load_relaxed(&inbox->word);
  uintptr_t next;
  do {
    uintptr_t depth = seen & HZ4_INBOX_DEPTH_MASK;
    if (depth >= limit) return false;
    batch->next = hz4_inbox_batch(seen);
    uintptr_t objects = (seen >> HZ4_INBOX_OBJECTS_SHIFT) + batch->count;
    if (objects > HZ4_INBOX_OBJECTS_MAX) objects = HZ4_INBOX_OBJECTS_MAX;
    // The count stops at 62: with NO_LIMIT more may wait.
    if (depth < HZ4_INBOX_DEPTH_MASK - 1) ++depth;
    next = objects << HZ4_INBOX_OBJECTS_SHIFT | (uintptr_t)batch | depth;
  } while (!hz4_cas_weak_release(&inbox->word, &seen, next));  // publishes the batch to take and close
  return true;
}

// The whole chain, newest first; NULL when there is none.
HZ4_INLINE struct hz4_batch *hz4_inbox_take(struct hz4_inbox *inbox) {
  uintptr_t seen = hz4_load_relaxed(&inbox->word);
  while (hz4_inbox_batch(seen) != NULL) {
    if (hz4_cas_strong_acquire(&inbox->word, &seen, 0)) return hz4_inbox_batch(seen);  // pairs with push
  }
  return NULL;
}

HZ4_INLINE struct hz4_batch *hz4_inbox_close(struct hz4_inbox *inbox) {
  return hz4_inbox_batch(hz4_exchange_acquire(&inbox->word, HZ4_INBOX_CLOSED));  // pairs with push
}

// pre: closed, and the caller owns it.
HZ4_INLINE void hz4_inbox_open(struct hz4_inbox *inbox) {
  hz4_store_relaxed(&inbox->word, 0);
}

#endif  // HZ4_INBOX_H_
