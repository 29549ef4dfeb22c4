// Rank 9. What a pointer is that comes back: the block that begins there, or what is wrong with it, as far as can be told
// without a lock. Which class a block is of stands here too, for that tells what it may have been asked for with.
#ifndef HZ4_BLOCK_H_
#define HZ4_BLOCK_H_

#include "hz4/base.h"
#include "hz4/options.h"
#include "hz4/poison.h"
#include "hz4/sizeclass.h"

HZ4_BEGIN_DECLS

struct hz4_span;

// The class of the bin for a block of this size and alignment; 0 when it is a large one. pre: align is a power of two, from 16.
uint32_t hz4_block_class(size_t size, size_t align);

// A block that the program has, and what it may use of it. Whether small objects are the program's is known hardened only.
// (By default the object comes to Mid sooner or later.)
struct hz4_block {
  struct hz4_span *span;  // NULL: there is none
  size_t usable;
};
struct hz4_block hz4_block_find(const void *ptr);

// What is wrong with a free of ptr, which is in a page of this class, as far as can be told by arithmetic; NULL: nothing.
const char *hz4_block_wrong_begin(uint32_t size_class, const void *ptr);

// Whether the block at ptr can have been asked for with this size and alignment, or been resized to this size. Of what is no
// block free says so itself.
bool hz4_block_may_be(const void *ptr, size_t align, size_t size);

HZ4_END_DECLS

// realloc leaves a block where it is unless it grows, or shrinks to half.
HZ4_INLINE bool hz4_block_stays(size_t usable, size_t size) {
  return size <= usable && size > usable / 2;
}

// Whether an object of this class would begin at this offset in a span.
HZ4_INLINE bool hz4_block_begins_at(uint32_t size_class, size_t offset) {
  const struct hz4_class_info *info = &hz4_class_table[size_class];
  uint32_t index = hz4_class_object_index(size_class, offset);
  return index < info->span_objects && index * (size_t)info->object_bytes == offset;
}

// Whether ptr is the address of an object, as far as can be told by arithmetic: a span of one page begins where its page
// does. Programs that ask for the usable size of each block would feel more.
HZ4_INLINE bool hz4_block_is_surely_object(uint32_t size_class, const void *ptr) {
  return !HZ4_POISON && hz4_option.harden == 0 && hz4_class_table[size_class].span_pages == 1 &&
         (uintptr_t)ptr >> HZ4_ADDRESS_BITS == 0 && hz4_block_begins_at(size_class, (uintptr_t)ptr % HZ4_PAGE_BYTES);
}

#endif  // HZ4_BLOCK_H_
