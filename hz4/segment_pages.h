// Rank 5, and segment.c's alone. One segment: a mapping, and its pages as bits of a word.
//
// Takes no lock. pre: none is held where it is mapped or unmapped.
#ifndef HZ4_SEGMENT_PAGES_H_
#define HZ4_SEGMENT_PAGES_H_

#include "hz4/base.h"

struct segments;

struct links {
  struct hz4_segment *next, *prev;
};

struct hz4_segment {
  // constant
  char *base;
  struct segments *home;
  uint32_t pages;
  uint64_t absent;        // bit i: page i does not exist, or is a guard
  // under lock
  bool unused;            // no page is used
  uint32_t longest_free;  // pages in the longest free run: the list this segment is on
  uint64_t used;          // bit i: page i is in a span, is being purged or unmapped, or does not exist
  uint64_t dirty;         // bit i: page i is free and may hold memory; never a used page
  uint64_t touched;       // bit i: page i has been in a span since it was mapped
  uint64_t purged_inside;  // bit i: page i is free, and its span was purged in part
  uint64_t purging;       // bit i: page i is being purged
  struct links by_length, by_age;
  struct hz4_segment *next_busy;  // of those that the same thread purges or unmaps
};

HZ4_INLINE uint64_t hz4_segment_mask(size_t first, size_t pages) {
  return (pages == 64 ? ~(uint64_t)0 : ((uint64_t)1 << pages) - 1) << first;
}

// Bit i of the result: bits i .. i + n - 1 of `set` are all set.
HZ4_INLINE uint64_t hz4_segment_runs(uint64_t set, size_t n) {
  for (size_t have = 1; have < n && set != 0;) {
    size_t step = have < n - have ? have : n - have;
    set &= set >> step;
    have += step;
  }
  return set;
}

HZ4_INLINE size_t hz4_segment_page_count(const struct hz4_segment *segment) {
  return (size_t)__builtin_popcountll(~segment->absent);
}

HZ4_INLINE uint32_t hz4_segment_longest_run(uint64_t set) {
  uint32_t n = 0;
  for (; set != 0; set &= set >> 1) ++n;
  return n;
}

// A segment of `pages`, or of `pages_needed` if there is no more, which is nobody's yet, and known to the page map. NULL: no
// memory.
struct hz4_segment *hz4_segment_map(size_t pages, size_t pages_needed);

// False: the system refuses, and nothing has changed. Otherwise there is no such segment any more.
bool hz4_segment_unmap(struct hz4_segment *segment);

#endif  // HZ4_SEGMENT_PAGES_H_
