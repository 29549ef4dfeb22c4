// Rank 4. Address -> size class, and address -> span, on 64 KiB pages.
//
// Shape: a root of regions (4 GiB each). A region's leaf has one byte per page, the size class: the fast path reads the
// root and that byte, and nothing else. The root holds how far a leaf is from the leaf of zeros that regions without
// memory of ours share; so the whole is zero at first, and no process touches more of it than it uses. The pointers to
// the spans stand behind the leaf, since only slow paths ask for them.
//
// Threads: regions appear once (compare-and-swap from empty) and never go. An entry is written by the owner of its page
// before any pointer into that page is handed out, and cleared after the last one came back; whoever holds such a pointer
// got it by a synchronisation of the program's own, which orders the entry too. So entries are relaxed.
// Only a pointer that is not ours can be looked up beside a change: it reads a class that was true at some time, and so
// is reported, or at worst taken for ours. Regions are published by a release, for its sake too.
#ifndef HZ4_PAGEMAP_H_
#define HZ4_PAGEMAP_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_span;

#define HZ4_PAGEMAP_REGION_PAGES ((size_t)1 << 16)  // a page's number in its region is the low half of its number
#define HZ4_PAGEMAP_REGIONS (((size_t)1 << (HZ4_ADDRESS_BITS - HZ4_PAGE_SHIFT)) / HZ4_PAGEMAP_REGION_PAGES)

// With HZ4_HARDEN, of a page of a span of objects: where their states are (harden.h), 0: nowhere; where the span begins; and
// of its class the number and the reciprocal, ceil(2^64 / bytes).
struct hz4_page_states {
  _Atomic(uintptr_t) state, base;
  _Atomic(uint64_t) reciprocal;
  _Atomic(uint64_t) size_class;
};

struct hz4_pagemap_region {
  _Atomic(uint8_t) size_class[HZ4_PAGEMAP_REGION_PAGES];  // the leaf
  _Atomic(struct hz4_span *) span[HZ4_PAGEMAP_REGION_PAGES];
  struct hz4_page_states states[HZ4_PAGEMAP_REGION_PAGES];
};

// All zero at first: nothing has to be called before the functions below.
struct hz4_pagemap {
  _Atomic(uintptr_t) leaf[HZ4_PAGEMAP_REGIONS];     // by how many bytes the region's leaf is beyond none
  _Atomic(uint8_t) none[HZ4_PAGEMAP_REGION_PAGES];  // what regions without memory of ours share: never written
};
extern struct hz4_pagemap hz4_pagemap;

#ifndef __cplusplus
_Static_assert(HZ4_ADDRESS_BITS - HZ4_PAGE_SHIFT <= 32, "a page number has 32 bits");  // weave's maps are smaller
#endif

// The size class of the object at ptr; 0 when ptr is in no span of objects (NULL, foreign, a large block). The bits above
// HZ4_ADDRESS_BITS are not looked at: no address has any, and a test would cost the fast path an instruction. A pointer
// that differs from one of ours in them only is found when it comes home, for hz4_pagemap_span knows better.
HZ4_INLINE size_t hz4_pagemap_class(const void *ptr) {
  uintptr_t high = (uintptr_t)ptr >> HZ4_PAGE_SHIFT;
  uintptr_t entry = (uint16_t)high;
  HZ4_REGISTER(entry);
  size_t region = (uint32_t)high / HZ4_PAGEMAP_REGION_PAGES;
  // Acquire: pairs with hz4_pagemap_reserve, for a foreign pointer's sake. On x86-64 the instruction is the same.
  hz4_add_acquire(entry, &hz4_pagemap.leaf[region]);
  return hz4_load_relaxed((_Atomic(uint8_t) *)((uintptr_t)hz4_pagemap.none + entry));
}

// The same of any object, those too that the fast path of free must not know (harden.h), but for samples. Slower.
uint32_t hz4_pagemap_class_of(const void *ptr);

// NULL: it has no memory of ours.
HZ4_INLINE struct hz4_pagemap_region *hz4_pagemap_region(size_t index) {
  uintptr_t offset = hz4_load_acquire(&hz4_pagemap.leaf[index]);  // pairs with hz4_pagemap_reserve
  return HZ4_UNLIKELY(offset == 0) ? NULL : (struct hz4_pagemap_region *)((uintptr_t)hz4_pagemap.none + offset);
}

// Of any pointer.
HZ4_INLINE struct hz4_pagemap_region *hz4_pagemap_region_of(const void *ptr) {
  size_t index = (uintptr_t)ptr / ((uintptr_t)HZ4_PAGEMAP_REGION_PAGES << HZ4_PAGE_SHIFT);
  return HZ4_LIKELY(index < HZ4_PAGEMAP_REGIONS) ? hz4_pagemap_region(index) : NULL;
}

// The span whose registered pages hold ptr; NULL when there is none. Takes no lock. The first is the second, inline.
HZ4_INLINE struct hz4_span *hz4_pagemap_find(const void *ptr) {
  struct hz4_pagemap_region *region = hz4_pagemap_region_of(ptr);
  if (HZ4_UNLIKELY(region == NULL)) return NULL;
  return hz4_load_relaxed(&region->span[((uintptr_t)ptr >> HZ4_PAGE_SHIFT) % HZ4_PAGEMAP_REGION_PAGES]);
}
struct hz4_span *hz4_pagemap_span(const void *ptr);

// What is noted of the states of the objects in this page; NULL: nothing. For any pointer.
HZ4_INLINE const struct hz4_page_states *hz4_pagemap_states(const void *ptr) {
  struct hz4_pagemap_region *region = hz4_pagemap_region_of(ptr);
  if (HZ4_UNLIKELY(region == NULL)) return NULL;
  const struct hz4_page_states *found = &region->states[((uintptr_t)ptr >> HZ4_PAGE_SHIFT) % HZ4_PAGEMAP_REGION_PAGES];
  return HZ4_LIKELY(hz4_load_relaxed(&found->state) != 0) ? found : NULL;
}

// Makes sure that pages [base, base + pages) can be set without failing. False: no memory, or an address beyond the map.
bool hz4_pagemap_reserve(const void *base, size_t pages);

// pre: reserved. Registers the pages, with the class that hz4_pagemap_class is to say; span NULL and class 0 clear them.
void hz4_pagemap_set(const void *base, size_t pages, struct hz4_span *span, uint32_t size_class);

// Notes it of all pages of a span of objects that has states; reciprocal 0: no more. pre: likewise.
void hz4_pagemap_set_states(const struct hz4_span *span, uint64_t reciprocal);

HZ4_END_DECLS

#endif  // HZ4_PAGEMAP_H_
