#include "hz4/pagemap.h"

#include <stddef.h>

#include "hz4/guard.h"
#include "hz4/options.h"
#include "hz4/span.h"

#define WITHOUT_STATES offsetof(struct hz4_pagemap_region, states)
_Static_assert(WITHOUT_STATES % HZ4_PAGE_BYTES == 0, "gaps between mappings stay aligned");
_Static_assert(sizeof(struct hz4_pagemap_region) % HZ4_PAGE_BYTES == 0, "likewise");

struct hz4_pagemap hz4_pagemap;

static uintptr_t none(void) {
  return (uintptr_t)hz4_pagemap.none;
}

static size_t page_of(const void *ptr) {
  return (uintptr_t)ptr >> HZ4_PAGE_SHIFT;
}

static bool reserve_region(size_t index) {
  if (index >= HZ4_PAGEMAP_REGIONS) return false;
  _Atomic(uintptr_t) *leaf = &hz4_pagemap.leaf[index];
  uintptr_t found = 0;
  // Not a load: a fresh page that is read before it is written costs 2.5 times as much. Relaxed, for whoever uses the
  // region looks it up by hz4_pagemap_region.
  hz4_cas_weak_relaxed(leaf, &found, 0);
  if (found != 0) return true;
  bool states = hz4_option.harden != 0 || !hz4_options_are_read;
  size_t bytes = states ? sizeof(struct hz4_pagemap_region) : WITHOUT_STATES;
  struct hz4_pagemap_region *fresh = hz4_guard_map(bytes);
  if (fresh == NULL) return false;
  // Release: publishes the region's zeros to hz4_pagemap_region and hz4_pagemap_class.
  if (!hz4_cas_strong_acq_rel(leaf, &found, (uintptr_t)fresh - none())) {
    hz4_guard_unmap(fresh, bytes);
  }
  return true;
}

bool hz4_pagemap_reserve(const void *base, size_t pages) {
  size_t end = page_of(base) + pages;
  for (size_t page = page_of(base); page < end; page = (page / HZ4_PAGEMAP_REGION_PAGES + 1) * HZ4_PAGEMAP_REGION_PAGES) {
    if (!reserve_region(page / HZ4_PAGEMAP_REGION_PAGES)) return false;
  }
  return true;
}

void hz4_pagemap_set(const void *base, size_t pages, struct hz4_span *span, uint32_t size_class) {
  size_t end = page_of(base) + pages;
  for (size_t page = page_of(base); page < end; ++page) {
    struct hz4_pagemap_region *region = hz4_pagemap_region(page / HZ4_PAGEMAP_REGION_PAGES);
    hz4_store_relaxed(&region->span[page % HZ4_PAGEMAP_REGION_PAGES], span);
    hz4_store_relaxed(&region->size_class[page % HZ4_PAGEMAP_REGION_PAGES], (uint8_t)size_class);
  }
}

void hz4_pagemap_set_states(const struct hz4_span *span, uint64_t reciprocal) {
  for (size_t page = page_of(span->base), end = page + (span->bytes >> HZ4_PAGE_SHIFT); page < end; ++page) {
    struct hz4_pagemap_region *region = hz4_pagemap_region(page / HZ4_PAGEMAP_REGION_PAGES);
    struct hz4_page_states *states = &region->states[page % HZ4_PAGEMAP_REGION_PAGES];
    hz4_store_relaxed(&states->base, (uintptr_t)span->base);
    hz4_store_relaxed(&states->reciprocal, reciprocal);
    hz4_store_relaxed(&states->size_class, span->size_class);
    hz4_store_relaxed(&states->state, reciprocal != 0 ? (uintptr_t)span->state : 0);
  }
}

struct hz4_span *hz4_pagemap_span(const void *ptr) {
  return hz4_pagemap_find(ptr);
}

uint32_t hz4_pagemap_class_of(const void *ptr) {
  size_t size_class = hz4_pagemap_class(ptr);
  if (HZ4_LIKELY(size_class != 0)) return (uint32_t)size_class;
  struct hz4_span *span = hz4_pagemap_span(ptr);
  return span != NULL && span->size_class < HZ4_CLASS_SLOTS ? span->size_class : 0;
}
