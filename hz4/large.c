#include "hz4/large.h"

#include <string.h>

#include "hz4/extent.h"
#include "hz4/guard.h"
#include "hz4/guarded.h"
#include "hz4/limit.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/policy.h"
#include "hz4/segment.h"
#include "hz4/span.h"

static struct hz4_lock lock = HZ4_LOCK_INIT(HZ4_RANK_LARGE);

// Under lock.
static struct hz4_extents book;
static struct hz4_extent *spares;  // descriptors that describe nothing, linked by next
static unsigned spare_count;
static struct hz4_policy_large policy;

static _Atomic(uint64_t) allocs, frees, cache_hits, live_bytes, moved, grown_in_place;
static _Atomic(uint32_t) islands;

// Ranges on their way into the book: what is freed while fork has the lock, and the rest of new mappings. Pushed by anybody,
// taken as a whole under the lock: so no ABA.
static _Atomic(struct hz4_extent *) returned;

// ---- descriptors: of a block (struct hz4_span) or of a free range ----

#define DESCRIPTOR_BYTES \
  (sizeof(struct hz4_span) > sizeof(struct hz4_extent) ? sizeof(struct hz4_span) : sizeof(struct hz4_extent))

static void recycle_locked(struct hz4_extent *extent) {
  if (spare_count == HZ4_LARGE_SPARES) {
    hz4_meta_free(extent, DESCRIPTOR_BYTES);
    return;
  }
  extent->next = spares;
  spares = extent;
  ++spare_count;
}

static struct hz4_extent *take_spare_locked(void) {
  struct hz4_extent *extent = spares;
  spares = extent->next;
  --spare_count;
  return extent;
}

static struct hz4_span *to_span(void *descriptor, char *base, size_t bytes, uint32_t island) {
  struct hz4_span *span = memset(descriptor, 0, DESCRIPTOR_BYTES);
  span->base = base;
  span->bytes = bytes;
  span->island = island;
  span->kind = HZ4_SPAN_MAPPED;
  return span;
}

static struct hz4_extent *to_extent(void *descriptor, char *base, size_t bytes, uint32_t island,
                                    enum hz4_extent_state state) {
  struct hz4_extent *extent = memset(descriptor, 0, DESCRIPTOR_BYTES);
  extent->base = base;
  extent->bytes = bytes;
  extent->island = island;
  extent->state = (uint8_t)state;
  return extent;
}

// ---- the lock ----

static void put_locked(struct hz4_extent *extent) {
  hz4_lock_assert_held(&lock);
  struct hz4_extent *unneeded = hz4_extents_put(&book, extent);
  while (unneeded != NULL) {
    struct hz4_extent *next = unneeded->next;
    recycle_locked(unneeded);
    unneeded = next;
  }
}

// False: fork holds the lock.
static bool enter(void) {
  if (!hz4_lock_enter(&lock)) return false;
  if (HZ4_LIKELY(hz4_load_relaxed(&returned) == NULL)) return true;
  struct hz4_extent *extent = hz4_exchange_acquire(&returned, NULL);  // pairs with give_back
  while (extent != NULL) {
    struct hz4_extent *next = extent->next;
    put_locked(extent);
    extent = next;
  }
  return true;
}

// The same, with at least two spare descriptors. False also when there is no memory for them.
static bool enter_with_spares(void) {
  if (!enter()) return false;
  while (spare_count < 2) {
    hz4_lock_release(&lock);
    struct hz4_extent *more = hz4_meta_alloc(DESCRIPTOR_BYTES);
    if (more == NULL) return false;
    if (!enter()) {
      hz4_meta_free(more, DESCRIPTOR_BYTES);
      return false;
    }
    recycle_locked(more);
  }
  return true;
}

static void give_back(struct hz4_extent *extent) {
  extent->next = hz4_load_relaxed(&returned);
  // Release: publishes the range to enter.
  while (!hz4_cas_weak_release(&returned, &extent->next, extent)) continue;
}

// ---- what is kept ----

// So much is taken for a block, out of dirty memory or not.
static void note_taken_locked(size_t bytes, bool dirty) {
  hz4_policy_large_taken(&policy, bytes, dirty, book.bytes[HZ4_EXTENT_DIRTY] - (dirty ? bytes : 0));
}

static size_t excess(size_t have, size_t limit) {
  return have > limit ? have - limit : 0;
}

// How many dirty bytes are too many.
static size_t dirty_excess_locked(void) {
  size_t dirty = book.bytes[HZ4_EXTENT_DIRTY];
  return excess(dirty, hz4_policy_large_dirty(&policy, hz4_load_relaxed(&live_bytes), dirty));
}

static size_t address_excess_locked(void) {
  size_t kept = book.bytes[HZ4_EXTENT_CLEAN] + book.bytes[HZ4_EXTENT_FRESH];
  size_t over = excess(kept, hz4_policy_large_addresses(&policy));
  size_t over_share = excess(kept + book.bytes[HZ4_EXTENT_DIRTY], hz4_os_address_limit() >> HZ4_LARGE_ADDRESS_SHIFT);
  return over > over_share ? over : over_share;
}

// Takes `bytes` of the range that came first, or all of it, out of the book.
static struct hz4_extent *cut_oldest_locked(enum hz4_extent_state state, size_t bytes) {
  struct hz4_extent *oldest = hz4_extents_oldest(&book, state), *cut = oldest;
  bytes = hz4_round_up(bytes < HZ4_LARGE_BATCH_BYTES ? HZ4_LARGE_BATCH_BYTES : bytes, HZ4_PAGE_BYTES);
  if (bytes > oldest->bytes || spare_count == 0) bytes = oldest->bytes;
  uint32_t island = oldest->island;
  bool all = bytes == oldest->bytes;
  char *base = hz4_extents_cut_end(&book, oldest, bytes);
  if (!all) cut = take_spare_locked();
  return to_extent(cut, base, bytes, island, state);
}

// What must go back to the system now, out of the book; NULL: nothing.
static struct hz4_extent *cut_excess_locked(bool *unmap) {
  size_t over = dirty_excess_locked();
  *unmap = over == 0;
  if (over != 0) {
    struct hz4_extent *cut = cut_oldest_locked(HZ4_EXTENT_DIRTY, over);
    hz4_policy_large_purged(&policy, cut->bytes);
    *unmap = cut->island != 0;
    return cut;
  }
  over = address_excess_locked();
  if (over == 0) return NULL;
  for (int state = HZ4_EXTENT_STATES - 1; state >= 0; --state) {
    if (book.bytes[state] != 0) return cut_oldest_locked((enum hz4_extent_state)state, over);
  }
  return NULL;
}

// Gives a range's memory back to the system, and its addresses too if `unmap`, or if it does not take the memory alone.
// False: it took nothing. The range's state is then as before, or it is clean; NULL: it is no more.
static bool release(struct hz4_extent **range, bool unmap) {
  struct hz4_extent *extent = *range;
  size_t counted = extent->state == HZ4_EXTENT_DIRTY ? extent->bytes : 0;
  bool purged = !unmap && hz4_os_purge(extent->base, extent->bytes);
  if (!purged) {
    hz4_unpoison(extent->base, extent->bytes);  // before anybody else can get the addresses
    if (hz4_os_unmap(extent->base, extent->bytes)) {
      hz4_limit_give(counted);
      hz4_meta_free(extent, DESCRIPTOR_BYTES);
      *range = NULL;
      return true;
    }
    hz4_poison(extent->base, extent->bytes);
    purged = unmap && extent->state == HZ4_EXTENT_DIRTY && hz4_os_purge(extent->base, extent->bytes);
  }
  if (!purged) return false;
  hz4_limit_give(counted);
  extent->state = HZ4_EXTENT_CLEAN;
  return true;
}

// All that must go back goes; leaves the lock meanwhile.
static void settle_locked(void) {
  bool unmap, went = true;
  struct hz4_extent *extent;
  while (went && (extent = cut_excess_locked(&unmap)) != NULL) {
    struct hz4_away away;
    hz4_lock_leave(&lock, &away);
    went = release(&extent, unmap);
    hz4_lock_return(&away);
    if (extent != NULL) put_locked(extent);
  }
}

// ---- blocks ----

// Takes a block out of a range that it fits in.
static struct hz4_span *cut_block_locked(struct hz4_extent *extent, size_t bytes, size_t align) {
  uint32_t island = extent->island;
  size_t lead = (size_t)(hz4_round_up((uintptr_t)extent->base, align) - (uintptr_t)extent->base);
  if (lead != 0) {
    char *base = hz4_extents_cut(&book, extent, lead);
    enum hz4_extent_state state = (enum hz4_extent_state)extent->state;
    hz4_extents_remove(&book, extent);
    put_locked(to_extent(take_spare_locked(), base, lead, island, state));
    if (extent->bytes != bytes) {
      put_locked(to_extent(take_spare_locked(), extent->base + bytes, extent->bytes - bytes, island, state));
    }
    return to_span(extent, extent->base, bytes, island);
  }
  void *descriptor = extent->bytes == bytes ? extent : take_spare_locked();
  return to_span(descriptor, hz4_extents_cut(&book, extent, bytes), bytes, island);
}

// The range to take a block from; NULL: new memory is needed. *zeroed as for hz4_large_alloc.
static struct hz4_extent *choose_locked(size_t bytes, size_t align, bool *zeroed) {
  struct hz4_extent *extent = NULL;
  if (*zeroed) {
    // What the system says that it purged is not trusted to be zero, and to clear much would bring all of it into memory.
    if ((extent = hz4_extents_find(&book, HZ4_EXTENT_FRESH, bytes, align)) != NULL) return extent;
    if (bytes > HZ4_LARGE_CLEAR_MAX) return NULL;
  }
  *zeroed = false;
  if ((extent = hz4_extents_find(&book, HZ4_EXTENT_DIRTY, bytes, align)) != NULL) {
    hz4_fetch_add_relaxed(&cache_hits, 1);
    return extent;
  }
  if ((extent = hz4_extents_find(&book, HZ4_EXTENT_CLEAN, bytes, align)) != NULL) return extent;
  *zeroed = true;
  return hz4_extents_find(&book, HZ4_EXTENT_FRESH, bytes, align);
}

// New memory, of which any page may be the first of a block. NULL: no memory.
static char *map_exactly(size_t bytes, size_t align) {
  char *base = hz4_os_map(bytes, align);
  if (base == NULL || hz4_pagemap_reserve(base, bytes >> HZ4_PAGE_SHIFT)) return base;
  hz4_os_unmap(base, bytes);
  return NULL;
}

// At least `bytes`; what is too much is given back.
static char *map(size_t bytes, size_t align, size_t growth) {
  size_t mapped = bytes < growth ? growth : bytes;
  char *base = map_exactly(mapped, align);
  if (base == NULL && mapped > bytes) base = map_exactly(mapped = bytes, align);
  if (base == NULL || mapped == bytes) return base;
  struct hz4_extent *rest = hz4_meta_alloc(DESCRIPTOR_BYTES);
  if (rest == NULL) {
    hz4_os_unmap(base + bytes, mapped - bytes);
  } else {
    hz4_poison(base + bytes, mapped - bytes);
    give_back(to_extent(rest, base + bytes, mapped - bytes, 0, HZ4_EXTENT_FRESH));
  }
  return base;
}

// A block of new memory.
static struct hz4_span *map_block(size_t bytes, size_t align, size_t growth) {
  if (!hz4_limit_take(bytes)) return NULL;
  void *descriptor = hz4_meta_alloc(DESCRIPTOR_BYTES);
  char *base = descriptor != NULL ? map(bytes, align, growth) : NULL;
  if (base == NULL) {
    if (descriptor != NULL) hz4_meta_free(descriptor, DESCRIPTOR_BYTES);
    hz4_limit_give(bytes);
    return NULL;
  }
  hz4_segment_purge(HZ4_SEGMENT_KEEP_NO_REFAULT);
  return to_span(descriptor, base, bytes, 0);
}

// New memory comes in pieces that grow with what there is: so that there are fewer calls and mappings.
static size_t growth_locked(void) {
  size_t all = hz4_load_relaxed(&live_bytes);
  for (int state = 0; state < HZ4_EXTENT_STATES; ++state) all += book.bytes[state];
  size_t growth = hz4_round_up(all >> HZ4_LARGE_GROWTH_SHIFT, HZ4_PAGE_BYTES);
  return growth < HZ4_LARGE_GROWTH_MAX ? growth : HZ4_LARGE_GROWTH_MAX;
}

static struct hz4_span *take_block(size_t bytes, size_t align, bool *zeroed) {
  if (!enter_with_spares()) {
    *zeroed = true;
    return map_block(bytes, align, bytes);
  }
  struct hz4_extent *extent = choose_locked(bytes, align, zeroed);
  bool dirty = extent != NULL && extent->state == HZ4_EXTENT_DIRTY;
  if (extent != NULL && !dirty && !hz4_limit_take(bytes)) {
    hz4_lock_release(&lock);
    return NULL;
  }
  note_taken_locked(bytes, dirty);
  if (extent != NULL) {
    struct hz4_span *span = cut_block_locked(extent, bytes, align);
    hz4_lock_release(&lock);
    return span;
  }
  *zeroed = true;
  size_t growth = growth_locked();
  struct hz4_away away;
  hz4_lock_leave(&lock, &away);
  struct hz4_span *span = map_block(bytes, align, growth);
  hz4_lock_return(&away);
  hz4_lock_release(&lock);
  return span;
}

// A range that was live.
static void put(struct hz4_extent *extent) {
  hz4_poison(extent->base, extent->bytes);
  bool entered = enter();
  uint64_t live = hz4_fetch_sub_relaxed(&live_bytes, extent->bytes);
  if (!entered) {
    give_back(extent);
    return;
  }
  hz4_policy_large_freed(&policy, live);
  put_locked(extent);
  settle_locked();
  hz4_lock_release(&lock);
}

// From here on the block is live.
static void *begin(struct hz4_span *span) {
  hz4_unpoison(span->base, span->bytes);
  hz4_fetch_add_relaxed(&live_bytes, span->bytes);
  hz4_fetch_add_relaxed(&allocs, 1);
  hz4_pagemap_set(span->base, 1, span, 0);  // only the block's own address is ever looked up
  return span->base;
}

// ---- interface ----

void *hz4_large_alloc(size_t bytes, size_t align, bool *zeroed) {
  struct hz4_span *span;
  if (HZ4_UNLIKELY(hz4_guards)) {
    *zeroed = true;
    span = hz4_guarded_map(bytes, align);
    if (span != NULL && !hz4_limit_take(span->bytes)) {
      hz4_guarded_free(span);
      span = NULL;
    }
  } else {
    if (align < HZ4_PAGE_BYTES) align = HZ4_PAGE_BYTES;
    span = take_block(hz4_round_up(bytes, HZ4_PAGE_BYTES), align, zeroed);
  }
  return span != NULL ? begin(span) : NULL;
}

void *hz4_large_reuse(size_t bytes) {
  if (hz4_guards || bytes <= HZ4_LARGE_REUSE_MIN || bytes > PTRDIFF_MAX / HZ4_LARGE_ROOM) return NULL;
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);
  if (!enter_with_spares()) return NULL;
  struct hz4_extent *extent = hz4_extents_find(&book, HZ4_EXTENT_DIRTY, bytes * HZ4_LARGE_ROOM, HZ4_PAGE_BYTES);
  struct hz4_span *span = NULL;
  if (extent != NULL) {
    note_taken_locked(bytes, true);
    hz4_fetch_add_relaxed(&cache_hits, 1);
    span = cut_block_locked(extent, bytes, HZ4_PAGE_BYTES);
  }
  hz4_lock_release(&lock);
  return span != NULL ? begin(span) : NULL;
}

void hz4_large_free(struct hz4_span *span) {
  hz4_fetch_add_relaxed(&frees, 1);
  hz4_pagemap_set(span->base, 1, NULL, 0);
  if (HZ4_UNLIKELY(span->guard_shift != 0)) {
    hz4_fetch_sub_relaxed(&live_bytes, span->bytes);
    hz4_limit_give(span->bytes);
    hz4_guarded_free(span);
    return;
  }
  put(to_extent(span, span->base, span->bytes, span->island, HZ4_EXTENT_DIRTY));
}

static void grown(struct hz4_span *span, size_t bytes) {
  hz4_fetch_add_relaxed(&live_bytes, bytes - span->bytes);
  span->bytes = bytes;
}

// Its end becomes a free range. False: there is no memory for the books.
static bool shrink(struct hz4_span *span, size_t bytes) {
  void *descriptor = hz4_meta_alloc(DESCRIPTOR_BYTES);
  if (descriptor == NULL) return false;
  char *end = span->base + bytes;
  size_t rest = span->bytes - bytes;
  span->bytes = bytes;
  put(to_extent(descriptor, end, rest, span->island, HZ4_EXTENT_DIRTY));
  return true;
}

// Into the free range behind it.
static bool grow_here(struct hz4_span *span, size_t bytes) {
  if (!enter()) return false;
  char *end = span->base + span->bytes;
  size_t more = bytes - span->bytes;
  struct hz4_extent *next = hz4_extents_at(&book, end);
  bool fits = next != NULL && next->bytes >= more && next->island == span->island;
  bool dirty = fits && next->state == HZ4_EXTENT_DIRTY;
  fits = fits && (dirty || hz4_limit_take(more));
  if (fits) {
    bool all = next->bytes == more;
    note_taken_locked(more, dirty);
    hz4_extents_cut(&book, next, more);
    if (all) recycle_locked(next);
  }
  hz4_lock_release(&lock);
  if (fits) hz4_unpoison(end, more);
  return fits;
}

static void *move_guarded(struct hz4_span *span, size_t bytes) {
  size_t have = span->bytes;
  if (!hz4_limit_take(bytes - have)) return NULL;
  hz4_pagemap_set(span->base, 1, NULL, 0);
  bool done = hz4_guarded_grow(span, bytes);
  hz4_pagemap_set(span->base, 1, span, 0);
  if (!done) {
    hz4_limit_give(bytes - have);
    return NULL;
  }
  hz4_limit_take_anyway(span->bytes - bytes);
  hz4_fetch_add_relaxed(&moved, 1);
  hz4_fetch_add_relaxed(&live_bytes, span->bytes - have);
  return span->base;
}

static void *move(struct hz4_span *span, size_t bytes) {
  char *to = map_exactly(bytes, HZ4_PAGE_BYTES);
  if (to == NULL) return NULL;
  hz4_pagemap_set(span->base, 1, NULL, 0);  // before: another thread may have the address right after the move
  if (!hz4_os_move(span->base, span->bytes, to, bytes)) {
    hz4_pagemap_set(span->base, 1, span, 0);
    return NULL;
  }
  hz4_fetch_add_relaxed(&moved, 1);
  span->base = to;
  span->island = hz4_fetch_add_relaxed(&islands, 1) + 1;
  grown(span, bytes);
  hz4_pagemap_set(to, 1, span, 0);
  return to;
}

void *hz4_large_resize(struct hz4_span *span, size_t bytes) {
  size_t have = span->bytes;
  if (bytes <= have && bytes > have / 2) return span->base;
  if (bytes < have && bytes <= HZ4_CLASS_MAX_BYTES) return NULL;
  if (HZ4_UNLIKELY(span->guard_shift != 0)) return bytes > have ? move_guarded(span, bytes) : NULL;
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);
  if (bytes < have) return shrink(span, bytes) ? span->base : NULL;
  if (!grow_here(span, bytes)) {
    if (!hz4_limit_take(bytes - have)) return NULL;
    enum hz4_os_resized result = hz4_os_resize(span->base, have, bytes);
    // Any page may be the first of a block later. (Reserved after: or else the page map's own memory could be in the way.)
    if (result == HZ4_OS_RESIZED && !hz4_pagemap_reserve(span->base, bytes >> HZ4_PAGE_SHIFT)) {
      hz4_os_unmap(span->base + have, bytes - have);
      result = HZ4_OS_REFUSED;
    }
    if (result != HZ4_OS_RESIZED) {
      void *moved_to = result == HZ4_OS_NO_ROOM ? move(span, bytes) : NULL;
      if (moved_to == NULL) hz4_limit_give(bytes - have);
      return moved_to;
    }
  }
  hz4_fetch_add_relaxed(&grown_in_place, 1);
  grown(span, bytes);
  return span->base;
}

void *hz4_large_shrink(struct hz4_span *span, size_t bytes) {
  bytes = hz4_round_up(bytes, HZ4_PAGE_BYTES);
  return span->guard_shift == 0 && (bytes == span->bytes || shrink(span, bytes)) ? span->base : NULL;
}

bool hz4_large_may_hold(const struct hz4_span *span, size_t bytes) {
  // realloc leaves a block where it is that has at most twice the pages that it needs.
  return bytes <= span->bytes && hz4_round_up(bytes != 0 ? bytes : 1, HZ4_PAGE_BYTES) * 2 >= span->bytes;
}

bool hz4_large_trim(void) {
  bool any = hz4_guarded_trim();
  if (!enter()) return any;
  struct hz4_extent *all = NULL;
  for (int state = 0; state < HZ4_EXTENT_STATES; ++state) {
    struct hz4_extent *extent;
    while ((extent = hz4_extents_oldest(&book, (enum hz4_extent_state)state)) != NULL) {
      hz4_extents_remove(&book, extent);
      extent->next = all;
      all = extent;
    }
  }
  policy = (struct hz4_policy_large){0};
  struct hz4_away away;
  hz4_lock_leave(&lock, &away);
  while (all != NULL) {
    struct hz4_extent *extent = all;
    all = extent->next;
    any |= release(&extent, true);
    if (extent != NULL) give_back(extent);
  }
  hz4_lock_return(&away);
  hz4_lock_release(&lock);
  return any;
}

void hz4_large_stats(struct hz4_large_stats *out) {
  *out = (struct hz4_large_stats){.retained_bytes = hz4_guarded_bytes()};
  if (enter()) {
    out->cached_bytes = book.bytes[HZ4_EXTENT_DIRTY];
    out->retained_bytes += book.bytes[HZ4_EXTENT_CLEAN] + book.bytes[HZ4_EXTENT_FRESH];
    out->keep_bytes = hz4_policy_large_keep(&policy);
    hz4_lock_release(&lock);
  }
  out->allocs = hz4_load_relaxed(&allocs);
  out->frees = hz4_load_relaxed(&frees);
  out->cache_hits = hz4_load_relaxed(&cache_hits);
  out->live_mapped_bytes = hz4_load_relaxed(&live_bytes);
  out->moved = hz4_load_relaxed(&moved);
  out->grown_in_place = hz4_load_relaxed(&grown_in_place);
}

static const char *broken_locked(void) {
  const char *broken = hz4_extents_broken(&book);
  HZ4_HOLDS(broken == NULL, broken);
  for (int state = 0; state < HZ4_EXTENT_STATES; ++state) {
    struct hz4_extent *oldest = book.by_age[state], *extent = oldest;
    for (bool more = oldest != NULL; more; more = (extent = extent->newer) != oldest) {
      HZ4_HOLDS(hz4_pagemap_span(extent->base) == NULL, "large: a free range is in the page map");
    }
  }
  return NULL;
}

void hz4_large_check(void) {
  if (!enter()) return;
  const char *broken = broken_locked();
  hz4_lock_release(&lock);
  if (broken != NULL) hz4_panic(broken);
}

void hz4_large_fork(void (*act)(struct hz4_lock *lock)) {
  act(&lock);
}
