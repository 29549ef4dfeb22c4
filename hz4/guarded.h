// Rank 5. Large blocks with HZ4_HARDEN=2: each a mapping of its own, between guards. What is freed stays inaccessible until
// as many others were freed (HZ4_QUARANTINE_BLOCKS, HZ4_QUARANTINE_BYTES), and is unmapped then.
//
//   | guard, 2^guard_shift bytes | block, which ends where the next guard begins | guard |
//
// So a block of a size that is a multiple of its alignment has no room behind it; of others up to the alignment less one.
// A block of which the program wants no alignment begins in the middle of a page. Here nothing is locked: the quarantine is
// a ring, of which each slot is exchanged. Who forks in the middle loses addresses, and nothing else.
#ifndef HZ4_GUARDED_H_
#define HZ4_GUARDED_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_span;

// A block that is zero, its span not in the page map yet, which has room for it. NULL: no memory. pre: as hz4_large_alloc.
struct hz4_span *hz4_guarded_map(size_t bytes, size_t align);

// Ends it. pre: out of the page map.
void hz4_guarded_free(struct hz4_span *span);

// Moves it, without a copy, to where it has so many bytes or some more. False: it is where it was. Not where the program has
// advised the kernel of a part. pre: out of the page map, bytes > span->bytes.
bool hz4_guarded_grow(struct hz4_span *span, size_t bytes);

// Addresses for blocks of no bytes, whole pages, with room in the page map. NULL: there are none. (Where the system does not
// forbid them, nobody finds out who touches them.)
void *hz4_guarded_nothing(size_t bytes);

// Of addresses, that are kept inaccessible.
size_t hz4_guarded_bytes(void);

// Unmaps what is kept inaccessible. True when there was something.
bool hz4_guarded_trim(void);

// What a report says of a block between guards, also of one in a slot (slots.h), of which alone the stacks are known.
struct hz4_guarded_block {
  const char *base;
  size_t bytes;
  bool is_freed;
  const uintptr_t *allocated_at, *freed_at;
  uint32_t allocated_depth, freed_depth;
};

// The block that the address lies in, or in one of whose guards. False: there is none; or it is the guard before a block that is
// aligned to 64 KiB or more, or the one behind a block of HZ4_GUARD_LOOK_BYTES, which are not looked for. Async-signal-safe;
// wrong, maybe, while others free.
bool hz4_guarded_find(const void *address, struct hz4_guarded_block *out);

HZ4_END_DECLS

#endif  // HZ4_GUARDED_H_
