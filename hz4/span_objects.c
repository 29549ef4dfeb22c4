#include "hz4/span_objects.h"

#include "hz4/misuse.h"
#include "hz4/os.h"
#include "hz4/sizeclass.h"

static uint32_t words_of(uint32_t objects) {
  return (objects + 63) / 64;
}

uint32_t hz4_span_meta_bytes(uint32_t size_class, uint32_t level) {
  uint32_t objects = hz4_class_table[size_class].span_objects, samples = size_class >= HZ4_SAMPLE_CLASS ? objects : 0;
  uint32_t slacks = level >= 2 ? objects * (uint32_t)sizeof(uint16_t) : 0, states = level >= 1 ? objects + 1 : 0;
  return (uint32_t)(sizeof(struct hz4_span) + words_of(objects) * sizeof(uint64_t) + samples * sizeof(void *)) + slacks + states;
}

_Atomic(struct hz4_sample *) *hz4_span_sample(struct hz4_span *span, const void *ptr) {
  size_t offset = (size_t)((const char *)ptr - span->base);
  uint32_t index = hz4_class_object_index(span->size_class, offset);
  if (index >= span->object_count || index * hz4_class_bytes(span->size_class) != offset) return NULL;
  return (_Atomic(struct hz4_sample *) *)(span->free_bits + words_of(span->object_count)) + index;
}

void hz4_span_cut(struct hz4_span *span, uint32_t size_class, bool zeroed, uint32_t level) {
  uint32_t objects = hz4_class_table[size_class].span_objects, words = words_of(objects);
  span->kind = HZ4_SPAN_OBJECTS;
  span->size_class = (uint8_t)size_class;
  span->object_count = span->free_count = objects;
  span->fresh_from = zeroed ? 0 : objects;
  span->slack = level >= 2 ? (uint16_t *)(span->free_bits + words) : NULL;
  char *states = (char *)(span->free_bits + words) + (level >= 2 ? objects * sizeof(uint16_t) : 0);
  span->state = level >= 1 ? (_Atomic(uint8_t) *)states : NULL;
  for (uint32_t i = 0; i < words; ++i) span->free_bits[i] = ~(uint64_t)0;
  if (objects % 64 != 0) span->free_bits[words - 1] = ((uint64_t)1 << objects % 64) - 1;
}

// ---- memory that went back ----

// What is purged at once: whole system pages, and a power of two of them: spans of 5 or 7 pages have no 64 equal parts
// that are.
static size_t granule_of(const struct hz4_span *span) {
  size_t granule = hz4_sys_page_bytes();
  while (span->bytes / granule > 64) granule *= 2;
  return granule;
}

size_t hz4_span_purged_bytes(const struct hz4_span *span) {
  return span->purged == 0 ? 0 : (size_t)__builtin_popcountll(span->purged) * granule_of(span);
}

// The objects [first, last] are about to be handed out: the program will touch their granules. Returns the bytes of
// those that held nothing.
static size_t note_touched(struct hz4_span *span, uint32_t first, uint32_t last) {
  size_t object_bytes = hz4_class_bytes(span->size_class), granule = granule_of(span);
  uint64_t before = span->purged;
  for (size_t g = first * object_bytes / granule; g <= ((last + 1) * object_bytes - 1) / granule; ++g) {
    span->purged &= ~((uint64_t)1 << g);
  }
  return (size_t)__builtin_popcountll(before & ~span->purged) * granule;
}

static bool all_free(const struct hz4_span *span, uint32_t first, uint32_t last) {
  for (uint32_t word = first / 64; word <= last / 64; ++word) {
    uint64_t out = ~span->free_bits[word];
    if (word == first / 64) out &= ~(uint64_t)0 << first % 64;
    if (word == last / 64) out &= ~(uint64_t)0 >> (63 - last % 64);
    if (out != 0) return false;
  }
  return true;
}

size_t hz4_span_purge(struct hz4_span *span, struct hz4_sys_run *runs, size_t room) {
  size_t granule = granule_of(span), objects_end = span->object_count * hz4_class_bytes(span->size_class);
  size_t count = 0, end_of_last = 0;
  for (size_t g = 0; g * granule < objects_end; ++g) {
    if ((span->purged >> g & 1) != 0) continue;
    size_t end = (g + 1) * granule < objects_end ? (g + 1) * granule : objects_end;
    uint32_t first = hz4_class_object_index(span->size_class, g * granule);
    uint32_t last = hz4_class_object_index(span->size_class, end - 1);
    if (!all_free(span, first, last)) continue;
    bool begins = count == 0 || end_of_last != g;
    if (begins && count == room) break;
    if (begins) runs[count++] = (struct hz4_sys_run){span->base + g * granule, 0};
    span->purged |= (uint64_t)1 << g;
    runs[count - 1].bytes += granule;
    end_of_last = g + 1;
  }
  return count;
}

// ---- objects ----

// Those of a word whose bits the mask has.
HZ4_INLINE uint32_t take_of_word(struct hz4_span *span, uint32_t word, uint64_t mask, void **out, uint32_t want,
                                 size_t *filled) {
  size_t object_bytes = hz4_class_bytes(span->size_class);
  uint64_t bits = span->free_bits[word] & mask, had = bits;
  uint32_t taken = 0;
  for (; bits != 0 && taken < want; bits &= bits - 1) {
    out[taken++] = span->base + (word * 64 + (uint32_t)__builtin_ctzll(bits)) * object_bytes;
  }
  uint64_t gone = had & ~bits;
  span->free_bits[word] &= ~gone;
  if (gone == 0) return 0;
  uint32_t first = (uint32_t)__builtin_ctzll(gone), last = 63 - (uint32_t)__builtin_clzll(gone);
  if (HZ4_UNLIKELY(span->purged != 0)) *filled += note_touched(span, word * 64 + first, word * 64 + last);
  if (word * 64 + last >= span->fresh_from) span->fresh_from = word * 64 + last + 1;
  return taken;
}

uint32_t hz4_span_take(struct hz4_span *span, void **out, uint32_t want, size_t *filled) {
  uint32_t before = span->free_count, taken = 0, word = span->first_word;
  for (; taken < want && taken < before; ++word) {
    taken += take_of_word(span, word, ~(uint64_t)0, out + taken, want - taken, filled);
    if (span->free_bits[word] != 0) break;
  }
  span->first_word = word;
  span->free_count -= taken;
  return taken;
}

uint32_t hz4_span_take_from(struct hz4_span *span, uint32_t index, void **out, uint32_t want, size_t *filled) {
  uint32_t before = span->free_count, taken = 0, words = words_of(span->object_count), word = index / 64;
  uint64_t mask = ~(uint64_t)0 << index % 64;  // of the first word the rest comes last
  if (want > before) want = before;
  while (taken < want) {
    taken += take_of_word(span, word, mask, out + taken, want - taken, filled);
    mask = ~(uint64_t)0;
    word = word + 1 < words ? word + 1 : 0;
  }
  span->free_count -= taken;
  return taken;
}

bool hz4_span_next_is_zero(const struct hz4_span *span) {
  uint32_t word = span->first_word;
  while (span->free_bits[word] == 0) ++word;
  return word * 64 + (uint32_t)__builtin_ctzll(span->free_bits[word]) >= span->fresh_from;
}

uint32_t hz4_span_put(struct hz4_span *span, void *const *objects, uint32_t count) {
  uint32_t n = 0, wrong = 0, size_class = span->size_class, first_word = span->first_word;
  size_t bytes = (size_t)hz4_class_table[size_class].span_pages << HZ4_PAGE_SHIFT;
  size_t offset = (size_t)((char *)objects[0] - span->base);
  do {
    uint32_t index = hz4_class_object_index(size_class, offset);
    uint64_t bit = (uint64_t)1 << index % 64;
    if (HZ4_UNLIKELY(index >= span->object_count || index * hz4_class_bytes(size_class) != offset)) {
      hz4_misuse_note("free of a pointer into the middle of an object", objects[n]);
      ++wrong;
    } else if (HZ4_UNLIKELY((span->free_bits[index / 64] & bit) != 0)) {
      hz4_misuse_note("double free", objects[n]);
      ++wrong;
    } else {
      span->free_bits[index / 64] |= bit;
      if (index / 64 < first_word) first_word = index / 64;
    }
  } while (++n < count && (offset = (size_t)((char *)objects[n] - span->base)) < bytes);
  span->first_word = first_word;
  span->free_count += n - wrong;
  return n;
}

const char *hz4_span_broken(const struct hz4_span *span) {
  uint32_t bits = 0, words = words_of(span->object_count);
  for (uint32_t i = 0; i < words; ++i) {
    bits += (uint32_t)__builtin_popcountll(span->free_bits[i]);
    HZ4_HOLDS(i >= span->first_word || span->free_bits[i] == 0, "span: a free object lies before first_word");
  }
  HZ4_HOLDS(bits == span->free_count, "span: free_count differs from the bitmap");
  for (uint32_t i = span->fresh_from; i < span->object_count; ++i) {
    HZ4_HOLDS((span->free_bits[i / 64] >> i % 64 & 1) != 0, "span: an object is out that is called fresh");
  }
  return NULL;
}
