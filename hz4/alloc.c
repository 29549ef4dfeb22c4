#include "hz4/alloc.h"

#include <errno.h>
#include <string.h>

#include "hz4/block.h"
#include "hz4/harden.h"
#include "hz4/large.h"
#include "hz4/limit.h"
#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/misuse.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/probes.h"
#include "hz4/sample.h"
#include "hz4/segment.h"
#include "hz4/slots.h"
#include "hz4/span.h"
#include "hz4/stack.h"
#include "hz4/thread.h"
#include "hz4/transfer.h"

static void *no_memory(void) {
  errno = ENOMEM;
  return NULL;
}

HZ4_IN_DATA void (*hz4_alloc_chores)(void);

HZ4_INLINE void do_chores(void) {
  if (HZ4_UNLIKELY(hz4_alloc_chores != NULL)) hz4_alloc_chores();
  if (HZ4_UNLIKELY(hz4_probes_are_due())) hz4_probes_follow();
}

// By itself, so that what it needs of the stack is not there while others go deep.
HZ4_NOINLINE static void report_misuse(const void *frame) {
  hz4_misuse_report(frame);
}

// ---- malloc ----

// An object without a cache: the thread has ended, or has none yet. Here and below, *zeroed: whether zeros are wanted;
// then, whether the block is known to be zero.
static void *take_directly(uint32_t size_class, bool *zeroed) {
  void *object = NULL;
  struct hz4_mid_result got = hz4_mid_take(hz4_class_by_size(size_class), &object, 1, 1, NULL, *zeroed);
  hz4_count_here(size_class, HZ4_COUNT_direct_malloc, 1);
  hz4_count_here(size_class, HZ4_COUNT_span_opened, got.spans_opened);
  *zeroed = got.zeroed;
  return got.objects != 0 ? object : NULL;
}

static void *take_object(uint32_t size_class, bool *zeroed) {
  void *object = NULL;
  if (hz4_thread_attach()) {
    object = hz4_sequence_pop(size_class);  // who had no cache has not tried
    if (object != NULL) *zeroed = false;
    else object = hz4_tcache_refill(size_class, zeroed);
    if (object != NULL) hz4_count_fast(size_class, HZ4_COUNT_malloc_calls);
  }
  return object != NULL ? object : take_directly(size_class, zeroed);
}

// NULL: no memory for a span, or fork is on.
static void *alloc_class(uint32_t size_class, size_t size, bool *zeroed) {
  void *object = take_object(size_class, zeroed);
  if (object == NULL) return NULL;
  hz4_unpoison(object, hz4_class_usable(size_class));
  return hz4_option.harden != 0 ? hz4_harden_out(object, size) : object;
}

void *hz4_alloc_unsampled(size_t size) {
  bool zeroed = false;
  if (hz4_option.harden > 1 && size > 16) --size;  // of a class's size all but the byte behind what is asked for
  return alloc_class(hz4_block_class(size, 16), size, &zeroed);
}

// Trims in a row that were in vain, failures that the next one waits for, and bytes that lay free after the last.
static _Atomic(uint32_t) vain_trims, to_skip;
static _Atomic(size_t) lay_free;

static size_t lying_free(void) {
  struct hz4_segment_stats segments;
  struct hz4_large_stats large;
  struct hz4_mid_stats mid;
  hz4_segment_stats(&segments);
  hz4_large_stats(&large);
  hz4_mid_stats(&mid);
  return segments.dirty_bytes + segments.clean_bytes + large.cached_bytes + large.retained_bytes + mid.free_bytes +
         mid.depot_bytes + hz4_tcache_bytes_here();
}

static void note_trim(bool in_vain) {
  uint32_t vain = in_vain ? hz4_load_relaxed(&vain_trims) + 1 : 0;
  hz4_store_relaxed(&vain_trims, vain);
  uint32_t doublings = vain > HZ4_VAIN_TRIMS ? vain - HZ4_VAIN_TRIMS : 0;
  if (doublings > HZ4_VAIN_TRIM_DOUBLINGS) doublings = HZ4_VAIN_TRIM_DOUBLINGS;
  hz4_store_relaxed(&to_skip, ((uint32_t)1 << doublings) - 1);
  if (doublings != 0) hz4_store_relaxed(&lay_free, lying_free());
}

// Memory that only caches keep goes back, and may be enough for one more try. But who asks again and again for what is not
// to be had must not pay for a trim each time, and for filling the caches: after some in vain failures go by without, more
// each time, unless as much as is wanted was freed meanwhile.
static bool make_room(size_t size) {
  uint32_t skip = hz4_load_relaxed(&to_skip);
  if (skip != 0 && lying_free() < hz4_load_relaxed(&lay_free) + size / 2) {
    hz4_store_relaxed(&to_skip, skip - 1);
    return false;
  }
  if (hz4_alloc_trim(0)) return true;
  note_trim(true);
  return false;
}

// Where the class fails: after a trim once more, and then by a large block, of pages that no span can have. But at once by
// that where fork is on: a trim would wait at each lock.
HZ4_NOINLINE static void *alloc_in_need(uint32_t size_class, size_t asked, size_t align, bool refused, bool *zeroed) {
  bool wanted = *zeroed;
  size_t size = size_class != 0 ? hz4_class_bytes(size_class) : asked;
  void *block = NULL;
  if (refused) block = hz4_large_alloc(size, align, zeroed);
  if (block == NULL && make_room(size)) {
    *zeroed = wanted;
    block = size_class != 0 ? alloc_class(size_class, asked, zeroed) : hz4_large_alloc(size, align, zeroed);
    note_trim(block == NULL);
  }
  if (block == NULL && size_class != 0) {
    *zeroed = wanted;
    block = hz4_large_alloc(size, align, zeroed);
  }
  hz4_misuse_report(HZ4_FRAME());
  return block;
}

// All that is free goes back, but for addresses.
static bool purge_all(void) {
  hz4_thread_trim();
  hz4_mid_trim();
  return hz4_large_trim();
}

void hz4_alloc_keep_to_limit(void) {
  size_t used;
  if (!hz4_limit_begin_trim(&used)) return;
  purge_all();
  hz4_segment_purge(0);
  hz4_limit_end_trim(used);
  report_misuse(HZ4_FRAME());
}

// pre: size <= PTRDIFF_MAX. frame, here and below: of the function that the program called.
static void *alloc_block(size_t size, size_t align, bool *zeroed, const void *frame) {
  int saved = errno;
  bool wanted = *zeroed;
  hz4_thread_init();
  if (HZ4_UNLIKELY(hz4_limit_is_due())) hz4_alloc_keep_to_limit();
  uint32_t c = hz4_block_class(size, align), refusals = hz4_lock_refusals();
  void *block = c != 0 ? alloc_class(c, size, zeroed) : hz4_large_alloc(size, align, zeroed);
  hz4_misuse_report(frame);
  if (HZ4_UNLIKELY(block == NULL)) {
    bool refused = c != 0 && refusals != hz4_lock_refusals();
    *zeroed = wanted;
    block = alloc_in_need(c, size, align, refused, zeroed);
    if (block == NULL) return no_memory();
  }
  do_chores();
  errno = saved;
  return block;
}

// As hz4_alloc_from_bin.
HZ4_INLINE void *from_bin(uint32_t size_class, size_t size) {
  void *object = hz4_alloc_from_bin(size_class);
  return HZ4_LIKELY(object != NULL) && hz4_option.harden != 0 ? hz4_harden_out(object, size) : object;
}

// A block, of `bytes`, for an allocation of `size` that is due to be a sample by this mean. NULL: it is none, and *zeroed as it was.
static void *take_sample(size_t size, size_t mean, size_t bytes, size_t align, bool *zeroed, const void *frame) {
  bool wanted = *zeroed;
  uint32_t c = hz4_block_class(bytes, align);
  void *block = hz4_sample_alloc(size, mean, align, c != 0 ? hz4_class_bytes(c) : 0, zeroed, frame);
  report_misuse(frame);
  if (block == NULL) *zeroed = wanted;
  return block;
}

// While there is sampling, or hardened: an object out of a bin, or a block from elsewhere. pre: as alloc_block.
static void *alloc_uncounted(size_t size, size_t align, bool *zeroed, const void *frame) {
  void *object = !*zeroed ? from_bin(hz4_block_class(size, align), size) : NULL;
  return object != NULL ? object : alloc_block(size, align, zeroed, frame);
}

// Where the fast path had nothing. pre: as alloc_block.
static void *alloc_slow(size_t size, size_t align, bool *zeroed, const void *frame) {
  if (HZ4_LIKELY(!hz4_sample_is_on()) || size == 0) {
    return hz4_option.harden != 0 ? alloc_uncounted(size, align, zeroed, frame) : alloc_block(size, align, zeroed, frame);
  }
  size_t mean = hz4_sample_count(size);
  void *block = mean != 0 ? take_sample(size, mean, size, align, zeroed, frame) : NULL;
  return block != NULL ? block : alloc_uncounted(size, align, zeroed, frame);
}

HZ4_NOINLINE static void *malloc_slow(size_t size) {
  if (HZ4_UNLIKELY(size > PTRDIFF_MAX)) return no_memory();
  bool zeroed = false;
  return alloc_slow(size, 16, &zeroed, HZ4_FRAME());
}

// Short, for hardened each malloc comes here.
void *hz4_alloc_malloc_slow(size_t size) {
  size_t room = hz4_harden_room(size);
  bool looked = hz4_option.harden == 0 || hz4_sample_is_on();
  if (HZ4_UNLIKELY(looked || room > HZ4_CLASS_MAX_BYTES)) return malloc_slow(size);
  void *object = from_bin(hz4_class_of_malloc(room), size);
  return HZ4_LIKELY(object != NULL) ? object : malloc_slow(size);
}

HZ4_NOINLINE static void *calloc_slow(size_t bytes) {
  bool zeroed = bytes >= HZ4_CALLOC_FRESH_MIN;
  void *block = alloc_slow(bytes, 16, &zeroed, HZ4_FRAME());
  // Only what came fresh from the system is trusted to be zero. Clearing that would bring it into memory.
  if (block != NULL && !zeroed) memset(block, 0, bytes);
  return block;
}

void *hz4_alloc_calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX) return no_memory();
  void *object = bytes < HZ4_CALLOC_FRESH_MIN ? hz4_alloc_malloc_fast(bytes) : NULL;
  return HZ4_LIKELY(object != NULL) ? memset(object, 0, bytes) : calloc_slow(bytes);
}

// ---- free ----

static void free_object(uint32_t size_class, void *ptr) {
  if (hz4_thread_attach()) {
    hz4_count_fast(size_class, HZ4_COUNT_free_calls);
    hz4_tcache_overflow(size_class, ptr);
    return;
  }
  hz4_count_here(size_class, HZ4_COUNT_direct_free, 1);
  hz4_transfer_give(size_class, &ptr, 1, NULL, true);
}

// To Mid: a flush would use more stack than there may be by now.
void hz4_alloc_free_unsampled(void *object) {
  const struct hz4_span *span = hz4_pagemap_find(object);
  const struct hz4_page_states *note = hz4_option.harden != 0 ? hz4_pagemap_states(object) : NULL;
  if (note != NULL && !hz4_harden_in(note, object)) hz4_panic_pointer(hz4_harden_wrong(object), object);
  if (note != NULL && hz4_option.harden > 1) hz4_harden_undress(object);
  hz4_transfer_give(span->size_class, &object, 1, NULL, true);
}

// What is wrong is noted: who frees goes on, if it is not to be the end (hz4_misuse_report).
static void free_slow_block(void *ptr, const void *frame) {
  struct hz4_span *span = hz4_pagemap_span(ptr);
  struct hz4_sample *sample = span != NULL ? hz4_sample_of(span, ptr) : NULL;
  bool is_large = span != NULL && span->kind == HZ4_SPAN_MAPPED && span->base == ptr;
  const char *wrong = NULL;
  if (sample != NULL) wrong = hz4_sample_free(span, ptr, frame);
  else if (span != NULL && span->kind == HZ4_SPAN_SLOTS) wrong = hz4_slots_wrong_free(ptr);
  else if (!is_large) wrong = "free of a pointer that is not allocated";
  if (wrong != NULL) hz4_misuse_note(wrong, ptr);
  else if (is_large) hz4_large_free(span);
}

HZ4_IN_DATA const struct hz4_foreign_heap *hz4_alloc_foreign;

// pre: ptr is in no span of objects.
static bool is_foreign(const void *ptr) {
  return hz4_alloc_foreign != NULL && hz4_pagemap_span(ptr) == NULL && hz4_alloc_foreign->holds(ptr);
}

// Its frame is taken for that of the function which the program called: all on the way here are left by then.
HZ4_NOINLINE static void free_slowly(void *ptr, uint32_t size_class) {
  if (ptr == NULL) return;
  int saved = errno;
  const char *wrong = size_class != 0 ? hz4_block_wrong_begin(size_class, ptr) : NULL;
  if (HZ4_UNLIKELY(wrong != NULL)) hz4_misuse_note(wrong, ptr);
  else if (size_class != 0) free_object(size_class, ptr);
  else if (is_foreign(ptr)) hz4_alloc_foreign->free(ptr);
  else free_slow_block(ptr, HZ4_FRAME());
  hz4_misuse_report(HZ4_FRAME());
  do_chores();
  errno = saved;
}

HZ4_NOINLINE static void free_wrongly(const void *ptr) {
  hz4_misuse_note(hz4_harden_wrong(ptr), ptr);
  hz4_misuse_report(HZ4_FRAME());
}

// note: what the page map has of ptr's states.
HZ4_INLINE void free_hardened(void *ptr, const struct hz4_page_states *note, bool dressed) {
  size_t size_class = hz4_load_relaxed(&note->size_class);
  if (hz4_class_usable((uint32_t)size_class) != 0) hz4_poison_check(ptr);
  if (HZ4_UNLIKELY(!hz4_harden_in(note, ptr))) {
    free_wrongly(ptr);
    return;
  }
  if (dressed) hz4_harden_undress(ptr);
  hz4_poison(ptr, hz4_class_usable((uint32_t)size_class));
  void *other = hz4_harden_push(size_class, ptr);
  if (HZ4_UNLIKELY(other != NULL)) free_slowly(other, (uint32_t)size_class);
  else hz4_count_fast((uint32_t)size_class, HZ4_COUNT_free_calls);
}

HZ4_NOINLINE static void free_dressed(void *ptr, const struct hz4_page_states *note) {
  free_hardened(ptr, note, true);
}

// Hardened, each free comes here: so nothing is called from which it would have to come back.
void hz4_alloc_free_slow(void *ptr) {
  const struct hz4_page_states *note = hz4_option.harden != 0 ? hz4_pagemap_states(ptr) : NULL;
  if (note == NULL) free_slowly(ptr, (uint32_t)hz4_pagemap_class(ptr));
  else if (HZ4_LIKELY(hz4_option.harden < 2)) free_hardened(ptr, note, false);
  else free_dressed(ptr, note);
}

void hz4_alloc_free_sized_slow(void *ptr, size_t align, size_t size) {
  if (ptr == NULL || hz4_block_may_be(ptr, align, size)) {
    hz4_alloc_free_slow(ptr);
    return;
  }
  hz4_misuse_note("sized free with a wrong size or alignment", ptr);
  hz4_misuse_report(HZ4_FRAME());
}

// ---- realloc and sizes ----

HZ4_NOINLINE static size_t usable_size_wrongly(const void *ptr, const void *frame) {
  hz4_misuse_note("malloc_usable_size of a pointer that is not allocated", ptr);
  hz4_misuse_report(frame);
  return 0;
}

HZ4_NOINLINE static size_t usable_size_slow(const void *ptr) {
  if (ptr == NULL) return 0;
  if (is_foreign(ptr)) return hz4_alloc_foreign->usable_size((void *)(uintptr_t)ptr);
  struct hz4_block block = hz4_block_find(ptr);
  return HZ4_LIKELY(block.span != NULL) ? block.usable : usable_size_wrongly(ptr, HZ4_FRAME());
}

size_t hz4_alloc_usable_size(const void *ptr) {
  uint32_t size_class = (uint32_t)hz4_pagemap_class(ptr);
  if (HZ4_LIKELY(hz4_block_is_surely_object(size_class, ptr))) return hz4_class_usable(size_class);
  return usable_size_slow(ptr);
}

// What grows by a half or less will most likely grow on so: an object has at least a quarter more then, and one that takes
// longer to copy half more than what it grows to. (But what is asked for is known where there are canaries.)
static size_t size_with_room(size_t old_usable, size_t size) {
  if (hz4_option.harden > 1 || size <= old_usable || size > old_usable + old_usable / 2) return size;
  size_t more = old_usable + old_usable / 4, much = size + size / 2;
  if (size >= HZ4_REALLOC_ROOM_MIN && much <= HZ4_CLASS_MAX_BYTES) more = much;
  return size < more && more <= HZ4_CLASS_MAX_BYTES ? more : size;
}

// What shrinks needs no memory: where there is none for a copy it stays. (Hardened a sized free would take that for wrong.)
HZ4_NOINLINE static void *realloc_by_copy(void *ptr, size_t old_usable, size_t size) {
  int saved = errno;
  size_t with_room = size_with_room(old_usable, size);
  bool zeroed = false;
  void *block = NULL;
  size_t mean = HZ4_UNLIKELY(hz4_sample_is_on()) ? hz4_sample_count(size) : 0;
  if (mean != 0) block = take_sample(size, mean, with_room, 16, &zeroed, HZ4_FRAME());
  if (block == NULL) block = hz4_large_reuse(size);
  if (block == NULL) block = alloc_uncounted(with_room, 16, &zeroed, HZ4_FRAME());
  if (block == NULL) {
    if (size > old_usable || hz4_option.harden != 0) return NULL;
    errno = saved;
    return ptr;
  }
  // The whole usable size: programs write up to malloc_usable_size.
  memcpy(block, ptr, old_usable < size ? old_usable : size);
  hz4_alloc_free(ptr);
  return block;
}

HZ4_NOINLINE static void *realloc_large(struct hz4_span *span, size_t size) {
  char *base = span->base;
  size_t usable = span->bytes;
  int saved = errno;
  if (HZ4_UNLIKELY(hz4_limit_is_due())) hz4_alloc_keep_to_limit();
  void *resized = hz4_large_resize(span, size);
  if (resized == NULL) {
    void *copy = realloc_by_copy(base, usable, size);
    if (copy != NULL && copy != base) return copy;
    // What was freed to make room for a copy may be enough for that; what shrinks needs none.
    resized = size < usable ? hz4_large_shrink(span, size) : hz4_large_resize(span, size);
    if (resized == NULL) return no_memory();
  }
  if (span->bytes != usable) hz4_sample_resized(span, size, HZ4_FRAME());
  report_misuse(HZ4_FRAME());
  do_chores();
  errno = saved;
  return resized;
}

HZ4_NOINLINE static void *realloc_wrongly(const void *ptr, const void *frame) {
  hz4_misuse_note("realloc of a pointer that is not allocated", ptr);
  hz4_misuse_report(frame);
  errno = EINVAL;
  return NULL;
}

void *hz4_alloc_realloc(void *ptr, size_t size) {
  if (ptr == NULL) return hz4_alloc_malloc(size);
  if (size == 0) {
    hz4_alloc_free(ptr);
    return NULL;
  }
  if (size > PTRDIFF_MAX) return no_memory();
  uint32_t size_class = hz4_pagemap_class_of(ptr);
  size_t room = hz4_class_usable(size_class), usable = room;
  bool dressed = false;
  if (HZ4_UNLIKELY(!hz4_block_is_surely_object(size_class, ptr))) {
    if (is_foreign(ptr)) return realloc_by_copy(ptr, hz4_alloc_foreign->usable_size(ptr), size);
    struct hz4_block block = hz4_block_find(ptr);
    if (HZ4_UNLIKELY(block.span == NULL)) return realloc_wrongly(ptr, HZ4_FRAME());
    if (block.span->kind == HZ4_SPAN_MAPPED) return realloc_large(block.span, size);
    usable = block.usable;
    if (size_class == 0) room = usable;
    dressed = block.span->slack != NULL;
    if (dressed && hz4_block_stays(room, size) && hz4_harden_resize(block.span, ptr, size)) return ptr;
  }
  return hz4_block_stays(room, size) && !dressed ? ptr : realloc_by_copy(ptr, usable, size);
}

// ---- alignment ----

void *hz4_alloc_aligned_by(size_t align, size_t size, const void *frame) {
  if (!hz4_is_power_of_two(align)) {
    errno = EINVAL;
    return NULL;
  }
  if (size > PTRDIFF_MAX || align > PTRDIFF_MAX) return no_memory();
  void *object = NULL;
  if (align <= 16) align = 16;
  else if (size == 0) size = 1;  // those lie in memory
  if (HZ4_LIKELY(!hz4_sample_is_on())) object = from_bin(hz4_block_class(size, align), size);
  if (HZ4_LIKELY(object != NULL)) return object;
  bool zeroed = false;
  return alloc_slow(size, align, &zeroed, frame);
}

void *hz4_alloc_aligned(size_t align, size_t size) {
  return hz4_alloc_aligned_by(align, size, HZ4_FRAME());
}

void *hz4_alloc_memalign(size_t align, size_t size) {
  if (align > (size_t)PTRDIFF_MAX + 1) {  // no power of two is as large
    errno = EINVAL;
    return NULL;
  }
  size_t power = 16;
  while (power < align) power *= 2;
  return hz4_alloc_aligned(power, size);
}

int hz4_alloc_posix_memalign(void **out, size_t align, size_t size) {
  if (!hz4_is_power_of_two(align) || align % sizeof(void *) != 0) return EINVAL;
  int saved = errno;
  void *block = hz4_alloc_aligned_by(align, size, HZ4_FRAME());
  errno = saved;
  if (block == NULL) return ENOMEM;
  *out = block;
  return 0;
}

void *hz4_alloc_valloc(size_t size) {
  return hz4_alloc_aligned(hz4_sys_page_bytes(), size);
}

void *hz4_alloc_pvalloc(size_t size) {
  size_t page = hz4_sys_page_bytes();
  if (size > PTRDIFF_MAX - page) return no_memory();
  return hz4_alloc_aligned(page, size == 0 ? page : hz4_round_up(size, page));
}

// ---- whole heap ----

bool hz4_alloc_trim(size_t pad) {
  hz4_thread_init();
  bool any = purge_all();
  any |= hz4_segment_purge(pad);
  if (pad == 0) any |= hz4_segment_unmap_free();
  hz4_misuse_report(HZ4_FRAME());
  return any;
}

void hz4_alloc_keep(size_t bytes) {
  hz4_thread_init();  // which sets it as well
  hz4_option_change(&hz4_option.dirty_kib, bytes >> 10);
}

void hz4_alloc_check(void) {
  hz4_thread_init();
  if (hz4_is_attached()) hz4_tcache_check();
  hz4_mid_check();
  hz4_large_check();
  hz4_segment_check();
  hz4_meta_check();
}
