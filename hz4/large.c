#include "hz4/large.h"

#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/segment.h"
#include "hz4/span.h"

static struct hz4_lock lock = HZ4_LOCK_INIT(HZ4_RANK_LARGE);

// Under lock: freed MAPPED spans, any order; unused slots are NULL. A span whose `purged` is 0 is cached: it keeps its
// memory. The others are retained: they keep their addresses only.
static struct hz4_span *cache[HZ4_LARGE_CACHE_SLOTS];
static size_t cached_bytes, retained_bytes;
static size_t allowance_bytes = HZ4_LARGE_ALLOWANCE_MIN;
static size_t last_refused_bytes;
static uint64_t most_live_bytes;  // in live mappings at once, as frees saw it: it only falls by them
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
  if (hz4_segment_free(span->segment, span->base, pages, false)) {
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

static bool alloc_run(struct hz4_span *span, size_t bytes, size_t align, bool *zeroed) {
  size_t pages = (bytes + HZ4_PAGE_BYTES - 1) >> HZ4_PAGE_SHIFT;
  struct hz4_run run = hz4_segment_alloc_aligned(pages, align > HZ4_PAGE_BYTES ? align >> HZ4_PAGE_SHIFT : 1, true);
  if (run.base == NULL) return false;
  span->base = run.base;
  span->bytes = pages << HZ4_PAGE_SHIFT;
  span->segment = run.segment;
  span->kind = HZ4_SPAN_RUN;
  hz4_unpoison(span->base, span->bytes);
  hz4_pagemap_set(span->base, pages, span, 0);
  *zeroed = run.zeroed;
  return true;
}

// ---- mappings ----

static bool fits(size_t have, size_t wanted, size_t spare) {
  return have >= wanted && have - wanted <= spare;
}

// What a retained span has too much costs addresses only.
static bool span_fits(const struct hz4_span *span, size_t wanted, size_t align, size_t spare) {
  if (!hz4_is_aligned(span->base, align)) return false;
  return fits(span->bytes, wanted, span->purged == 0 ? spare : wanted);
}

// Whether `span` serves better than `other`: one that has its memory, then the tighter one. other may be NULL.
static bool serves_better(const struct hz4_span *span, const struct hz4_span *other) {
  if (other == NULL || (span->purged == 0) != (other->purged == 0)) return other == NULL || span->purged == 0;
  return span->bytes < other->bytes;
}

// Where the bytes of spans of this one's kind are counted.
static size_t *bytes_like(const struct hz4_span *span) {
  return span->purged == 0 ? &cached_bytes : &retained_bytes;
}

static struct hz4_span *remove_locked(int slot) {
  struct hz4_span *span = cache[slot];
  *bytes_like(span) -= span->bytes;
  cache[slot] = NULL;
  hz4_unpoison(span->base, span->bytes);
  return span;
}

// The freed mapping that serves best, out of the cache, with at most `spare` bytes of memory too much; NULL when none
// fits. resident: none that is retained.
static struct hz4_span *take_cached(size_t bytes, size_t align, size_t spare, bool resident) {
  if (!hz4_lock_enter(&lock)) return NULL;
  asked = true;
  struct hz4_span *found = NULL;
  int slot = 0;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS; ++i) {
    struct hz4_span *span = cache[i];
    if (span == NULL || !span_fits(span, bytes, align, spare)) continue;
    if (span->purged != 0 && resident) continue;
    if (!serves_better(span, found)) continue;
    found = span;
    slot = i;
  }
  if (found != NULL) {
    remove_locked(slot);
    hz4_fetch_add_relaxed(&cache_hits, 1);
  }
  if ((found == NULL || found->purged != 0) && fits(last_refused_bytes, bytes, spare) &&
      allowance_bytes < HZ4_LARGE_ALLOWANCE_MAX) {
    allowance_bytes += last_refused_bytes;
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

// An empty slot, if need be that of a retained span, which is unmapped; else HZ4_LARGE_CACHE_SLOTS.
static int free_slot_locked(void) {
  int slot = 0;
  while (slot < HZ4_LARGE_CACHE_SLOTS && cache[slot] != NULL) ++slot;
  if (slot < HZ4_LARGE_CACHE_SLOTS) return slot;
  slot = 0;
  while (slot < HZ4_LARGE_CACHE_SLOTS && cache[slot]->purged == 0) ++slot;
  if (slot < HZ4_LARGE_CACHE_SLOTS) unmap_span(remove_locked(slot));
  return slot;
}

// Into the cache, if a slot and the limit on the bytes of spans of its kind (cached, retained) allow.
static bool insert_locked(struct hz4_span *span, size_t limit) {
  size_t *bytes = bytes_like(span);
  int slot = *bytes + span->bytes <= limit ? free_slot_locked() : HZ4_LARGE_CACHE_SLOTS;
  if (slot == HZ4_LARGE_CACHE_SLOTS) return false;
  cache[slot] = span;
  *bytes += span->bytes;
  hz4_poison(span->base, span->bytes);  // not what is unmapped at once: the shadow of a gigabyte is 128 MiB
  return true;
}

// Unmaps the span. One that the system refuses to unmap is retained, whatever the bound, to be used again or unmapped by
// the next trim: for the system may refuse to purge it too. True when something went back.
static bool unmap_or_keep_locked(struct hz4_span *span) {
  if (hz4_os_unmap(span->base, span->bytes)) {
    delete_span(span);
    return true;
  }
  bool went_back = hz4_os_purge(span->base, span->bytes) && span->purged == 0;
  span->purged = 1;
  if (!insert_locked(span, SIZE_MAX)) delete_span(span);
  return went_back;
}

// Gives the span's memory back, and keeps its addresses: unmapped they would be a hole, and with every hole there is one
// mapping more. Beyond the bound on those the span is unmapped.
static void retain_locked(struct hz4_span *span) {
  span->purged = 1;
  if (span->bytes > HZ4_LARGE_RETAIN_MAX_BYTES || !hz4_os_purge(span->base, span->bytes) ||
      !insert_locked(span, HZ4_LARGE_RETAIN_BYTES + most_live_bytes)) {
    unmap_or_keep_locked(span);
  }
}

// Keeps the span with its memory if the bound allows, else its addresses. Refusals in a row, with no demand in between,
// are a program that frees for good: they take the allowance down again.
static void put_cached_locked(struct hz4_span *span) {
  uint64_t live = hz4_load_relaxed(&live_mapped_bytes) + span->bytes;
  if (live > most_live_bytes) most_live_bytes = live;
  span->purged = 0;
  if (insert_locked(span, cache_limit_locked())) return;
  last_refused_bytes = span->bytes;
  if (!asked && allowance_bytes > HZ4_LARGE_ALLOWANCE_MIN) allowance_bytes /= 2;
  asked = false;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS && cached_bytes > cache_limit_locked(); ++i) {
    if (cache[i] != NULL && cache[i]->purged == 0) retain_locked(remove_locked(i));
  }
  retain_locked(span);
}

static bool map_fresh(struct hz4_span *span, size_t bytes, size_t align) {
  span->base = hz4_os_map(bytes, align);
  if (span->base == NULL) return false;
  if (!hz4_pagemap_reserve(span->base, 1)) {
    hz4_os_unmap(span->base, bytes);
    return false;
  }
  span->bytes = bytes;
  hz4_segment_purge(HZ4_SEGMENT_KEEP_NO_REGRET);
  span->kind = HZ4_SPAN_MAPPED;
  return true;
}

static void begin_mapped(struct hz4_span *span) {
  hz4_fetch_add_relaxed(&live_mapped_bytes, span->bytes);
  hz4_pagemap_set(span->base, 1, span, 0);  // only the block's own address is ever looked up
}

static struct hz4_span *alloc_mapped(size_t bytes, size_t align, bool *zeroed) {
  if (align < HZ4_PAGE_BYTES) align = HZ4_PAGE_BYTES;
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);
  // For zeros no retained one: what the system says that it purged is not trusted to be zero, and to clear it would
  // bring all its memory back.
  struct hz4_span *span = take_cached(bytes, align, bytes / 4, *zeroed);
  *zeroed = span == NULL;
  if (span == NULL) {
    span = new_span();
    if (span == NULL) return NULL;
    if (!map_fresh(span, bytes, align)) {
      delete_span(span);
      return NULL;
    }
  }
  begin_mapped(span);
  return span;
}

// ---- interface ----

void *hz4_large_alloc(size_t bytes, size_t align, bool *zeroed) {
  free_deferred();
  struct hz4_span *span = NULL;
  if (bytes <= HZ4_RUN_MAX_BYTES && align <= HZ4_RUN_ALIGN_MAX && (span = new_span()) != NULL &&
      !alloc_run(span, bytes, align, zeroed)) {
    delete_span(span);
    span = NULL;
  }
  if (span == NULL) span = alloc_mapped(bytes, align, zeroed);
  if (span == NULL) return NULL;
  hz4_fetch_add_relaxed(&allocs, 1);
  return span->base;
}

void *hz4_large_reuse(size_t bytes) {
  if (bytes <= HZ4_RUN_MAX_BYTES || bytes > PTRDIFF_MAX / HZ4_LARGE_GROWTH) return NULL;
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);
  struct hz4_span *span = take_cached(bytes, HZ4_PAGE_BYTES, bytes * (HZ4_LARGE_GROWTH - 1), true);
  if (span == NULL) return NULL;
  begin_mapped(span);
  hz4_fetch_add_relaxed(&allocs, 1);
  return span->base;
}

void hz4_large_free(struct hz4_span *span) {
  hz4_fetch_add_relaxed(&frees, 1);
  if (span->kind == HZ4_SPAN_RUN) {
    hz4_poison(span->base, span->bytes);
    hz4_pagemap_set(span->base, span->bytes >> HZ4_PAGE_SHIFT, NULL, 0);
    free_run(span);
    hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
  } else {
    hz4_pagemap_set(span->base, 1, NULL, 0);
    hz4_fetch_sub_relaxed(&live_mapped_bytes, span->bytes);
    if (hz4_lock_enter(&lock)) {
      put_cached_locked(span);
      hz4_lock_release(&lock);
    } else {
      unmap_span(span);
    }
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

bool hz4_large_may_hold(const struct hz4_span *span, size_t bytes) {
  if (bytes > span->bytes) return false;
  // A block has at most twice the pages that it needs, if it came from a retained mapping (span_fits) or realloc left it
  // in place. But a mapping also keeps what the system has refused to take back from a smaller size.
  return hz4_round_up(bytes != 0 ? bytes : 1, HZ4_PAGE_BYTES) * 2 >= span->bytes ||
         (span->kind == HZ4_SPAN_MAPPED && bytes > HZ4_CLASS_MAX_BYTES);
}

bool hz4_large_trim(void) {
  free_deferred();
  if (!hz4_lock_enter(&lock)) return false;
  bool any = false;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS; ++i) {
    if (cache[i] != NULL) any |= unmap_or_keep_locked(remove_locked(i));
  }
  hz4_lock_release(&lock);
  return any;
}

void hz4_large_stats(struct hz4_large_stats *out) {
  *out = (struct hz4_large_stats){0};
  if (hz4_lock_enter(&lock)) {
    out->cached_bytes = cached_bytes;
    out->retained_bytes = retained_bytes;
    hz4_lock_release(&lock);
  }
  out->allocs = hz4_load_relaxed(&allocs);
  out->frees = hz4_load_relaxed(&frees);
  out->cache_hits = hz4_load_relaxed(&cache_hits);
  out->live_mapped_bytes = hz4_load_relaxed(&live_mapped_bytes);
  out->moved = hz4_load_relaxed(&moved);
  out->grown_in_place = hz4_load_relaxed(&grown_in_place);
}

static const char *broken_locked(void) {
  size_t cached = 0, retained = 0;
  for (int i = 0; i < HZ4_LARGE_CACHE_SLOTS; ++i) {
    struct hz4_span *span = cache[i];
    if (span == NULL) continue;
    HZ4_HOLDS(span->kind == HZ4_SPAN_MAPPED, "large: a cached span is no mapping");
    HZ4_HOLDS(hz4_pagemap_span(span->base) == NULL, "large: a cached mapping is in the page map");
    *(span->purged == 0 ? &cached : &retained) += span->bytes;
  }
  HZ4_HOLDS(cached == cached_bytes && retained == retained_bytes, "large: cached bytes do not add up");
  return NULL;
}

void hz4_large_check(void) {
  if (!hz4_lock_enter(&lock)) return;
  const char *broken = broken_locked();
  hz4_lock_release(&lock);
  if (broken != NULL) hz4_panic(broken);
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
