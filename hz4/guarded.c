#include "hz4/guarded.h"

#include "hz4/guard.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/span.h"
#include "hz4/sys.h"

// What was freed, the oldest where the next one goes.
static _Atomic(struct hz4_span *) quarantine[HZ4_QUARANTINE_BLOCKS];
static _Atomic(uint32_t) next_slot;
static _Atomic(size_t) quarantined_bytes;

// The mapping of a block: the guard before, system pages that hold the block, the guard behind, up to a whole page.
struct place {
  char *base, *body;
  size_t bytes, body_bytes;
};

static size_t place_bytes(size_t lead, size_t body_bytes) {
  return hz4_round_up(lead + body_bytes + hz4_sys_page_bytes(), HZ4_PAGE_BYTES);
}

static struct place place_of(const struct hz4_span *span) {
  size_t lead = (size_t)1 << span->guard_shift, page = hz4_sys_page_bytes();
  char *body = (char *)((uintptr_t)span->base & -page);
  size_t body_bytes = (size_t)(span->base + span->bytes - body);
  return (struct place){body - lead, body, place_bytes(lead, body_bytes), body_bytes};
}

// NULL base: no memory.
static struct place map_place(size_t lead, size_t body_bytes) {
  struct place place = {NULL, NULL, place_bytes(lead, body_bytes), body_bytes};
  char *base = hz4_os_map(place.bytes, lead > HZ4_PAGE_BYTES ? lead : HZ4_PAGE_BYTES);
  if (base == NULL) return place;
  if (!hz4_pagemap_reserve(base, place.bytes >> HZ4_PAGE_SHIFT)) {
    hz4_os_unmap(base, place.bytes);
    return place;
  }
  hz4_guard_install(base, lead);
  hz4_guard_install(base + lead + body_bytes, place.bytes - lead - body_bytes);
  place.base = base;
  place.body = base + lead;
  return place;
}

struct hz4_span *hz4_guarded_map(size_t bytes, size_t align) {
  struct hz4_span *span = hz4_meta_alloc(sizeof(*span));
  if (span == NULL) return NULL;
  size_t page = hz4_sys_page_bytes(), lead = align > page ? align : page, step = align < page ? align : page;
  struct place place = {0};
  if (bytes <= PTRDIFF_MAX - lead) place = map_place(lead, hz4_round_up(bytes, page));
  if (place.base == NULL) {
    hz4_meta_free(span, sizeof(*span));
    return NULL;
  }
  span->kind = HZ4_SPAN_MAPPED;
  span->guard_shift = (uint8_t)__builtin_ctzll(lead);
  span->bytes = hz4_round_up(bytes, step);
  span->base = place.body + place.body_bytes - span->bytes;
  return span;
}

static void unmap(struct hz4_span *span) {
  struct place place = place_of(span);
  hz4_unpoison(span->base, span->bytes);
  if (hz4_os_unmap(place.base, place.bytes)) hz4_guard_gone(2);  // or else addresses are lost
  hz4_meta_free(span, sizeof(*span));
}

// Puts `span` in the next slot, NULL to empty it. True when there was another, which is unmapped.
static bool exchange_next(struct hz4_span *span) {
  _Atomic(struct hz4_span *) *slot = &quarantine[hz4_fetch_add_relaxed(&next_slot, 1) % HZ4_QUARANTINE_BLOCKS];
  // Acq_rel: publishes the descriptor to whoever finds it there.
  struct hz4_span *oldest = hz4_exchange_acq_rel(slot, span);
  if (oldest == NULL) return false;
  hz4_fetch_sub_relaxed(&quarantined_bytes, place_of(oldest).bytes);
  unmap(oldest);
  return true;
}

void hz4_guarded_free(struct hz4_span *span) {
  struct place place = place_of(span);
  size_t most = hz4_os_address_limit() >> HZ4_LARGE_ADDRESS_SHIFT;
  if (most > HZ4_QUARANTINE_BYTES) most = HZ4_QUARANTINE_BYTES;
  if (place.bytes > most || !hz4_guard_forbid(place.body, place.body_bytes)) {
    unmap(span);
    return;
  }
  hz4_poison(span->base, span->bytes);
  hz4_fetch_add_relaxed(&quarantined_bytes, place.bytes);
  exchange_next(span);
  for (int i = 1; hz4_load_relaxed(&quarantined_bytes) > most && i < HZ4_QUARANTINE_BLOCKS; ++i) exchange_next(NULL);
}

static void unmap_guards(struct place place) {
  char *end = place.body + place.body_bytes;
  hz4_os_unmap(place.base, (size_t)(place.body - place.base));
  hz4_os_unmap(end, (size_t)(place.base + place.bytes - end));
  hz4_guard_gone(2);
}

bool hz4_guarded_grow(struct hz4_span *span, size_t bytes) {
  struct place old = place_of(span);
  size_t before = (size_t)(span->base - old.body), lead = (size_t)(old.body - old.base);
  size_t body_bytes = hz4_round_up(before + bytes, hz4_sys_page_bytes());
  // It cannot grow there, for there is a guard: this asks whether it can be moved.
  if (hz4_os_resize(old.body, old.body_bytes, body_bytes) != HZ4_OS_NO_ROOM) return false;
  struct place place = map_place(lead, body_bytes);
  if (place.base == NULL) return false;
  bool moved = hz4_os_move(old.body, old.body_bytes, place.body, body_bytes);
  unmap_guards(moved ? old : place);
  if (!moved) return false;
  span->base = place.body + before;
  span->bytes = body_bytes - before;
  return true;
}

void *hz4_guarded_nothing(size_t bytes) {
  char *base = hz4_os_map(bytes, HZ4_PAGE_BYTES);
  if (base == NULL) return NULL;
  if (!hz4_pagemap_reserve(base, bytes >> HZ4_PAGE_SHIFT)) {
    hz4_os_unmap(base, bytes);
    return NULL;
  }
  hz4_sys_forbid(base, bytes);
  hz4_poison(base, bytes);
  return base;
}

size_t hz4_guarded_bytes(void) {
  return hz4_load_relaxed(&quarantined_bytes);
}

static bool tell(const struct hz4_span *span, const void *address, bool is_freed, struct hz4_guarded_block *out) {
  struct place place = place_of(span);
  if ((uintptr_t)address - (uintptr_t)place.base >= place.bytes) return false;
  *out = (struct hz4_guarded_block){.base = span->base, .bytes = span->bytes, .is_freed = is_freed};
  return true;
}

bool hz4_guarded_find(const void *address, struct hz4_guarded_block *out) {
  if (!hz4_guards) return false;
  for (int i = 0; i < HZ4_QUARANTINE_BLOCKS; ++i) {
    const struct hz4_span *span = hz4_load_acquire(&quarantine[i]);  // pairs with exchange_next
    if (span != NULL && tell(span, address, true, out)) return true;
  }
  // Of a block only the page where it begins is in the page map.
  for (size_t back = 0; back < HZ4_GUARD_LOOK_BYTES && back <= (uintptr_t)address; back += HZ4_PAGE_BYTES) {
    const struct hz4_span *span = hz4_pagemap_find((const void *)((uintptr_t)address - back));
    if (span == NULL) continue;
    return span->kind == HZ4_SPAN_MAPPED && span->guard_shift != 0 && tell(span, address, false, out);
  }
  return false;
}

bool hz4_guarded_trim(void) {
  bool any = false;
  for (int i = 0; i < HZ4_QUARANTINE_BLOCKS; ++i) any |= exchange_next(NULL);
  return any;
}
