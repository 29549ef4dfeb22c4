#include "hz4/pagemap.h"

#include "hz4/os.h"
#include "hz4/span.h"

#define REGION_PAGES ((size_t)1 << (HZ4_PAGEMAP_REGION_SHIFT - HZ4_PAGE_SHIFT))
#define CHUNK_PAGES ((size_t)1 << (HZ4_PAGEMAP_CHUNK_SHIFT - HZ4_PAGE_SHIFT))
#define REGION_CHUNKS (REGION_PAGES / CHUNK_PAGES)

struct chunk {
  _Atomic(struct hz4_span *) span[CHUNK_PAGES];
};

struct region {
  _Atomic(uint8_t) size_class[REGION_PAGES];
  _Atomic(void *) chunk[REGION_CHUNKS];  // struct chunk
};

// What regions without memory of ours share: never written, and so never more than addresses.
static _Atomic(uint8_t) zero_leaf[REGION_PAGES];

_Atomic(uintptr_t) hz4_pagemap_leaf[HZ4_PAGEMAP_REGIONS] = {(uintptr_t)zero_leaf};

static _Atomic(void *) regions[HZ4_PAGEMAP_REGIONS];  // struct region

static size_t page_of(const void *ptr) {
  return (uintptr_t)ptr >> HZ4_PAGE_SHIFT;
}

static uintptr_t biased(const _Atomic(uint8_t) *leaf, size_t region) {
  return (uintptr_t)leaf - region * REGION_PAGES;
}

void hz4_pagemap_init(void) {
  for (size_t i = 1; i < HZ4_PAGEMAP_REGIONS; ++i) hz4_store_relaxed(&hz4_pagemap_leaf[i], biased(zero_leaf, i));
}

// The memory in *slot, mapped now if there is none yet. NULL: no memory.
static void *get_or_map(_Atomic(void *) *slot, size_t bytes) {
  // Acquire here and in the exchange: pairs with its release, which publishes the zeroed mapping.
  void *found = hz4_load_acquire(slot);
  if (found != NULL) return found;
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);  // so that gaps between mappings stay aligned
  void *fresh = hz4_os_map(bytes, hz4_os_page_bytes());
  if (fresh == NULL) return NULL;
  if (hz4_cas_strong_acq_rel(slot, &found, fresh)) return fresh;
  hz4_os_unmap(fresh, bytes);
  return found;
}

static bool reserve_page(size_t page) {
  size_t index = page / REGION_PAGES;
  if (index >= HZ4_PAGEMAP_REGIONS) return false;
  struct region *region = get_or_map(&regions[index], sizeof(struct region));
  if (region == NULL) return false;
  // Release: publishes the leaf's zeros to hz4_pagemap_class.
  hz4_store_release(&hz4_pagemap_leaf[index], biased(region->size_class, index));
  size_t chunk = page % REGION_PAGES / CHUNK_PAGES;
  return get_or_map(&region->chunk[chunk], sizeof(struct chunk)) != NULL;
}

bool hz4_pagemap_reserve(const void *base, size_t pages) {
  size_t end = page_of(base) + pages;
  for (size_t page = page_of(base); page < end; page = (page / CHUNK_PAGES + 1) * CHUNK_PAGES) {
    if (!reserve_page(page)) return false;
  }
  return true;
}

void hz4_pagemap_set(const void *base, size_t pages, struct hz4_span *span, uint32_t size_class) {
  size_t end = page_of(base) + pages;
  for (size_t page = page_of(base); page < end; ++page) {
    struct region *region = hz4_load_acquire(&regions[page / REGION_PAGES]);  // pairs with get_or_map
    struct chunk *chunk = hz4_load_acquire(&region->chunk[page % REGION_PAGES / CHUNK_PAGES]);  // likewise
    hz4_store_relaxed(&chunk->span[page % CHUNK_PAGES], span);
    hz4_store_relaxed(&region->size_class[page % REGION_PAGES], (uint8_t)size_class);
  }
}

struct hz4_span *hz4_pagemap_span(const void *ptr) {
  size_t page = page_of(ptr);
  if (page / REGION_PAGES >= HZ4_PAGEMAP_REGIONS) return NULL;
  struct region *region = hz4_load_acquire(&regions[page / REGION_PAGES]);  // pairs with get_or_map
  if (region == NULL) return NULL;
  struct chunk *chunk = hz4_load_acquire(&region->chunk[page % REGION_PAGES / CHUNK_PAGES]);  // likewise
  if (chunk == NULL) return NULL;
  return hz4_load_relaxed(&chunk->span[page % CHUNK_PAGES]);
}
