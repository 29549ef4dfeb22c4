#include "hz4/harden.h"

#include <string.h>

#include "hz4/random.h"
#include "hz4/sizeclass.h"
#include "hz4/sys.h"

void hz4_harden_begin(void) {
  hz4_random_seed(hz4_sys_secret());
  hz4_class_hide();
}

const char *hz4_harden_wrong(const void *ptr) {
  const _Atomic(uint8_t) *state = hz4_harden_state(ptr);
  if (state == NULL) return "free of a pointer into the middle of an object";
  return hz4_load_relaxed(state) == HZ4_STATE_FREED ? "double free" : "free of a pointer that is not allocated";
}

void *hz4_harden_out_unknown(void *object) {
  if (hz4_pagemap_find(object) == NULL) hz4_panic_pointer("double free, found by malloc", object);
  return object;
}

// ---- level 2 ----

static size_t bytes_of(const struct hz4_span *span) {
  return hz4_class_bytes(span->size_class);
}

static uint16_t *slack_of(const struct hz4_span *span, const void *object) {
  return &span->slack[hz4_class_object_index(span->size_class, (size_t)((const char *)object - span->base))];
}

// Its first byte is not zero, for strings end by one. (All machines that hz4 knows have the lowest byte first.)
static uint64_t canary_of(const void *object) {
  uint64_t word = ((uintptr_t)object ^ hz4_random_secret) * HZ4_HASH_FACTOR;
  return (word ^ word >> 32) | 1;
}

static void put_canary(const struct hz4_span *span, void *object, size_t size) {
  size_t slack = bytes_of(span) - size;
  uint64_t canary = canary_of(object);
  *slack_of(span, object) = (uint16_t)(slack - 1);
  if (HZ4_LIKELY(slack >= HZ4_CANARY_BYTES)) memcpy((char *)object + size, &canary, HZ4_CANARY_BYTES);
  else memcpy((char *)object + size, &canary, slack);
}

static void check_canary(const struct hz4_span *span, const void *object) {
  size_t slack = *slack_of(span, object) + (size_t)1;
  const char *found = (const char *)object + bytes_of(span) - slack;
  uint64_t canary = canary_of(object);
  bool differs = HZ4_LIKELY(slack >= HZ4_CANARY_BYTES) ? memcmp(found, &canary, HZ4_CANARY_BYTES) != 0
                                                       : memcmp(found, &canary, slack) != 0;
  if (HZ4_UNLIKELY(differs)) hz4_panic_pointer("write past the end of a block", object);
}

// Objects are of sixteen bytes each, as many as a vector.
static bool is_zero(const void *object, size_t bytes) {
  typedef uint64_t vector __attribute__((vector_size(16), may_alias));
  vector any = {0, 0};
  for (const vector *next = object, *end = next + bytes / 16; next < end; ++next) any |= *next;
  return (any[0] | any[1]) == 0;
}

void *hz4_harden_dress(void *object, uint8_t state, size_t size) {
  const struct hz4_span *span = hz4_pagemap_find(object);
  if (HZ4_UNLIKELY(span->slack == NULL)) return object;
  size_t bytes = bytes_of(span);
  if (bytes <= HZ4_CLEAR_MAX) {
    if (state == HZ4_STATE_NONE) memset(object, 0, bytes);
    else if (HZ4_UNLIKELY(!is_zero(object, bytes))) hz4_panic_pointer("write after free", object);
  }
  put_canary(span, object, size);
  return object;
}

void hz4_harden_undress(void *object) {
  const struct hz4_span *span = hz4_pagemap_find(object);
  if (HZ4_UNLIKELY(span->slack == NULL)) return;
  check_canary(span, object);
  if (bytes_of(span) <= HZ4_CLEAR_MAX) memset(object, 0, bytes_of(span));
}

size_t hz4_harden_asked(const struct hz4_span *span, const void *object) {
  return bytes_of(span) - 1 - *slack_of(span, object);
}

bool hz4_harden_resize(const struct hz4_span *span, void *object, size_t size) {
  size_t bytes = bytes_of(span), asked = hz4_harden_asked(span, object);
  check_canary(span, object);
  if (size >= bytes || bytes - size - 1 > UINT16_MAX) return false;
  size_t more = size > asked ? size - asked : 0;
  memset((char *)object + asked, 0, more < HZ4_CANARY_BYTES ? more : HZ4_CANARY_BYTES);
  put_canary(span, object, size);
  return true;
}
