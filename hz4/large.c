#include "hz4/large.h"

#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/span.h"

static struct hz4_lock lock = HZ4_LOCK_INIT(HZ4_RANK_LARGE);

// Under lock: freed MAPPED spans, any order; unused slots are NULL.
static struct hz4_span *cache[HZ4_LARGE_CACHE_SLOTS];
static size_t cached_bytes;
static size_t allowance_bytes = HZ4_LARGE_ALLOWANCE_MIN;
static size_t last_unmapped_bytes;
static bool asked;  // a mapping was asked for since the cache refused one

static _Atomic(uint64_t) allocs, frees, cache_hits, live_mapped_bytes, moved, grown_in_place;

// RUN spans freed while fork held the segment lock. Pushed by anybody, taken as a whole: so no ABA.
static _Atomic(struct hz4_span *) deferred;

// ---- descriptors ----

static struct hz4_span *new_span(void) {
  struct hz4_span *span = hz4_meta_alloc(sizeof(struct hz4_span));
  if (span != NULL) span->meta_bytes = sizeof(struct hz4_span);
  return span;
}

static void delete_span(struct hz4_span *span) {
  span->kind = HZ4_SPAN_FREE;
  hz4_meta_free(span, span->meta_bytes);
}

// ---- page runs ----

static void free_run(struct hz4_span *span) {
  size_t pages = span->bytes >> HZ4_PAGE_SHIFT;
  if (hz4_segment_free(span->segment, span->base, pages)) {
    delete_span(span);
    return;
  }
  span->next = hz4_load_relaxed(&deferred);
  // Release: publishes the span's fields to free_deferred.
  while (!hz4_cas_weak_release(&deferred, &span->next, span)) continue;
}

static void free_deferred(void) {
  if (HZ4_LIKELY(hz4_load_relaxed(&deferred) == NULL)) return;
  struct hz4_span *span = hz4_exchange_acquire(&deferred, NULL);  // pairs with free_run
  while (span != NULL) {
    struct hz4_span *next = span->next;
    free_run(span);
    span = next;
  }
}

static bool alloc_run(struct hz4_span *span, size_t bytes, bool *zeroed) {
  size_t pages = (bytes + HZ4_PAGE_BYTES - 1) >> HZ4_PAGE_SHIFT;
  struct hz4_run run = hz4_segment_alloc(pages, true);
  if (run.base == NULL) return false;
  span->base = run.base;
  span->bytes = pages << HZ4_PAGE_SHIFT;
  span->segment = run.segment;
  span->kind = HZ4_SPAN_RUN;
  hz4_pagemap_set(span->base, pages, span, 0);
  *zeroed = run.zeroed;
  return true;
}

// ---- mappings ----

static bool fits(size_t have, size_t wanted) {
  return have >= wanted && have - wanted <= wanted / 4;
}

// The tightest cached mapping, off the cache; NULL when none fits.
static struct hz4_span *take_cached(size_t bytes, size_t align) {
  if (!hz4_lock_enter(&lock)) return NULL;
  asked = true;
  int best = -1;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS; ++i) {
    struct hz4_span *span = cache[i];
    if (span == NULL || !fits(span->bytes, bytes) || !hz4_is_aligned(span->base, align)) continue;
    if (best < 0 || span->bytes < cache[best]->bytes) best = i;
  }
  struct hz4_span *found = NULL;
  if (best >= 0) {
    found = cache[best];
    cache[best] = NULL;
    cached_bytes -= found->bytes;
    hz4_fetch_add_relaxed(&cache_hits, 1);
  } else if (fits(last_unmapped_bytes, bytes) && allowance_bytes < HZ4_LARGE_ALLOWANCE_MAX) {
    allowance_bytes += last_unmapped_bytes;
    if (allowance_bytes > HZ4_LARGE_ALLOWANCE_MAX) allowance_bytes = HZ4_LARGE_ALLOWANCE_MAX;
  }
  hz4_lock_release(&lock);
  return found;
}

static void unmap_span(struct hz4_span *span) {
  // Where the system refuses, the addresses stay mapped and unused: purged, they cost nothing else.
  if (!hz4_os_unmap(span->base, span->bytes)) hz4_os_purge(span->base, span->bytes);
  delete_span(span);
}

static size_t cache_limit_locked(void) {
  size_t share = hz4_load_relaxed(&live_mapped_bytes) >> HZ4_LARGE_SHARE_SHIFT;
  return share > allowance_bytes ? share : allowance_bytes;
}

// Unmaps cached spans until at most `limit` bytes are left. True when something went.
static bool shrink_cache_locked(size_t limit) {
  bool any = false;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS && cached_bytes > limit; ++i) {
    if (cache[i] == NULL) continue;
    cached_bytes -= cache[i]->bytes;
    unmap_span(cache[i]);
    cache[i] = NULL;
    any = true;
  }
  return any;
}

// Puts the span into the cache if the bound allows. False: the caller unmaps it. Refusals in a row, with no demand in
// between, are a program that frees for good: they take the allowance down again.
static bool put_cached(struct hz4_span *span) {
  if (!hz4_lock_enter(&lock)) return false;
  bool put = false;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS && cached_bytes + span->bytes <= cache_limit_locked() && !put; ++i) {
    if (cache[i] != NULL) continue;
    cache[i] = span;
    cached_bytes += span->bytes;
    put = true;
  }
  if (!put) {
    last_unmapped_bytes = span->bytes;
    if (!asked && allowance_bytes > HZ4_LARGE_ALLOWANCE_MIN) allowance_bytes /= 2;
    asked = false;
    shrink_cache_locked(cache_limit_locked());
  }
  hz4_lock_release(&lock);
  return put;
}

static bool map_fresh(struct hz4_span *span, size_t bytes, size_t align) {
  span->base = hz4_os_map(bytes, align);
  if (span->base == NULL) return false;
  if (!hz4_pagemap_reserve(span->base, 1)) {
    hz4_os_unmap(span->base, bytes);
    return false;
  }
  span->bytes = bytes;
  span->kind = HZ4_SPAN_MAPPED;
  return true;
}

static struct hz4_span *alloc_mapped(size_t bytes, size_t align, bool *zeroed) {
  if (align < HZ4_PAGE_BYTES) align = HZ4_PAGE_BYTES;
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);
  struct hz4_span *span = take_cached(bytes, align);
  *zeroed = span == NULL;
  if (span == NULL) {
    span = new_span();
    if (span == NULL) return NULL;
    if (!map_fresh(span, bytes, align)) {
      delete_span(span);
      return NULL;
    }
  }
  hz4_fetch_add_relaxed(&live_mapped_bytes, span->bytes);
  hz4_pagemap_set(span->base, 1, span, 0);  // only the block's own address is ever looked up
  return span;
}

// ---- interface ----

void *hz4_large_alloc(size_t bytes, size_t align, bool *zeroed) {
  free_deferred();
  struct hz4_span *span = NULL;
  if (bytes <= HZ4_RUN_MAX_BYTES && align <= HZ4_PAGE_BYTES && (span = new_span()) != NULL &&
      !alloc_run(span, bytes, zeroed)) {
    delete_span(span);
    span = NULL;
  }
  if (span == NULL) span = alloc_mapped(bytes, align, zeroed);
  if (span == NULL) return NULL;
  hz4_fetch_add_relaxed(&allocs, 1);
  return span->base;
}

void hz4_large_free(struct hz4_span *span) {
  hz4_fetch_add_relaxed(&frees, 1);
  if (span->kind == HZ4_SPAN_RUN) {
    hz4_pagemap_set(span->base, span->bytes >> HZ4_PAGE_SHIFT, NULL, 0);
    free_run(span);
    hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
  } else {
    hz4_pagemap_set(span->base, 1, NULL, 0);
    hz4_fetch_sub_relaxed(&live_mapped_bytes, span->bytes);
    if (!put_cached(span)) unmap_span(span);
  }
}

static void resized(struct hz4_span *span, size_t bytes) {
  hz4_fetch_add_relaxed(&live_mapped_bytes, bytes - span->bytes);  // wraps when it shrinks, as unsigned may
  span->bytes = bytes;
}

static void *move_mapped(struct hz4_span *span, size_t bytes) {
  char *to = hz4_os_map(bytes, HZ4_PAGE_BYTES);
  if (to == NULL) return NULL;
  if (!hz4_pagemap_reserve(to, 1)) {
    hz4_os_unmap(to, bytes);
    return NULL;
  }
  hz4_pagemap_set(span->base, 1, NULL, 0);  // before: another thread may have the address right after the move
  if (!hz4_os_move(span->base, span->bytes, to, bytes)) {
    hz4_pagemap_set(span->base, 1, span, 0);
    return NULL;  // `to` is not ours to unmap any more
  }
  hz4_fetch_add_relaxed(&moved, 1);
  span->base = to;
  resized(span, bytes);
  hz4_pagemap_set(to, 1, span, 0);
  return to;
}

void *hz4_large_resize(struct hz4_span *span, size_t bytes) {
  size_t have = span->bytes;
  if (bytes <= have && bytes > have / 2) return span->base;
  if (span->kind != HZ4_SPAN_MAPPED || bytes <= HZ4_CLASS_MAX_BYTES) return NULL;
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);
  if (hz4_os_resize(span->base, have, bytes)) {
    hz4_fetch_add_relaxed(&grown_in_place, bytes > have);
    resized(span, bytes);
    return span->base;
  }
  return bytes > have ? move_mapped(span, bytes) : span->base;
}

bool hz4_large_trim(void) {
  free_deferred();
  if (!hz4_lock_enter(&lock)) return false;
  bool any = shrink_cache_locked(0);
  hz4_lock_release(&lock);
  return any;
}

void hz4_large_stats(struct hz4_large_stats *out) {
  *out = (struct hz4_large_stats){0};
  if (hz4_lock_enter(&lock)) {
    out->cached_bytes = cached_bytes;
    hz4_lock_release(&lock);
  }
  out->allocs = hz4_load_relaxed(&allocs);
  out->frees = hz4_load_relaxed(&frees);
  out->cache_hits = hz4_load_relaxed(&cache_hits);
  out->live_mapped_bytes = hz4_load_relaxed(&live_mapped_bytes);
  out->moved = hz4_load_relaxed(&moved);
  out->grown_in_place = hz4_load_relaxed(&grown_in_place);
}

void hz4_large_check(void) {
  if (!hz4_lock_enter(&lock)) return;
  size_t bytes = 0;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS; ++i) {
    struct hz4_span *span = cache[i];
    if (span == NULL) continue;
    HZ4_CHECK(span->kind == HZ4_SPAN_MAPPED, "large: a cached span is no mapping");
    HZ4_CHECK(hz4_pagemap_span(span->base) == NULL, "large: a cached mapping is in the page map");
    bytes += span->bytes;
  }
  HZ4_CHECK(bytes == cached_bytes, "large: cached bytes do not add up");
  hz4_lock_release(&lock);
}

void hz4_large_fork_prepare(void) {
  hz4_lock_fork_acquire(&lock);
}

void hz4_large_fork_parent(void) {
  hz4_lock_fork_release(&lock);
}

void hz4_large_fork_child(void) {
  hz4_lock_fork_reset(&lock);
}
