// Rank 5. A book of free address ranges, in whole pages (HZ4_PAGE_BYTES): found by size, joined with their neighbours by
// address, and given up by age.
//
// A range is dirty (it may hold memory), clean (it holds none, but nobody vouches that it is zero) or fresh (never used
// since it came from the system: zero). Ranges that touch are one range if they have the same state and are of the same
// island. An island is a mapping that mremap has moved: the kernel never makes it one with its neighbours, and moves
// only what is one. 0: of no island.
//
// By size: lists of 8 sizes for each doubling. A range in a list beyond that of the wanted size fits; in the list itself
// a few are tried. By address: a treap, in which neighbours are the only question. Every operation but that takes
// constant time. No lock, no system call: all is the caller's.
#ifndef HZ4_EXTENT_H_
#define HZ4_EXTENT_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

enum hz4_extent_state { HZ4_EXTENT_DIRTY, HZ4_EXTENT_CLEAN, HZ4_EXTENT_FRESH, HZ4_EXTENT_STATES };

struct hz4_extent {
  char *base;
  size_t bytes;
  uint32_t island;
  uint8_t state;
  // the book's own
  uint32_t priority;
  struct hz4_extent *left, *right;  // by address
  struct hz4_extent *next, *prev;   // by size
  struct hz4_extent *newer, *older;  // by age
};

#define HZ4_EXTENT_LISTS 256

// All zero at first.
struct hz4_extents {
  struct hz4_extent *root;
  struct hz4_extent *by_size[HZ4_EXTENT_STATES][HZ4_EXTENT_LISTS];  // the head is the oldest
  uint64_t filled[HZ4_EXTENT_STATES][HZ4_EXTENT_LISTS / 64];        // bit i: list i is not empty
  struct hz4_extent *by_age[HZ4_EXTENT_STATES];                     // the head is the oldest
  size_t bytes[HZ4_EXTENT_STATES];
  uint32_t random;
};

// Puts a range in: base, bytes, island and state are set. Returns the descriptors that it took to join it with others,
// linked by `next`, at most two.
struct hz4_extent *hz4_extents_put(struct hz4_extents *book, struct hz4_extent *extent);

// A range of this state of which `bytes` can be taken at a multiple of align, the tightest that is found soon; NULL: none.
struct hz4_extent *hz4_extents_find(const struct hz4_extents *book, enum hz4_extent_state state, size_t bytes,
                                    size_t align);

// The range that begins at this address; NULL: none.
struct hz4_extent *hz4_extents_at(const struct hz4_extents *book, const char *base);

// Takes `bytes` from the beginning of a range, or from its end, and returns their address. When that is all of it, the
// range is out of the book, and the caller's.
char *hz4_extents_cut(struct hz4_extents *book, struct hz4_extent *extent, size_t bytes);
char *hz4_extents_cut_end(struct hz4_extents *book, struct hz4_extent *extent, size_t bytes);

// Takes the whole range out.
void hz4_extents_remove(struct hz4_extents *book, struct hz4_extent *extent);

// The range that came into this state first; NULL: none is in it.
HZ4_INLINE struct hz4_extent *hz4_extents_oldest(const struct hz4_extents *book, enum hz4_extent_state state) {
  return book->by_age[state];
}

// What is broken in the book; NULL: nothing is.
const char *hz4_extents_broken(const struct hz4_extents *book);

HZ4_END_DECLS

#endif  // HZ4_EXTENT_H_
