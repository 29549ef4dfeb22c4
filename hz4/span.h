// Rank 3. The descriptor of a run of pages. Descriptors are metadata: out of line, and type-stable.
//
// A span is one of three kinds:
//   OBJECTS  pages of a segment, cut into objects of one size class; owned by Mid, fields under that class's lock
//   MAPPED   one large block; owned by whoever holds the block
//   SLOTS    the pool of guarded slots (slots.h), of which there is one
//
// OBJECTS of a class of sampled objects have a pointer to each one's record behind free_bits (hz4_span_sample).
// OBJECTS: bit i of free_bits is set while object i is in the span; free_count is the number of set bits. An object
// whose bit is clear is with the program or in a cache. Theorem: free_count == object_count exactly when nobody has
// one.
#ifndef HZ4_SPAN_H_
#define HZ4_SPAN_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

enum hz4_span_kind { HZ4_SPAN_FREE = 0, HZ4_SPAN_OBJECTS, HZ4_SPAN_MAPPED, HZ4_SPAN_SLOTS };

struct hz4_segment;
struct hz4_sample;

struct hz4_span {
  // constant while the span is in use
  struct hz4_segment *segment;  // not MAPPED; NULL: the zero class's, which has no memory
  uint32_t meta_bytes;          // of this descriptor
  uint8_t guard_shift;  // MAPPED: the guard before the block has 2^this bytes (guarded.h); 0: there is none
  // OBJECTS: of each object, and of what may be left behind the last, read and written by who takes or frees it (harden.h);
  // NULL: not known
  _Atomic(uint8_t) *state;
  // OBJECTS: of each object that is out, by whoever has it: what the class has beyond the requested size, less one;
  // NULL: not known
  uint16_t *slack;
  _Atomic(struct hz4_sample *) sample;  // MAPPED: the block's, by whoever holds it; NULL: it is none
  size_t bytes;                         // constant while the span is in use: whole pages
  // An object that goes home meets this line and that of its bit.
  char *base __attribute__((aligned(HZ4_CACHE_LINE)));  // constant while the span is in use
  // OBJECTS: a hint, read without a lock: the cache that was refilled from this span last
  _Atomic(void *) owner;
  // OBJECTS: under the class's lock.
  struct hz4_span *next, *prev;
  uint32_t free_count;
  uint32_t object_count;  // constant
  uint32_t first_word;    // no bit is set in words before this one
  uint32_t fresh_from;    // objects from this one on never left the span since its memory came from the system
  // but for the bucket, constant while the span is in use
  uint8_t kind;
  uint8_t size_class;    // OBJECTS, else 0
  uint8_t bucket_shift;  // OBJECTS: see Mid
  uint8_t bucket;        // OBJECTS: under the class's lock
  union {
    uint32_t island;  // MAPPED: see extent.h
    uint8_t shard;    // OBJECTS: of which Mid has it (shard.h)
  };
  // bit g: granule g holds no memory, or is being purged. Only ever of free objects. A granule is a power of two of
  // system pages.
  uint64_t purged;
  uint64_t free_bits[];
};

#endif  // HZ4_SPAN_H_
