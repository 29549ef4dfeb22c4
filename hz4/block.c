#include "hz4/block.h"

#include "hz4/harden.h"
#include "hz4/large.h"
#include "hz4/pagemap.h"
#include "hz4/sample.h"
#include "hz4/span.h"

uint32_t hz4_block_class(size_t size, size_t align) {
  if (size == 0 && align == 16) return HZ4_ZERO_CLASS;
  size = hz4_harden_room(size);
  if (size > HZ4_CLASS_MAX_BYTES || align > HZ4_PAGE_BYTES) return 0;
  // Spans are aligned to pages, so a class whose size is a multiple of align has aligned objects. A power of two that
  // is large enough is such a class.
  uint32_t c = hz4_class_of_size(size > align ? size : align);
  while ((hz4_class_bytes(c) & (align - 1)) != 0) ++c;
  return hz4_class_of_bin(hz4_class_bytes(c));
}

struct hz4_block hz4_block_find(const void *ptr) {
  struct hz4_block none = {NULL, 0};
  struct hz4_span *span = hz4_pagemap_span(ptr);
  if (HZ4_UNLIKELY(span == NULL)) return none;
  uint32_t size_class = hz4_pagemap_class_of(ptr);
  if (size_class == 0) {
    const struct hz4_sample *sample = hz4_sample_of(span, ptr);
    if (span->kind == HZ4_SPAN_MAPPED) return span->base == ptr ? (struct hz4_block){span, span->bytes} : none;
    return sample != NULL ? (struct hz4_block){span, sample->usable} : none;
  }
  if (HZ4_UNLIKELY(!hz4_block_begins_at(size_class, (size_t)((const char *)ptr - span->base)))) return none;
  if (span->state != NULL && hz4_load_relaxed(hz4_harden_state(ptr)) != HZ4_STATE_LIVE) return none;
  if (hz4_class_usable(size_class) != 0) hz4_poison_check(ptr);
  return (struct hz4_block){span, span->slack != NULL ? hz4_harden_asked(span, ptr) : hz4_class_usable(size_class)};
}

const char *hz4_block_wrong_begin(uint32_t size_class, const void *ptr) {
  const struct hz4_span *span = hz4_pagemap_span(ptr);
  if (HZ4_UNLIKELY(span == NULL)) return "free of a pointer that is not allocated";
  if (HZ4_LIKELY(hz4_block_begins_at(size_class, (size_t)((const char *)ptr - span->base)))) return NULL;
  return "free of a pointer into the middle of an object";
}

bool hz4_block_may_be(const void *ptr, size_t align, size_t size) {
  if (!hz4_is_power_of_two(align)) return false;
  uint32_t size_class = hz4_pagemap_class_of(ptr);
  // Or else only those calls that overflow a bin would find something.
  if (size_class != 0 && hz4_option.harden == 0) return true;
  struct hz4_block block = hz4_block_find(ptr);
  if (block.span == NULL) return true;
  if (block.span->slack != NULL) {
    if (block.usable != (size != 0 ? size : 1)) return false;
  } else if (size_class == 0) {
    // A block of a class's size too, where there was no memory for a span.
    if (!hz4_is_aligned(ptr, align)) return false;
    return block.span->kind == HZ4_SPAN_MAPPED ? hz4_large_may_hold(block.span, size) : size <= block.usable;
  }
  size_t usable = hz4_class_usable(size_class);
  if (hz4_class_usable(hz4_block_class(size, align > 16 ? align : 16)) == usable) return true;
  return align <= 16 && hz4_block_stays(usable, size);  // what realloc gave is for free_sized (C23)
}
