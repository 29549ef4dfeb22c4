#include "hz4/mid_spans.h"

#include "hz4/guarded.h"
#include "hz4/list.h"
#include "hz4/meta.h"
#include "hz4/misuse.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/policy.h"
#include "hz4/random.h"
#include "hz4/segment.h"
#include "hz4/sizeclass.h"
#include "hz4/span_objects.h"

// The list of spans that are being purged inside: objects come home to them, but none is taken, and they are not closed.
#define PURGING HZ4_MID_BUCKETS

// ---- lists ----

static void unlink_locked(struct hz4_mid_spans *spans, struct hz4_span *span) {
  HZ4_LIST_REMOVE(spans->partial[span->bucket], span, next, prev);
  --spans->spans_in[span->bucket];
}

static void link_last_locked(struct hz4_mid_spans *spans, struct hz4_span *span, uint32_t bucket) {
  span->bucket = (uint8_t)bucket;
  HZ4_LIST_ADD(spans->partial[bucket], span, next, prev);
  ++spans->spans_in[bucket];
}

// As the first of its list; if those are still to be purged inside, it is too.
static void link_locked(struct hz4_mid_spans *spans, struct hz4_span *span, uint32_t bucket) {
  link_last_locked(spans, span, bucket);
  spans->partial[bucket] = span;
  if (spans->to_purge[bucket] != 0) ++spans->to_purge[bucket];
}

// pre: free_count > 0. Bucket 0 holds the fullest spans. A shift, for every freed object comes by here.
static uint32_t bucket_of(const struct hz4_span *span) {
  return (span->free_count - 1) >> span->bucket_shift;
}

// The least shift that maps 0 .. objects - 1 to buckets.
static uint32_t bucket_shift_of(uint32_t objects) {
  uint32_t shift = 0;
  while ((objects - 1) >> shift >= HZ4_MID_BUCKETS) ++shift;
  return shift;
}

// Keeps the span on the list of its fullness after its free_count changed from `before`.
static void relink_locked(struct hz4_mid_spans *spans, struct hz4_span *span, uint32_t before) {
  if (span->bucket == PURGING) return;
  if (span->free_count == 0) {
    if (before != 0) unlink_locked(spans, span);
    return;
  }
  uint32_t bucket = bucket_of(span);
  if (before != 0 && bucket == span->bucket) return;
  if (before != 0) unlink_locked(spans, span);
  link_locked(spans, span, bucket);
}

// A fresh span that nobody knows yet.
static struct hz4_span *new_span(uint32_t size_class, uint8_t shard) {
  const struct hz4_class_info *info = &hz4_class_table[size_class];
  uint32_t level = size_class < HZ4_SAMPLE_CLASS ? (uint32_t)hz4_option.harden : 0;
  bool nothing = size_class == HZ4_ZERO_CLASS;
  if (nothing && level > 1) level = 1;  // there is no room for canaries
  uint32_t meta_bytes = hz4_span_meta_bytes(size_class, level);
  struct hz4_span *span = hz4_meta_alloc(meta_bytes);
  if (span == NULL) return NULL;
  struct hz4_run run = {0};
  if (nothing) run.base = hz4_guarded_nothing(HZ4_PAGE_BYTES);
  else run = hz4_segment_alloc(info->span_pages, true);
  if (run.base == NULL) {
    hz4_meta_free(span, meta_bytes);
    return NULL;
  }
  span->base = run.base;
  span->bytes = (size_t)info->span_pages << HZ4_PAGE_SHIFT;
  span->segment = run.segment;
  span->shard = shard;
  span->meta_bytes = meta_bytes;
  hz4_span_cut(span, size_class, run.zeroed, level);
  span->bucket_shift = (uint8_t)bucket_shift_of(info->span_objects);
  // Free must not push by itself what it has not looked at (states), or has a record (samples).
  bool hidden = level != 0 || size_class >= HZ4_SAMPLE_CLASS;
  hz4_pagemap_set(span->base, info->span_pages, span, hidden ? 0 : size_class);
  if (level != 0) hz4_pagemap_set_states(span, UINT64_MAX / info->object_bytes + 1);
  return span;
}

// Leaves the lock meanwhile.
static struct hz4_span *open_span_locked(struct hz4_mid_spans *spans, uint32_t size_class) {
  struct hz4_away away;
  hz4_lock_leave(&spans->lock, &away);
  struct hz4_span *span = new_span(size_class, spans->shard);
  hz4_lock_return(&away);
  if (span == NULL) return NULL;
  link_locked(spans, span, bucket_of(span));
  ++spans->span_count;
  spans->object_count += span->object_count;
  spans->free_count += span->free_count;
  return span;
}

// Every object is home.
static bool is_complete(const struct hz4_span *span) {
  return span->free_count == span->object_count;
}

// pre: every object is home, and the span is on no list.
static void close_span_locked(struct hz4_mid_spans *spans, struct hz4_span *span) {
  hz4_lock_assert_held(&spans->lock);
  if (spans->waiting == span) spans->waiting = NULL;
  --spans->span_count;
  spans->object_count -= span->object_count;
  spans->free_count -= span->free_count;
  size_t pages = span->bytes >> HZ4_PAGE_SHIFT;
  hz4_pagemap_set(span->base, pages, NULL, 0);
  if (span->state != NULL) hz4_pagemap_set_states(span, 0);
  hz4_segment_closed(hz4_span_purged_bytes(span));
  // Cannot fail: fork has not come to the segment lock while a lock of Mid is held.
  hz4_segment_free(span->segment, span->base, pages, span->purged != 0);
  span->kind = HZ4_SPAN_FREE;
  hz4_meta_free(span, span->meta_bytes);
}

// Closes the span, so that any class may use its memory, if it has any: it is complete, and not being purged. Hardened,
// it waits, and the one is closed that waited before, if nobody took of it: what is freed is not another class's at once.
// Returns the number of spans closed.
static uint32_t close_complete_locked(struct hz4_mid_spans *spans, struct hz4_span *span) {
  if (span->segment == NULL) return 0;
  struct hz4_span *closing = span;
  if (hz4_option.harden != 0) {
    closing = spans->waiting != span ? spans->waiting : NULL;
    spans->waiting = span;
    if (closing == NULL || !is_complete(closing) || closing->bucket == PURGING) return 0;
  }
  unlink_locked(spans, closing);
  close_span_locked(spans, closing);
  return 1;
}

uint32_t hz4_mid_spans_close_empty(struct hz4_mid_spans *spans) {
  uint32_t closed = 0;
  for (uint32_t bucket = 0; bucket < HZ4_MID_BUCKETS; ++bucket) {
    struct hz4_span *span = spans->partial[bucket], *next;
    for (uint32_t n = spans->spans_in[bucket]; n != 0; --n, span = next) {
      next = span->next;
      if (!is_complete(span) || span->segment == NULL) continue;
      unlink_locked(spans, span);
      close_span_locked(spans, span);
      ++closed;
    }
  }
  return closed;
}

// ---- objects ----

// Takes up to `want` objects out of the span; shuffled: from anywhere in it. 0: they have no memory, and the limit allows
// none.
static uint32_t take_from_span_locked(struct hz4_mid_spans *spans, struct hz4_span *span, void **out, uint32_t want,
                                      bool shuffled, size_t *wanted) {
  uint32_t before = span->free_count;
  uint64_t purged = span->purged;
  uint32_t taken;
  for (;;) {
    size_t filled = 0;
    taken = shuffled ? hz4_span_take_from(span, hz4_random_below(span->object_count), out, want, &filled)
                     : hz4_span_take(span, out, want, &filled);
    if (HZ4_LIKELY(filled == 0)) break;
    if (hz4_segment_fill(filled)) {
      *wanted += filled;
      break;
    }
    hz4_span_put(span, out, taken);
    span->purged = purged;
    if (want == 1) return 0;
    want = 1;
  }
  spans->free_count -= taken;
  relink_locked(spans, span, before);
  return taken;
}

// Asks for the lines that an object meets as it comes home, or leaves.
static void ask_for(const struct hz4_span *span) {
  if (span == NULL) return;
  __builtin_prefetch(&span->base, 1);
  __builtin_prefetch(&span->free_bits, 1);
}

struct hz4_mid_taken hz4_mid_spans_take(struct hz4_mid_spans *spans, uint32_t size_class, void **out, uint32_t want,
                                        uint32_t fresh, void *owner, bool zero) {
  struct hz4_mid_taken taken = {0};
  size_t wanted = 0;  // of what was purged: the clock is looked at once
  for (uint32_t bucket = 0, n = 0; taken.objects < want && n < HZ4_MID_SPANS; ++n) {
    while (bucket < HZ4_MID_BUCKETS && spans->partial[bucket] == NULL) ++bucket;
    struct hz4_span *span = bucket < HZ4_MID_BUCKETS ? spans->partial[bucket] : NULL;
    if (span == NULL) {
      if (taken.objects != 0 || fresh == 0) break;
      if (want > fresh) want = fresh;
      span = open_span_locked(spans, size_class);
      if (span == NULL) break;
      ++taken.opened;
    }
    ask_for(span->next);
    hz4_store_relaxed(&span->owner, owner);
    bool zeroed = zero && taken.objects == 0 && hz4_span_next_is_zero(span);
    if (zeroed) want = 1;
    bool shuffled = hz4_option.harden != 0 && !zero;
    uint32_t count = take_from_span_locked(spans, span, out + taken.objects, want - taken.objects, shuffled, &wanted);
    if (count == 0) break;
    taken.objects += count;
    taken.zeroed |= zeroed;
  }
  if (wanted != 0) hz4_policy_wanted(wanted);
  return taken;
}

uint32_t hz4_mid_spans_put(struct hz4_mid_spans *spans, uint32_t size_class, void **objects, uint32_t count,
                           uint32_t *strays) {
  uint32_t closed = 0, asked = 0;
  *strays = 0;
  for (uint32_t i = 0; i < count; ++spans->visited) {
    for (; asked < count && asked < i + HZ4_MID_SPANS; ++asked) ask_for(hz4_pagemap_find(objects[asked]));
    struct hz4_span *span = hz4_pagemap_find(objects[i]);
    if (HZ4_UNLIKELY(span == NULL || span->size_class != size_class)) {
      hz4_misuse_note("free of a pointer that is not allocated", objects[i++]);
      continue;
    }
    if (HZ4_UNLIKELY(span->shard != spans->shard)) {
      objects[(*strays)++] = objects[i++];
      continue;
    }
    uint32_t before = span->free_count;
    i += hz4_span_put(span, objects + i, count - i);
    spans->free_count += span->free_count - before;
    relink_locked(spans, span, before);
    if (is_complete(span) && span->bucket != PURGING) closed += close_complete_locked(spans, span);
  }
  return closed;
}

// ---- purging inside spans ----

void hz4_mid_spans_begin_purge(struct hz4_mid_spans *spans, uint32_t eighths) {
  for (uint32_t bucket = 0; bucket < HZ4_MID_BUCKETS; ++bucket) spans->to_purge[bucket] = spans->spans_in[bucket];
  spans->purge_eighths = eighths;
  spans->purge_goes_on = true;
}

// The next span to be looked at, the emptiest first, which becomes the last of its list; NULL: that was all.
static struct hz4_span *next_to_purge_locked(struct hz4_mid_spans *spans) {
  for (uint32_t bucket = HZ4_MID_BUCKETS; bucket-- > 0;) {
    struct hz4_span *span = spans->partial[bucket];
    if (span == NULL) spans->to_purge[bucket] = 0;
    if (spans->to_purge[bucket] == 0) continue;
    --spans->to_purge[bucket];
    spans->partial[bucket] = span->next;
    return span;
  }
  spans->purge_goes_on = false;
  return NULL;
}

struct batch {
  struct hz4_sys_run runs[HZ4_PURGE_RUNS];
  size_t count, bytes;
  struct hz4_span *first;  // of `spans` neighbours on the list
  uint32_t spans;
};

// What one call may still do.
struct budget {
  size_t bytes;
  uint32_t looks;
};

// Takes spans of which something is to be purged off their lists.
static void fill_batch_locked(struct hz4_mid_spans *spans, struct batch *batch, struct budget *budget) {
  batch->count = batch->bytes = 0;
  batch->spans = 0;
  while (batch->count < HZ4_PURGE_RUNS && batch->bytes < budget->bytes && budget->looks != 0) {
    struct hz4_span *span = next_to_purge_locked(spans);
    if (span == NULL) break;
    --budget->looks;
    if (span->segment == NULL || span->free_count * 8 < span->object_count * spans->purge_eighths) continue;
    size_t found = hz4_span_purge(span, batch->runs + batch->count, HZ4_PURGE_RUNS - batch->count);
    if (found == 0) continue;
    for (size_t end = batch->count + found; batch->count < end; ++batch->count) {
      batch->bytes += batch->runs[batch->count].bytes;
    }
    unlink_locked(spans, span);
    link_last_locked(spans, span, PURGING);
    if (batch->spans++ == 0) batch->first = span;
  }
  budget->bytes -= batch->bytes < budget->bytes ? batch->bytes : budget->bytes;
}

// Of the last span of a full batch there may be more: it is the next to be looked at.
static void purge_again_locked(struct hz4_mid_spans *spans, struct hz4_span *span) {
  uint32_t bucket = bucket_of(span);
  if (spans->to_purge[bucket] == 0) spans->to_purge[bucket] = 1;
  spans->purge_goes_on = true;
  spans->partial[bucket] = span;
}

// Purges, and leaves the lock meanwhile. Returns the number of spans that had become complete and were closed.
static uint32_t purge_batch_locked(struct hz4_mid_spans *spans, struct batch *batch) {
  spans->purged_bytes += batch->bytes;
  struct hz4_away away;
  hz4_lock_leave(&spans->lock, &away);
  hz4_os_purge_runs(batch->runs, batch->count);
  hz4_segment_purged_inside(batch->bytes);
  hz4_lock_return(&away);
  uint32_t closed = 0;
  for (struct hz4_span *span = batch->first, *next; batch->spans != 0; span = next) {
    next = span->next;
    --batch->spans;
    unlink_locked(spans, span);
    link_last_locked(spans, span, bucket_of(span));
    if (is_complete(span)) {
      closed += close_complete_locked(spans, span);
      continue;
    }
    if (batch->spans == 0 && batch->count == HZ4_PURGE_RUNS) purge_again_locked(spans, span);
  }
  return closed;
}

uint32_t hz4_mid_spans_purge(struct hz4_mid_spans *spans) {
  struct budget budget = {HZ4_PURGE_BYTES, HZ4_PURGE_LOOKS};
  struct batch batch;
  uint32_t closed = 0;
  while (budget.bytes != 0 && budget.looks != 0 && spans->purge_goes_on) {
    fill_batch_locked(spans, &batch, &budget);
    if (batch.count != 0) closed += purge_batch_locked(spans, &batch);
  }
  return closed;
}

// ---- checks ----

static const char *broken_in_bucket_locked(struct hz4_mid_spans *spans, uint32_t size_class, uint32_t bucket,
                                           uint64_t *free_count) {
  struct hz4_span *span = spans->partial[bucket];
  for (uint32_t n = 0; n < spans->spans_in[bucket]; ++n, span = span->next) {
    const char *broken = hz4_span_broken(span);
    if (broken != NULL) return broken;
    bool waits = hz4_option.harden != 0 || span->segment == NULL || bucket == PURGING;
    bool partial = span->free_count > 0 && (!is_complete(span) || waits);
    HZ4_HOLDS(partial, "mid: a full or an empty span is listed as partial");
    HZ4_HOLDS(span->kind == HZ4_SPAN_OBJECTS && span->size_class == size_class, "mid: a span of another class");
    HZ4_HOLDS(span->shard == spans->shard, "mid: a span of another shard");
    HZ4_HOLDS(span->bucket == bucket && (bucket == PURGING || bucket_of(span) == bucket),
              "mid: a span is in the wrong bucket");
    HZ4_HOLDS(hz4_pagemap_span(span->base) == span, "mid: a span is not in the page map");
    HZ4_HOLDS(span->next->prev == span, "mid: broken list");
    *free_count += span->free_count;
  }
  HZ4_HOLDS(span == spans->partial[bucket], "mid: a list is no ring of so many spans");
  return NULL;
}

const char *hz4_mid_spans_broken(struct hz4_mid_spans *spans, uint32_t size_class) {
  uint64_t free_count = 0;
  const char *broken = NULL;
  for (uint32_t b = 0; b <= PURGING && broken == NULL; ++b) {
    broken = broken_in_bucket_locked(spans, size_class, b, &free_count);
  }
  if (broken != NULL) return broken;
  HZ4_HOLDS(free_count == spans->free_count, "mid: free objects do not add up");
  return NULL;
}
