// A ring of pointers for one producer and one consumer.
//
// The lowest bit of a slot is the parity of the lap it was written in, so that the consumer sees a new pointer in the
// slot itself: a push costs the transfer of one line, which a queue with a shared tail index pays twice. The producer
// looks at head only when the ring seems full.
#ifndef HZ4_BENCH_RING_H_
#define HZ4_BENCH_RING_H_

#include <stdatomic.h>

#include "bench/bench_common.h"

struct bench_ring {
  // Constant.
  _Alignas(BENCH_LINE_BYTES) _Atomic uintptr_t *slots;
  uint64_t capacity;  // any number >= 1
  uint64_t size;      // a power of two >= capacity
  // Producer's.
  _Alignas(BENCH_LINE_BYTES) uint64_t tail;  // pushes so far
  uint64_t head_seen;
  // Consumer's.
  _Alignas(BENCH_LINE_BYTES) _Atomic uint64_t head;  // pops so far
};

static inline void bench_ring_init(struct bench_ring *ring, uint64_t capacity) {
  uint64_t size = 1;
  while (size < capacity) size *= 2;
  *ring = (struct bench_ring){.slots = bench_map(size * sizeof(uintptr_t)), .capacity = capacity, .size = size};
}

// Of the lap that position is in; the first lap's is 1, and fresh slots hold 0.
static inline uintptr_t bench_ring_parity(const struct bench_ring *ring, uint64_t position) {
  return (position & ring->size) == 0;
}

// Producer. False when full.
static inline bool bench_ring_push(struct bench_ring *ring, void *pointer) {
  uint64_t tail = ring->tail;
  if (tail - ring->head_seen >= ring->capacity) {
    // Acquire pairs with bench_ring_drain's release: the consumer has read the slots it gave back.
    ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (tail - ring->head_seen >= ring->capacity) return false;
  }
  // Publishes the object to bench_ring_peek.
  atomic_store_explicit(&ring->slots[tail & (ring->size - 1)], (uintptr_t)pointer | bench_ring_parity(ring, tail),
                        memory_order_release);
  ring->tail = tail + 1;
  return true;
}

// Consumer. Acquire pairs with bench_ring_push's release.
static inline uintptr_t bench_ring_peek(struct bench_ring *ring, uint64_t position) {
  return atomic_load_explicit(&ring->slots[position & (ring->size - 1)], memory_order_acquire);
}

// Consumer. Releases what the ring holds; returns how many.
static inline uint64_t bench_ring_drain(struct bench_ring *ring, const struct bench_options *options) {
  uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), at = head;
  uintptr_t slot = bench_ring_peek(ring, at);
  while ((slot & 1) == bench_ring_parity(ring, at)) {
    bench_release(options, (void *)(slot - (slot & 1)));
    slot = bench_ring_peek(ring, ++at);
  }
  if (at == head) return 0;
  // Gives the slots back to bench_ring_push.
  atomic_store_explicit(&ring->head, at, memory_order_release);
  return at - head;
}

#endif  // HZ4_BENCH_RING_H_
