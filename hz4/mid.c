#include "hz4/mid.h"

#include <string.h>

#include "hz4/guarded.h"
#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/misuse.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/policy.h"
#include "hz4/random.h"
#include "hz4/segment.h"
#include "hz4/shard.h"
#include "hz4/sizeclass.h"
#include "hz4/span_objects.h"

// The list of spans that are being purged inside: objects come home to them, but none is taken, and they are not closed.
#define PURGING HZ4_MID_BUCKETS

struct mid_class {
  struct hz4_lock lock;
  // under lock
  uint32_t depot_first, depot_count, depot_slots;  // a ring, the oldest first
  _Atomic(uint32_t) portion;  // objects that one call should bring; read by anybody
  void **depot;
  uint64_t object_count, free_count;  // of all spans; free_count: bits set
  uint64_t visited;                   // spans that objects came home to, so far
  struct hz4_policy_class policy;
  uint8_t shard;                             // constant
  uint64_t span_count, takes, purged_bytes;  // takes, purged_bytes: so far
  struct hz4_span *partial[HZ4_MID_BUCKETS + 1];  // spans with free objects, each list a ring; bucket 0 has the fullest
  uint32_t spans_in[HZ4_MID_BUCKETS + 1];         // how many
  // Of each list so many spans, from the first on, are still to be purged inside: if so many of 8 parts are free.
  uint32_t to_purge[HZ4_MID_BUCKETS], purge_eighths;
  bool purge_goes_on;
  struct hz4_span *waiting;  // the span that was complete last, when it is not to be closed at once
} __attribute__((aligned(HZ4_CACHE_LINE)));

static struct mid_class first_shard[HZ4_MID_CLASSES] = {
    [0 ... HZ4_MID_CLASSES - 1] = {.lock = HZ4_LOCK_INIT(HZ4_RANK_MID), .portion = HZ4_MOVE_OBJECTS},
};

// The classes of each shard; NULL: nobody has come to it yet.
static _Atomic(struct mid_class *) shards[HZ4_SHARDS_MAX] = {first_shard};

// How often each class has declined.
HZ4_IN_DATA static _Atomic(uint32_t) declines[HZ4_MID_CLASSES];

// ---- shards ----

// NULL: there is none yet.
static struct mid_class *made(uint32_t shard, uint32_t size_class) {
  struct mid_class *classes = hz4_load_acquire(&shards[shard]);  // pairs with make
  return classes != NULL ? &classes[size_class] : NULL;
}

// The first shard, where there is no memory for this one, or fork is on.
HZ4_NOINLINE static struct mid_class *make(uint32_t shard) {
  struct mid_class *classes = hz4_meta_alloc(sizeof(first_shard));
  if (classes == NULL) return first_shard;
  for (uint32_t c = 0; c < HZ4_MID_CLASSES; ++c) {
    classes[c].lock.rank = HZ4_RANK_MID;
    classes[c].shard = (uint8_t)shard;
    hz4_store_relaxed(&classes[c].portion, HZ4_MOVE_OBJECTS);
  }
  struct mid_class *winner = first_shard;
  // Fork takes this lock first, and so knows of all shards that there are.
  if (hz4_lock_enter(&first_shard[1].lock)) {
    winner = hz4_load_relaxed(&shards[shard]);
    if (winner == NULL) hz4_store_release(&shards[shard], winner = classes);  // publishes the locks
    hz4_lock_release(&first_shard[1].lock);
  }
  if (winner != classes) hz4_meta_free(classes, sizeof(first_shard));
  return winner;
}

static struct mid_class *mid_of(uint32_t shard, uint32_t size_class) {
  struct mid_class *mid = made(shard, size_class);
  return HZ4_LIKELY(mid != NULL) ? mid : make(shard) + size_class;
}

static struct mid_class *mid_here(uint32_t size_class) {
  return mid_of(hz4_shard_here(), size_class);
}

// ---- spans ----

static void unlink_locked(struct mid_class *mid, struct hz4_span *span) {
  struct hz4_span **first = &mid->partial[span->bucket];
  if (*first == span) *first = span->next != span ? span->next : NULL;
  span->prev->next = span->next;
  span->next->prev = span->prev;
  --mid->spans_in[span->bucket];
}

static void link_last_locked(struct mid_class *mid, struct hz4_span *span, uint32_t bucket) {
  struct hz4_span *first = mid->partial[bucket];
  span->bucket = (uint8_t)bucket;
  span->next = first != NULL ? first : span;
  span->prev = first != NULL ? first->prev : span;
  span->prev->next = span->next->prev = span;
  if (first == NULL) mid->partial[bucket] = span;
  ++mid->spans_in[bucket];
}

// As the first of its list; if those are still to be purged inside, it is too.
static void link_locked(struct mid_class *mid, struct hz4_span *span, uint32_t bucket) {
  link_last_locked(mid, span, bucket);
  mid->partial[bucket] = span;
  if (mid->to_purge[bucket] != 0) ++mid->to_purge[bucket];
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
static void relink_locked(struct mid_class *mid, struct hz4_span *span, uint32_t before) {
  if (span->bucket == PURGING) return;
  if (span->free_count == 0) {
    if (before != 0) unlink_locked(mid, span);
    return;
  }
  uint32_t bucket = bucket_of(span);
  if (before != 0 && bucket == span->bucket) return;
  if (before != 0) unlink_locked(mid, span);
  link_locked(mid, span, bucket);
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
static struct hz4_span *open_span_locked(struct mid_class *mid, uint32_t size_class) {
  struct hz4_away away;
  hz4_lock_leave(&mid->lock, &away);
  struct hz4_span *span = new_span(size_class, mid->shard);
  hz4_lock_return(&away);
  if (span == NULL) return NULL;
  link_locked(mid, span, bucket_of(span));
  ++mid->span_count;
  mid->object_count += span->object_count;
  mid->free_count += span->free_count;
  return span;
}

// Every object is home.
static bool is_complete(const struct hz4_span *span) {
  return span->free_count == span->object_count;
}

// pre: every object is home, and the span is on no list.
static void close_span_locked(struct mid_class *mid, struct hz4_span *span) {
  hz4_lock_assert_held(&mid->lock);
  if (mid->waiting == span) mid->waiting = NULL;
  --mid->span_count;
  mid->object_count -= span->object_count;
  mid->free_count -= span->free_count;
  size_t pages = span->bytes >> HZ4_PAGE_SHIFT;
  hz4_pagemap_set(span->base, pages, NULL, 0);
  if (span->state != NULL) hz4_pagemap_set_states(span, 0);
  hz4_segment_closed(hz4_span_purged_bytes(span));
  // Cannot fail: fork has not come to the segment lock while a lock of Mid is held.
  hz4_segment_free(span->segment, span->base, pages, span->purged != 0);
  span->kind = HZ4_SPAN_FREE;
  hz4_meta_free(span, span->meta_bytes);
}

// Closes the span, so that any class may use its memory, if it has any: it is complete, and not being purged. Hardened, it waits, and
// the one is closed that waited before, if nobody took of it: what is freed is not another class's at once. Returns the
// number of spans closed.
static uint32_t close_complete_locked(struct mid_class *mid, struct hz4_span *span) {
  if (span->segment == NULL) return 0;
  struct hz4_span *closing = span;
  if (hz4_option.harden != 0) {
    closing = mid->waiting != span ? mid->waiting : NULL;
    mid->waiting = span;
    if (closing == NULL || !is_complete(closing) || closing->bucket == PURGING) return 0;
  }
  unlink_locked(mid, closing);
  close_span_locked(mid, closing);
  return 1;
}

// Closes what waits. Returns the number of spans.
static uint32_t close_empty_locked(struct mid_class *mid) {
  uint32_t closed = 0;
  for (uint32_t bucket = 0; bucket < HZ4_MID_BUCKETS; ++bucket) {
    struct hz4_span *span = mid->partial[bucket], *next;
    for (uint32_t n = mid->spans_in[bucket]; n != 0; --n, span = next) {
      next = span->next;
      if (!is_complete(span) || span->segment == NULL) continue;
      unlink_locked(mid, span);
      close_span_locked(mid, span);
      ++closed;
    }
  }
  return closed;
}

// ---- objects ----

// Takes up to `want` objects out of the span; shuffled: from anywhere in it. 0: they have no memory, and the limit allows none.
static uint32_t take_from_span_locked(struct mid_class *mid, struct hz4_span *span, void **out, uint32_t want,
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
  mid->free_count -= taken;
  relink_locked(mid, span, before);
  return taken;
}

// Asks for the lines that an object meets as it comes home, or leaves.
static void ask_for(const struct hz4_span *span) {
  if (span == NULL) return;
  __builtin_prefetch(&span->base, 1);
  __builtin_prefetch(&span->free_bits, 1);
}

void hz4_mid_expect(uint32_t size_class) {
  struct mid_class *mid = made(hz4_shard_here(), size_class);
  if (mid == NULL) return;
  __builtin_prefetch(mid, 1);
  __builtin_prefetch(&mid->policy, 1);
}

// Brings objects home, but for those of other shards, which it moves to the front: *strays of them. Returns the number of
// spans that this closed.
static uint32_t put_locked(struct mid_class *mid, uint32_t size_class, void **objects, uint32_t count,
                           uint32_t *strays) {
  uint32_t closed = 0, asked = 0;
  *strays = 0;
  for (uint32_t i = 0; i < count; ++mid->visited) {
    for (; asked < count && asked < i + HZ4_MID_SPANS; ++asked) ask_for(hz4_pagemap_find(objects[asked]));
    struct hz4_span *span = hz4_pagemap_find(objects[i]);
    if (HZ4_UNLIKELY(span == NULL || span->size_class != size_class)) {
      hz4_misuse_note("free of a pointer that is not allocated", objects[i++]);
      continue;
    }
    if (HZ4_UNLIKELY(span->shard != mid->shard)) {
      objects[(*strays)++] = objects[i++];
      continue;
    }
    uint32_t before = span->free_count;
    i += hz4_span_put(span, objects + i, count - i);
    mid->free_count += span->free_count - before;
    relink_locked(mid, span, before);
    if (is_complete(span) && span->bucket != PURGING) closed += close_complete_locked(mid, span);
  }
  return closed;
}

// ---- purging inside spans ----

// From now on memory inside the spans that have at least so many of 8 parts free goes back.
static void begin_purge_locked(struct mid_class *mid, uint32_t eighths) {
  for (uint32_t bucket = 0; bucket < HZ4_MID_BUCKETS; ++bucket) mid->to_purge[bucket] = mid->spans_in[bucket];
  mid->purge_eighths = eighths;
  mid->purge_goes_on = true;
}

// The next span to be looked at, the emptiest first, which becomes the last of its list; NULL: that was all.
static struct hz4_span *next_to_purge_locked(struct mid_class *mid) {
  for (uint32_t bucket = HZ4_MID_BUCKETS; bucket-- > 0;) {
    struct hz4_span *span = mid->partial[bucket];
    if (span == NULL) mid->to_purge[bucket] = 0;
    if (mid->to_purge[bucket] == 0) continue;
    --mid->to_purge[bucket];
    mid->partial[bucket] = span->next;
    return span;
  }
  mid->purge_goes_on = false;
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
static void fill_batch_locked(struct mid_class *mid, struct batch *batch, struct budget *budget) {
  batch->count = batch->bytes = 0;
  batch->spans = 0;
  while (batch->count < HZ4_PURGE_RUNS && batch->bytes < budget->bytes && budget->looks != 0) {
    struct hz4_span *span = next_to_purge_locked(mid);
    if (span == NULL) break;
    --budget->looks;
    if (span->segment == NULL || span->free_count * 8 < span->object_count * mid->purge_eighths) continue;
    size_t found = hz4_span_purge(span, batch->runs + batch->count, HZ4_PURGE_RUNS - batch->count);
    if (found == 0) continue;
    for (size_t end = batch->count + found; batch->count < end; ++batch->count) {
      batch->bytes += batch->runs[batch->count].bytes;
    }
    unlink_locked(mid, span);
    link_last_locked(mid, span, PURGING);
    if (batch->spans++ == 0) batch->first = span;
  }
  budget->bytes -= batch->bytes < budget->bytes ? batch->bytes : budget->bytes;
}

// Of the last span of a full batch there may be more: it is the next to be looked at.
static void purge_again_locked(struct mid_class *mid, struct hz4_span *span) {
  uint32_t bucket = bucket_of(span);
  if (mid->to_purge[bucket] == 0) mid->to_purge[bucket] = 1;
  mid->purge_goes_on = true;
  mid->partial[bucket] = span;
}

// Purges, and leaves the lock meanwhile. Returns the number of spans that had become complete and were closed.
static uint32_t purge_batch_locked(struct mid_class *mid, struct batch *batch) {
  mid->purged_bytes += batch->bytes;
  struct hz4_away away;
  hz4_lock_leave(&mid->lock, &away);
  hz4_os_purge_runs(batch->runs, batch->count);
  hz4_segment_purged_inside(batch->bytes);
  hz4_lock_return(&away);
  uint32_t closed = 0;
  for (struct hz4_span *span = batch->first, *next; batch->spans != 0; span = next) {
    next = span->next;
    --batch->spans;
    unlink_locked(mid, span);
    link_last_locked(mid, span, bucket_of(span));
    if (is_complete(span)) {
      closed += close_complete_locked(mid, span);
      continue;
    }
    if (batch->spans == 0 && batch->count == HZ4_PURGE_RUNS) purge_again_locked(mid, span);
  }
  return closed;
}

// What is to be purged inside spans, as far as one call may; the rest is for later ones. Returns as above.
static uint32_t purge_some_locked(struct mid_class *mid) {
  struct budget budget = {HZ4_PURGE_BYTES, HZ4_PURGE_LOOKS};
  struct batch batch;
  uint32_t closed = 0;
  while (budget.bytes != 0 && budget.looks != 0 && mid->purge_goes_on) {
    fill_batch_locked(mid, &batch, &budget);
    if (batch.count != 0) closed += purge_batch_locked(mid, &batch);
  }
  return closed;
}

// ---- depot ----

static uint64_t out_locked(const struct mid_class *mid) {
  return mid->object_count - mid->free_count;
}

static void depot_put_locked(struct mid_class *mid, void *const *objects, uint32_t n) {
  if (n == 0) return;
  uint32_t at = (mid->depot_first + mid->depot_count) & (mid->depot_slots - 1), room = mid->depot_slots - at;
  uint32_t first = n < room ? n : room;
  memcpy(mid->depot + at, objects, first * sizeof(void *));
  memcpy(mid->depot, objects + first, (n - first) * sizeof(void *));
  mid->depot_count += n;
}

// The newest; pre: there are so many.
static void depot_take_locked(struct mid_class *mid, void **out, uint32_t n) {
  mid->depot_count -= n;
  uint32_t at = (mid->depot_first + mid->depot_count) & (mid->depot_slots - 1), room = mid->depot_slots - at;
  uint32_t first = n < room ? n : room;
  memcpy(out, mid->depot + at, first * sizeof(void *));
  memcpy(out + first, mid->depot, (n - first) * sizeof(void *));
}

// Makes room for `needed` pointers, if there is memory for the array; leaves the lock meanwhile.
static void grow_depot_locked(struct mid_class *mid, uint32_t needed) {
  uint32_t slots = mid->depot_slots != 0 ? mid->depot_slots : HZ4_DEPOT_SLOTS_MIN;
  while (slots < needed) slots *= 2;
  struct hz4_away away;
  hz4_lock_leave(&mid->lock, &away);
  void **depot = hz4_meta_alloc(slots * sizeof(void *));
  hz4_lock_return(&away);
  if (depot == NULL) return;
  void **other = depot;
  uint32_t other_slots = slots;
  if (slots > mid->depot_slots) {  // or else somebody else was faster
    other = mid->depot;
    uint32_t n = mid->depot_count;
    if (n != 0) depot_take_locked(mid, depot, n);
    mid->depot_first = 0;
    mid->depot_count = n;
    other_slots = mid->depot_slots;
    mid->depot = depot;
    mid->depot_slots = slots;
  }
  if (other == NULL) return;
  hz4_lock_leave(&mid->lock, &away);
  hz4_meta_free(other, other_slots * sizeof(void *));
  hz4_lock_return(&away);
}

// How many of so many objects the depot has room for. May leave the lock.
static uint32_t fits_depot_locked(struct mid_class *mid, uint32_t count, uint32_t limit) {
  if (mid->depot_count >= limit) return 0;
  uint32_t fit = count < limit - mid->depot_count ? count : limit - mid->depot_count;
  if (mid->depot_count + fit <= mid->depot_slots) return fit;
  grow_depot_locked(mid, mid->depot_count + fit);
  if (limit > mid->depot_slots) limit = mid->depot_slots;
  uint32_t room = limit > mid->depot_count ? limit - mid->depot_count : 0;
  return count < room ? count : room;
}

// What is of other shards and exceeds the bound waits in the depot until it is a batch.
static bool keep_strays_locked(struct mid_class *mid, uint32_t size_class, void *const *objects, uint32_t count) {
  size_t batch = HZ4_INBOX_BYTES_MAX / hz4_class_bytes(size_class);
  if (batch > HZ4_BATCH_OBJECTS) batch = HZ4_BATCH_OBJECTS;
  uint32_t most = hz4_policy_depot(&mid->policy, out_locked(mid)) + (uint32_t)batch;
  if (fits_depot_locked(mid, count, most) != count) return false;
  depot_put_locked(mid, objects, count);
  return true;
}

// The depot's oldest; pre: there are so many.
static void take_oldest_locked(struct mid_class *mid, void **out, uint32_t n) {
  uint32_t room = mid->depot_slots - mid->depot_first, first = n < room ? n : room;
  memcpy(out, mid->depot + mid->depot_first, first * sizeof(void *));
  memcpy(out + first, mid->depot, (n - first) * sizeof(void *));
  mid->depot_first = (mid->depot_first + n) & (mid->depot_slots - 1);
  mid->depot_count -= n;
}

// All that is of this shard goes home. Returns the number of spans closed.
HZ4_NOINLINE static uint32_t empty_depot_locked(struct mid_class *mid, uint32_t size_class) {
  void *objects[HZ4_MOVE_OBJECTS];
  uint32_t closed = 0, strays;
  for (uint32_t n, left = mid->depot_count; left != 0; left -= n) {
    n = left < HZ4_MOVE_OBJECTS ? left : HZ4_MOVE_OBJECTS;
    take_oldest_locked(mid, objects, n);
    closed += put_locked(mid, size_class, objects, n, &strays);
    depot_put_locked(mid, objects, strays);
  }
  return closed;
}

// How many objects should come by one call, where so many just went to so many spans.
static uint32_t portion_of(uint32_t count, uint64_t spans) {
  uint64_t portion = count * HZ4_MID_SPANS / spans;
  if (portion < HZ4_MID_SPANS / 2) return HZ4_MID_SPANS / 2;
  return portion < HZ4_MOVE_OBJECTS ? (uint32_t)portion : HZ4_MOVE_OBJECTS;
}

// Called when objects came home. What the depot keeps of a class that has declined keeps whole spans.
static uint32_t note_fall_locked(struct mid_class *mid, uint32_t size_class, struct hz4_mid_result *result) {
  enum hz4_policy_fall fall = hz4_policy_fell(&mid->policy, out_locked(mid), hz4_class_bytes(size_class));
  if (fall == HZ4_FALL_PURGE) begin_purge_locked(mid, HZ4_DECLINE_PURGE_EIGHTHS);
  if (fall == HZ4_FALL_NONE) return 0;
  result->declined = true;
  hz4_fetch_add_relaxed(&declines[size_class], 1);
  return empty_depot_locked(mid, size_class);
}

// ---- interface ----

// False: fork is on.
static bool take_at(struct mid_class *mid, uint32_t size_class, void **out, uint32_t want, uint32_t fresh, void *owner,
                    bool zero, struct hz4_mid_result *result) {
  if (!hz4_lock_enter(&mid->lock)) return false;
  ++mid->takes;
  hz4_policy_visit(&mid->policy, owner, true);
  if (mid->depot_count != 0) {
    uint32_t n = mid->depot_count < want ? mid->depot_count : want;
    depot_take_locked(mid, out, n);
    result->objects = result->from_depot = n;
  } else {
    hz4_policy_depot_empty(&mid->policy, hz4_class_bytes(size_class));
  }
  size_t wanted = 0;  // of what was purged: the clock is looked at once
  for (uint32_t bucket = 0, n = 0; result->objects < want && result->from_depot == 0 && n < HZ4_MID_SPANS; ++n) {
    while (bucket < HZ4_MID_BUCKETS && mid->partial[bucket] == NULL) ++bucket;
    struct hz4_span *span = bucket < HZ4_MID_BUCKETS ? mid->partial[bucket] : NULL;
    if (span == NULL) {
      if (result->objects != 0 || fresh == 0) break;
      if (want > fresh) want = fresh;
      span = open_span_locked(mid, size_class);
      if (span == NULL) break;
      ++result->spans_opened;
    }
    ask_for(span->next);
    hz4_store_relaxed(&span->owner, owner);
    if (zero && result->objects == 0 && hz4_span_next_is_zero(span)) {
      result->zeroed = true;
      want = 1;
    }
    bool shuffled = hz4_option.harden != 0 && !zero;
    uint32_t taken = take_from_span_locked(mid, span, out + result->objects, want - result->objects, shuffled,
                                           &wanted);
    if (taken == 0) break;
    result->objects += taken;
  }
  if (wanted != 0) hz4_policy_wanted(wanted);
  if (hz4_policy_rose(&mid->policy, out_locked(mid), hz4_class_bytes(size_class))) mid->purge_goes_on = false;
  result->alone = hz4_policy_is_alone(&mid->policy);
  result->declines = hz4_load_relaxed(&declines[size_class]);
  hz4_lock_release(&mid->lock);
  return true;
}

// Without the lock.
__attribute__((no_sanitize("thread"))) static bool glance_has_any(const struct mid_class *mid) {
  return mid->depot_count != 0 || mid->free_count != 0;
}

struct hz4_mid_result hz4_mid_take(uint32_t size_class, void **out, uint32_t want, uint32_t fresh, void *owner,
                                   bool zero) {
  struct hz4_mid_result result = {0};
  uint32_t count = hz4_shard_count();
  struct mid_class *mid = mid_here(size_class);
  if (!take_at(mid, size_class, out, want, count == 1 ? fresh : 0, owner, zero, &result)) return result;
  if (HZ4_LIKELY(count == 1) || result.objects != 0 || fresh == 0) return result;
  // Before memory is asked of the system, or of other classes.
  for (uint32_t s = 0; s < count && result.objects == 0; ++s) {
    struct mid_class *other = made(s, size_class);
    if (other == NULL || other == mid || !glance_has_any(other)) continue;
    if (!take_at(other, size_class, out, want, 0, owner, zero, &result)) return result;
    ++result.away_locks;
    result.away = result.objects;
  }
  if (result.objects == 0) take_at(mid, size_class, out, want, fresh, owner, zero, &result);
  return result;
}

// Gives objects to the shard; *left of them, of other shards, are at the front now. home: none stays in the depot. False:
// fork is on.
static bool give_at(struct mid_class *mid, uint32_t size_class, void **objects, uint32_t count, const void *giver,
                    bool home, bool *purge, uint32_t *left, struct hz4_mid_result *result) {
  if (!hz4_lock_enter(&mid->lock)) return false;
  hz4_policy_visit(&mid->policy, giver, giver == mid->policy.visitor && hz4_mid_owner(objects[0]) == giver);
  bool past = home || hz4_policy_is_alone(&mid->policy);
  uint32_t limit = hz4_policy_depot(&mid->policy, out_locked(mid)), fit = past ? 0 : fits_depot_locked(mid, count, limit);
  uint32_t portion = HZ4_MOVE_OBJECTS;
  depot_put_locked(mid, objects, fit);
  *left = 0;
  if (fit != count) {
    uint64_t before = mid->visited;
    result->spans_closed += put_locked(mid, size_class, objects + fit, count - fit, left);
    memmove(objects, objects + fit, *left * sizeof(void *));
    // The bound sinks as objects come home: as many again may have to follow.
    limit = hz4_policy_depot(&mid->policy, out_locked(mid));
    if (mid->depot_count > limit) {
      uint32_t n = mid->depot_count - limit < count - *left ? mid->depot_count - limit : count - *left, strays;
      take_oldest_locked(mid, objects + *left, n);
      result->spans_closed += put_locked(mid, size_class, objects + *left, n, &strays);
      *left += strays;
    }
    if (*left != 0 && !home && keep_strays_locked(mid, size_class, objects, *left)) *left = 0;
    portion = portion_of(count, mid->visited - before);
    result->spans_closed += note_fall_locked(mid, size_class, result);
  }
  if (portion != hz4_load_relaxed(&mid->portion)) hz4_store_relaxed(&mid->portion, portion);
  if (HZ4_UNLIKELY(*purge && mid->purge_goes_on)) {
    result->spans_closed += purge_some_locked(mid);
    *purge = false;
  }
  hz4_lock_release(&mid->lock);
  return true;
}

// Of an object that is out, or wrong: then any.
static uint32_t shard_of(const void *object) {
  const struct hz4_span *span = hz4_pagemap_span(object);
  return span != NULL && span->shard < HZ4_SHARDS_MAX ? span->shard : 0;
}

// Moves the objects of the shard behind those of others. Returns how many those are.
static uint32_t part(void **objects, uint32_t count, uint32_t shard) {
  uint32_t others = 0;
  for (uint32_t i = 0; i < count; ++i) {
    void *object = objects[i];
    if (shard_of(object) == shard) continue;
    objects[i] = objects[others];
    objects[others++] = object;
  }
  return others;
}

// To the shards that they are of, one after the other, a batch each. Returns how many are left, at the front: fork is on.
static uint32_t send(uint32_t size_class, void **objects, uint32_t count, bool home, bool *purge,
                     struct hz4_mid_result *result) {
  while (count != 0) {
    uint32_t shard = shard_of(objects[count - 1]), others = part(objects, count, shard), left;
    struct mid_class *mid = mid_of(shard, size_class);
    if (!give_at(mid, size_class, objects + others, count - others, NULL, home, purge, &left, result)) break;
    ++result->away_locks;
    result->away += count - others;
    count = others + left;
  }
  return count;
}

struct hz4_mid_result hz4_mid_give(uint32_t size_class, void **objects, uint32_t count, const void *giver, bool purge) {
  struct hz4_mid_result result = {0};
  uint32_t left;
  struct mid_class *mid = mid_here(size_class);
  if (!give_at(mid, size_class, objects, count, giver, false, &purge, &left, &result)) return result;
  if (HZ4_UNLIKELY(left != 0)) left = send(size_class, objects, left, false, &purge, &result);
  result.objects = count - left;
  result.declines = hz4_load_relaxed(&declines[size_class]);
  return result;
}

uint32_t hz4_mid_send_home(uint32_t size_class, void **objects, uint32_t count) {
  struct hz4_mid_result result = {0};
  bool purge = false;
  return send(size_class, objects, count, true, &purge, &result);
}

uint32_t hz4_mid_drain(uint32_t shard, uint32_t size_class, void **out, uint32_t room) {
  struct mid_class *mid = made(shard, size_class);
  if (mid == NULL || !glance_has_any(mid) || !hz4_lock_enter(&mid->lock)) return 0;
  uint32_t n = mid->depot_count < room ? mid->depot_count : room;
  if (n == mid->depot_count) mid->policy.allowance /= 2;
  if (n != 0) take_oldest_locked(mid, out, n);
  hz4_lock_release(&mid->lock);
  return n;
}

void *hz4_mid_owner(const void *object) {
  struct hz4_span *span = hz4_pagemap_span(object);
  return span != NULL ? hz4_load_relaxed(&span->owner) : NULL;
}

__attribute__((no_sanitize("thread"))) uint64_t hz4_mid_glance_held(const void *object) {
  const struct hz4_span *span = hz4_pagemap_span(object);
  if (span == NULL || span->kind != HZ4_SPAN_OBJECTS || span->free_count >= span->object_count) return 0;
  uint64_t out = span->object_count - span->free_count;
  uint64_t kept = span->bytes - hz4_span_purged_bytes(span), used = out * hz4_class_bytes(span->size_class);
  return kept > used ? (kept - used) / out : 0;
}

uint32_t hz4_mid_portion(uint32_t size_class) {
  struct mid_class *mid = made(hz4_shard_here(), size_class);
  return mid != NULL ? hz4_load_relaxed(&mid->portion) : HZ4_MOVE_OBJECTS;
}

uint32_t hz4_mid_declines(uint32_t size_class) {
  return hz4_load_relaxed(&declines[size_class]);
}

bool hz4_mid_is_declining(uint32_t size_class) {
  struct mid_class *mid = made(hz4_shard_here(), size_class);
  return mid != NULL && hz4_load_relaxed(&mid->policy.run) != 0;
}

static uint32_t trim(struct mid_class *mid, uint32_t size_class) {
  if (!hz4_lock_enter(&mid->lock)) return 0;
  uint32_t closed = empty_depot_locked(mid, size_class);
  closed += close_empty_locked(mid);
  hz4_policy_out(&mid->policy, out_locked(mid), hz4_class_bytes(size_class));
  begin_purge_locked(mid, 0);
  while (mid->purge_goes_on) closed += purge_some_locked(mid);
  hz4_lock_release(&mid->lock);
  return closed;
}

bool hz4_mid_trim(void) {
  uint32_t closed = 0;
  for (uint32_t s = 0; s < HZ4_SHARDS_MAX; ++s) {
    for (uint32_t c = 1; c < HZ4_MID_CLASSES && made(s, c) != NULL; ++c) closed += trim(made(s, c), c);
  }
  return closed != 0;
}

static void add_stats(struct mid_class *mid, uint32_t size_class, struct hz4_mid_stats *sum) {
  if (!hz4_lock_enter(&mid->lock)) return;
  size_t object_bytes = hz4_class_bytes(size_class);
  if (size_class == HZ4_ZERO_CLASS) {
    sum->nothing_bytes += (uint64_t)mid->span_count << HZ4_PAGE_SHIFT;
    hz4_lock_release(&mid->lock);
    return;
  }
  sum->spans += mid->span_count;
  sum->span_bytes += (uint64_t)mid->span_count * hz4_class_table[size_class].span_pages << HZ4_PAGE_SHIFT;
  sum->span_objects += mid->object_count;
  sum->free_objects += mid->free_count;
  sum->free_bytes += mid->free_count * object_bytes;
  sum->out_bytes += out_locked(mid) * object_bytes;
  sum->depot_objects += mid->depot_count;
  sum->depot_bytes += mid->depot_count * object_bytes;
  sum->takes += mid->takes;
  sum->purged_bytes += mid->purged_bytes;
  hz4_lock_release(&mid->lock);
}

void hz4_mid_add_stats(uint32_t size_class, struct hz4_mid_stats *sum) {
  for (uint32_t s = 0; s < HZ4_SHARDS_MAX; ++s) {
    struct mid_class *mid = made(s, size_class);
    if (mid != NULL) add_stats(mid, size_class, sum);
  }
}

void hz4_mid_stats(struct hz4_mid_stats *out) {
  *out = (struct hz4_mid_stats){0};
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) hz4_mid_add_stats(c, out);
}

static const char *broken_in_bucket_locked(struct mid_class *mid, uint32_t size_class, uint32_t bucket, uint64_t *free_count) {
  struct hz4_span *span = mid->partial[bucket];
  for (uint32_t n = 0; n < mid->spans_in[bucket]; ++n, span = span->next) {
    const char *broken = hz4_span_broken(span);
    if (broken != NULL) return broken;
    bool waits = hz4_option.harden != 0 || span->segment == NULL || bucket == PURGING;
    bool partial = span->free_count > 0 && (!is_complete(span) || waits);
    HZ4_HOLDS(partial, "mid: a full or an empty span is listed as partial");
    HZ4_HOLDS(span->kind == HZ4_SPAN_OBJECTS && span->size_class == size_class, "mid: a span of another class");
    HZ4_HOLDS(span->shard == mid->shard, "mid: a span of another shard");
    HZ4_HOLDS(span->bucket == bucket && (bucket == PURGING || bucket_of(span) == bucket),
              "mid: a span is in the wrong bucket");
    HZ4_HOLDS(hz4_pagemap_span(span->base) == span, "mid: a span is not in the page map");
    HZ4_HOLDS(span->next->prev == span, "mid: broken list");
    *free_count += span->free_count;
  }
  HZ4_HOLDS(span == mid->partial[bucket], "mid: a list is no ring of so many spans");
  return NULL;
}

static const char *broken_locked(struct mid_class *mid, uint32_t size_class) {
  uint64_t free_count = 0;
  const char *broken = NULL;
  for (uint32_t b = 0; b <= PURGING && broken == NULL; ++b) {
    broken = broken_in_bucket_locked(mid, size_class, b, &free_count);
  }
  if (broken != NULL) return broken;
  HZ4_HOLDS(free_count == mid->free_count, "mid: free objects do not add up");
  HZ4_HOLDS(mid->depot_count <= mid->depot_slots, "mid: depot overflows its array");
  uint64_t own = 0;
  for (uint32_t i = 0; i < mid->depot_count; ++i) {
    struct hz4_span *span = hz4_pagemap_span(mid->depot[(mid->depot_first + i) & (mid->depot_slots - 1)]);
    HZ4_HOLDS(span != NULL && span->size_class == size_class, "mid: a depot object of another class");
    own += span->shard == mid->shard;
  }
  HZ4_HOLDS(own + mid->free_count <= mid->object_count, "mid: more objects than there are");
  return NULL;
}

static void check(struct mid_class *mid, uint32_t size_class) {
  if (!hz4_lock_enter(&mid->lock)) return;
  const char *broken = broken_locked(mid, size_class);
  hz4_lock_release(&mid->lock);
  if (broken != NULL) hz4_panic(broken);
}

void hz4_mid_check(void) {
  for (uint32_t s = 0; s < HZ4_SHARDS_MAX; ++s) {
    for (uint32_t c = 1; c < HZ4_MID_CLASSES && made(s, c) != NULL; ++c) check(made(s, c), c);
  }
}

static void for_all_locks(void (*act)(struct hz4_lock *lock)) {
  for (uint32_t s = 0; s < HZ4_SHARDS_MAX; ++s) {
    for (uint32_t c = 1; c < HZ4_MID_CLASSES && made(s, c) != NULL; ++c) act(&made(s, c)->lock);
  }
}

void hz4_mid_fork_prepare(void) {
  for_all_locks(hz4_lock_fork_acquire);
}

void hz4_mid_fork_parent(void) {
  for_all_locks(hz4_lock_fork_release);
}

void hz4_mid_fork_child(void) {
  for_all_locks(hz4_lock_fork_reset);
}
