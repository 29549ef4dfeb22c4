#include "hz4/segment_pages.h"

#include "hz4/guard.h"
#include "hz4/huge.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/random.h"

// A mapping of `pages`, known to the page map; NULL: the system has none.
static char *map_pages(size_t pages) {
  char *base = hz4_huge_map(pages << HZ4_PAGE_SHIFT);
  if (base == NULL) return NULL;
  if (!hz4_pagemap_reserve(base, pages)) {
    hz4_os_unmap(base, pages << HZ4_PAGE_SHIFT);
    return NULL;
  }
  hz4_poison(base, pages << HZ4_PAGE_SHIFT);
  return base;
}

// Makes guards of pages at random distances, which leave room for a run of `pages_needed` first, and for others between.
static uint64_t install_guards(char *base, size_t pages, size_t pages_needed) {
  uint64_t guards = 0;
  for (size_t at = 0; (at += pages_needed + hz4_random_below(HZ4_GUARD_PAGES_MAX)) < pages; ++at) {
    hz4_guard_install(base + (at << HZ4_PAGE_SHIFT), HZ4_PAGE_BYTES);
    guards |= (uint64_t)1 << at;
  }
  return guards;
}

struct hz4_segment *hz4_segment_map(size_t pages, size_t pages_needed) {
  struct hz4_segment *segment = hz4_meta_alloc(sizeof(struct hz4_segment));
  if (segment == NULL) return NULL;
  segment->base = map_pages(pages);
  if (segment->base == NULL && pages > pages_needed) segment->base = map_pages(pages = pages_needed);
  if (segment->base == NULL) {
    hz4_meta_free(segment, sizeof(struct hz4_segment));
    return NULL;
  }
  segment->pages = (uint32_t)pages;
  segment->absent = ~hz4_segment_mask(0, pages);
  if (HZ4_UNLIKELY(hz4_guards)) segment->absent |= install_guards(segment->base, pages, pages_needed);
  segment->used = segment->absent;
  return segment;
}

bool hz4_segment_unmap(struct hz4_segment *segment) {
  size_t bytes = (size_t)segment->pages << HZ4_PAGE_SHIFT;
  hz4_unpoison(segment->base, bytes);  // before anybody else can get the addresses
  if (!hz4_os_unmap(segment->base, bytes)) {
    hz4_poison(segment->base, bytes);
    return false;
  }
  hz4_guard_gone(segment->pages - hz4_segment_page_count(segment));
  hz4_meta_free(segment, sizeof(struct hz4_segment));
  return true;
}
