// slots: who takes a slot has it for himself, with all that who had it before has left; none is lost, and none is had twice.
#include "hz4/slots.h"

#include "hz4/guard.h"
#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/span.h"
#include "hz4/stack.h"
#include "hz4/sys.h"
#include "hz4/weave/weave.h"

#define PAGE 4096

// ---- what is beneath ----

void *hz4_meta_alloc(size_t bytes) {
  return hz4_os_map(bytes, PAGE);
}
void hz4_meta_free(void *block, size_t bytes) {
  hz4_os_unmap(block, bytes);
}
bool hz4_pagemap_reserve(const void *base, size_t pages) {
  return base != NULL && pages != 0;
}
void hz4_pagemap_set(const void *base, size_t pages, struct hz4_span *span, uint32_t size_class) {
  weave_check(base == span->base && pages != 0 && size_class == 0);
}
bool hz4_sys_guard(void *base, size_t bytes) {
  return base != NULL && bytes != 0;
}
bool hz4_sys_unguard(void *base, size_t bytes) {
  return base != NULL && bytes == PAGE;
}
bool hz4_sys_forbid(void *base, size_t bytes) {
  return base != NULL && bytes != 0;
}
bool hz4_sys_allow(void *base, size_t bytes) {
  return base != NULL && bytes != 0;
}
bool hz4_sys_purge(void *base, size_t bytes) {
  return base != NULL && bytes != 0;
}
bool hz4_guard_note(void *base, size_t bytes) {
  return base != NULL && bytes != 0;
}
uint32_t hz4_stack_take(const void *frame, uintptr_t *out, uint32_t max) {
  weave_check(max != 0);
  out[0] = (uintptr_t)frame;
  return 1;
}

// ---- threads ----

static _Atomic(unsigned) refused;

// A whole page, so that no byte beside it is looked at.
static void *take(void) {
  uintptr_t stack = 1;
  return hz4_slots_alloc(PAGE, 16, false, &stack, 1);
}

static void begin(void) {
  weave_check(hz4_slots_begin());
}
static void use_one(void) {
  int *mine = take();
  if (mine == NULL) {
    hz4_fetch_add_relaxed(&refused, 1);
    return;
  }
  weave_check(hz4_slots_sample(mine) != NULL);
  *mine = 1;  // whoever has the same one writes beside
  weave_check(hz4_slots_free(mine, &refused) == NULL);
}
static void none_is_lost(void) {
  weave_check(hz4_load_relaxed(&refused) <= 1);
  for (int i = 0; i < HZ4_SLOTS; ++i) weave_check(take() != NULL);
  weave_check(take() == NULL);
}

const struct weave_scenario weave_scenarios[] = {
    {"two take and give", begin, {use_one, use_one}, none_is_lost, WEAVE_UNBOUND, WEAVE_UNBOUND, false},
    {"three take and give", begin, {use_one, use_one, use_one}, none_is_lost, 2, 1, false},
    {0},
};
