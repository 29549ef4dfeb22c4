#include "hz4/slots.h"

#include <string.h>

#include "hz4/guard.h"
#include "hz4/guarded.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/span.h"
#include "hz4/stack.h"
#include "hz4/sys.h"

struct event {
  uint32_t depth;
  uintptr_t stack[HZ4_SLOT_FRAMES];
};

// By who has the slot. (A report reads them without: of a program that goes on it may be wrong.)
struct slot {
  _Atomic(struct hz4_sample *) sample;  // NULL: it is not live
  char *block;
  size_t size;  // 0: it never was
  struct event allocated, freed;
};

static struct hz4_span pool = {.kind = HZ4_SPAN_SLOTS};
static size_t slot_bytes, stride;  // without, and with, the page behind it
static struct slot *slots;         // NULL: there is no pool
static bool by_marks;              // MADV_GUARD_INSTALL
static _Atomic(uint64_t) order[HZ4_SLOTS];
static _Atomic(uint64_t) last_order;

// ---- pages ----

static bool forbid(char *base, size_t bytes) {
  if (by_marks) return hz4_sys_guard(base, bytes);
  hz4_sys_purge(base, bytes);
  return hz4_sys_forbid(base, bytes);
}

// Afterwards they are zero. (Of what was purged that is not sure.)
static bool allow(char *base, size_t bytes) {
  if (by_marks) return hz4_sys_unguard(base, bytes);
  if (!hz4_sys_allow(base, bytes)) return false;
  memset(base, 0, bytes);
  return true;
}

bool hz4_slots_begin(void) {
  if (slots != NULL) return true;
  size_t page = hz4_sys_page_bytes();
  slot_bytes = hz4_round_up(HZ4_SLOT_BYTES_MAX, page);
  stride = slot_bytes + page;
  size_t bytes = hz4_round_up(page + HZ4_SLOTS * stride, HZ4_PAGE_BYTES);
  pool.base = hz4_os_map(bytes, HZ4_PAGE_BYTES);
  if (pool.base == NULL) return false;
  pool.bytes = bytes;
  struct slot *memory = hz4_meta_alloc(HZ4_SLOTS * sizeof(struct slot));
  by_marks = hz4_guard_note(pool.base, bytes);
  bool is_ready = memory != NULL && hz4_pagemap_reserve(pool.base, bytes >> HZ4_PAGE_SHIFT);
  if (!is_ready || !(by_marks || forbid(pool.base, bytes))) {
    if (memory != NULL) hz4_meta_free(memory, HZ4_SLOTS * sizeof(struct slot));
    hz4_os_unmap(pool.base, bytes);
    return false;
  }
  hz4_pagemap_set(pool.base, bytes >> HZ4_PAGE_SHIFT, &pool, 0);
  for (uint64_t i = 0; i < HZ4_SLOTS; ++i) hz4_store_relaxed(&order[i], i + 1);
  hz4_store_relaxed(&last_order, HZ4_SLOTS);
  slots = memory;
  return true;
}

static char *base_of(size_t index) {
  return pool.base + hz4_sys_page_bytes() + index * stride;
}

// The slot that the address is in; that before it where it is in the first half of a page between two.
static size_t index_of(const void *address) {
  size_t page = hz4_sys_page_bytes(), offset = (size_t)((const char *)address - pool.base);
  size_t index = offset < page ? 0 : (offset - page / 2) / stride;
  return index < HZ4_SLOTS ? index : HZ4_SLOTS - 1;
}

// The pages that an object lies in.
static char *pages_of(const struct slot *slot, size_t *bytes) {
  uintptr_t page = hz4_sys_page_bytes(), first = (uintptr_t)slot->block & -page;
  *bytes = hz4_round_up((uintptr_t)slot->block + slot->size, page) - first;
  return (char *)first;
}

// ---- objects ----

// The slot that has been free for longest. False: there is none.
static bool take_slot(size_t *out) {
  for (;;) {
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < HZ4_SLOTS; ++i) {
      uint64_t when = hz4_load_relaxed(&order[i]);
      if (when == 0 || when >= least) continue;
      least = when;
      *out = i;
    }
    if (least == UINT64_MAX) return false;
    if (hz4_cas_strong_acquire(&order[*out], &least, 0)) return true;  // pairs with give_slot: all of it
  }
}

static void give_slot(size_t index) {
  hz4_store_release(&order[index], hz4_fetch_add_relaxed(&last_order, 1) + 1);
}

void *hz4_slots_alloc(size_t size, size_t align, bool at_end, const uintptr_t *stack, uint32_t depth) {
  size_t index = 0, bytes;
  if (slots == NULL || size > HZ4_SLOT_BYTES_MAX || align > hz4_sys_page_bytes() || !take_slot(&index)) return NULL;
  struct slot *slot = &slots[index];
  slot->block = base_of(index);
  if (at_end) slot->block = (char *)(((uintptr_t)slot->block + slot_bytes - size) & -(uintptr_t)align);
  slot->size = size;
  slot->freed.depth = 0;
  slot->allocated.depth = depth < HZ4_SLOT_FRAMES ? depth : HZ4_SLOT_FRAMES;
  for (uint32_t i = 0; i < slot->allocated.depth; ++i) slot->allocated.stack[i] = stack[i];
  char *first = pages_of(slot, &bytes);
  if (allow(first, bytes)) return slot->block;
  slot->size = 0;
  give_slot(index);
  return NULL;
}

_Atomic(struct hz4_sample *) *hz4_slots_sample(const void *ptr) {
  struct slot *slot = &slots[index_of(ptr)];
  return slot->size != 0 && slot->block == ptr ? &slot->sample : NULL;
}

const char *hz4_slots_wrong_free(const void *ptr) {
  const struct slot *slot = &slots[index_of(ptr)];
  const char *at = ptr;
  bool is_in_object = slot->size != 0 && at >= slot->block && at < slot->block + slot->size;
  if (!is_in_object) return "free of a pointer that is not allocated";
  if (at != slot->block) return "free of a pointer into the middle of an object";
  return "double free";
}

static bool is_zero(const char *from, const char *to) {
  for (; from < to; ++from) {
    if (*from != 0) return false;
  }
  return true;
}

const char *hz4_slots_free(void *ptr, const void *frame) {
  size_t index = index_of(ptr), bytes;
  struct slot *slot = &slots[index];
  char *first = pages_of(slot, &bytes), *end = slot->block + slot->size;
  const char *wrong = NULL;
  if (!is_zero(first, slot->block)) wrong = "write before the beginning of a block";
  if (!is_zero(end, first + bytes)) wrong = "write past the end of a block";
  slot->freed.depth = hz4_stack_take(frame, slot->freed.stack, HZ4_SLOT_FRAMES);
  // Where it fails the slot is not used again: the object could be touched still, but hurts nobody.
  if (forbid(first, bytes)) give_slot(index);
  return wrong;
}

// ---- reports ----

bool hz4_slots_find(const void *address, struct hz4_guarded_block *out) {
  if (slots == NULL || (uintptr_t)address - (uintptr_t)pool.base >= pool.bytes) return false;
  const struct slot *slot = &slots[index_of(address)];
  if (slot->size == 0) return false;
  *out = (struct hz4_guarded_block){
      .base = slot->block,
      .bytes = slot->size,
      .is_freed = slot->freed.depth != 0,
      .allocated_at = slot->allocated.stack,
      .allocated_depth = slot->allocated.depth,
      .freed_at = slot->freed.stack,
      .freed_depth = slot->freed.depth,
  };
  return true;
}
