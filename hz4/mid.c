#include "hz4/mid.h"

#include <string.h>

#include "hz4/meta.h"
#include "hz4/mid_spans.h"
#include "hz4/pagemap.h"
#include "hz4/policy.h"
#include "hz4/shard.h"
#include "hz4/sizeclass.h"
#include "hz4/span_objects.h"

struct mid_class {
  struct hz4_mid_spans spans;  // with the lock
  // under it
  uint32_t depot_first, depot_count, depot_slots;  // a ring, the oldest first
  _Atomic(uint32_t) portion;  // objects that one call should bring; read by anybody
  void **depot;
  struct hz4_policy_class policy;
  uint64_t takes;  // so far
} __attribute__((aligned(HZ4_CACHE_LINE)));

HZ4_BEHIND_DATA static struct mid_class first_shard[HZ4_MID_CLASSES] = {
    [0 ... HZ4_MID_CLASSES - 1] = {.spans.lock = HZ4_LOCK_INIT(HZ4_RANK_MID), .portion = HZ4_MOVE_OBJECTS},
};

// The classes of each shard; NULL: nobody has come to it yet.
static _Atomic(void *) shards[HZ4_SHARDS_MAX] = {first_shard};

// How often each class has declined.
HZ4_IN_DATA static _Atomic(uint32_t) declines[HZ4_MID_CLASSES];

// ---- shards ----

// NULL: there is none yet.
static struct mid_class *made(uint32_t shard, uint32_t size_class) {
  struct mid_class *classes = hz4_load_acquire(&shards[shard]);  // pairs with hz4_meta_make_shard
  return classes != NULL ? &classes[size_class] : NULL;
}

static void begin(void *made, uint32_t shard) {
  struct mid_class *classes = made;
  for (uint32_t c = 0; c < HZ4_MID_CLASSES; ++c) {
    classes[c].spans.lock.rank = HZ4_RANK_MID;
    classes[c].spans.shard = (uint8_t)shard;
    hz4_store_relaxed(&classes[c].portion, HZ4_MOVE_OBJECTS);
  }
}

static struct mid_class *mid_of(uint32_t shard, uint32_t size_class) {
  struct mid_class *mid = made(shard, size_class);
  if (HZ4_LIKELY(mid != NULL)) return mid;
  mid = hz4_meta_make_shard(shards, shard, sizeof(first_shard), begin, &first_shard[1].spans.lock);
  return mid + size_class;
}

static struct mid_class *mid_here(uint32_t size_class) {
  return mid_of(hz4_shard_here(), size_class);
}

void hz4_mid_expect(uint32_t size_class) {
  struct mid_class *mid = made(hz4_shard_here(), size_class);
  if (mid == NULL) return;
  __builtin_prefetch(mid, 1);
  __builtin_prefetch(&mid->depot, 1);
  __builtin_prefetch(&mid->policy, 1);
}

// ---- depot ----

static uint64_t out_locked(const struct mid_class *mid) {
  return mid->spans.object_count - mid->spans.free_count;
}

// objects may be in the depot itself, where its oldest were: then they move down, if at all.
static void depot_put_locked(struct mid_class *mid, void *const *objects, uint32_t n) {
  if (n == 0) return;
  uint32_t at = (mid->depot_first + mid->depot_count) & (mid->depot_slots - 1), room = mid->depot_slots - at;
  uint32_t first = n < room ? n : room;
  memmove(mid->depot + at, objects, first * sizeof(void *));
  memmove(mid->depot, objects + first, (n - first) * sizeof(void *));
  mid->depot_count += n;
}

static void depot_copy_locked(const struct mid_class *mid, uint32_t at, void **out, uint32_t n) {
  uint32_t room = mid->depot_slots - at, first = n < room ? n : room;
  memcpy(out, mid->depot + at, first * sizeof(void *));
  memcpy(out + first, mid->depot, (n - first) * sizeof(void *));
}

// The newest; pre, also below: there are so many.
static void depot_take_locked(struct mid_class *mid, void **out, uint32_t n) {
  mid->depot_count -= n;
  depot_copy_locked(mid, (mid->depot_first + mid->depot_count) & (mid->depot_slots - 1), out, n);
}

static void depot_take_oldest_locked(struct mid_class *mid, void **out, uint32_t n) {
  depot_copy_locked(mid, mid->depot_first, out, n);
  mid->depot_first = (mid->depot_first + n) & (mid->depot_slots - 1);
  mid->depot_count -= n;
}

// Makes room for `needed` pointers, if there is memory for the array; leaves the lock meanwhile.
static void grow_depot_locked(struct mid_class *mid, uint32_t needed) {
  uint32_t slots = mid->depot_slots != 0 ? mid->depot_slots : HZ4_DEPOT_SLOTS_MIN;
  while (slots < needed) slots *= 2;
  struct hz4_away away;
  hz4_lock_leave(&mid->spans.lock, &away);
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
  hz4_lock_leave(&mid->spans.lock, &away);
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

// All that is of this shard goes home. Returns the number of spans closed.
HZ4_NOINLINE static uint32_t empty_depot_locked(struct mid_class *mid, uint32_t size_class) {
  uint32_t closed = 0, strays;
  for (uint32_t n, left = mid->depot_count; left != 0; left -= n) {
    void **oldest = mid->depot + mid->depot_first;
    n = mid->depot_slots - mid->depot_first;
    if (n > left) n = left;
    closed += hz4_mid_spans_put(&mid->spans, size_class, oldest, n, &strays);
    mid->depot_first = (mid->depot_first + n) & (mid->depot_slots - 1);
    mid->depot_count -= n;
    depot_put_locked(mid, oldest, strays);
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
  if (fall == HZ4_FALL_PURGE) hz4_mid_spans_begin_purge(&mid->spans, HZ4_DECLINE_PURGE_EIGHTHS);
  if (fall == HZ4_FALL_NONE) return 0;
  result->declined = true;
  hz4_fetch_add_relaxed(&declines[size_class], 1);
  return empty_depot_locked(mid, size_class);
}

// ---- interface ----

// False: fork is on.
static bool take_at(struct mid_class *mid, uint32_t size_class, void **out, uint32_t want, uint32_t fresh, void *owner,
                    bool zero, struct hz4_mid_result *result) {
  if (!hz4_lock_enter(&mid->spans.lock)) return false;
  ++mid->takes;
  hz4_policy_visit(&mid->policy, owner, true);
  if (mid->depot_count != 0) {
    uint32_t n = mid->depot_count < want ? mid->depot_count : want;
    depot_take_locked(mid, out, n);
    result->objects = result->from_depot = n;
  } else {
    hz4_policy_depot_empty(&mid->policy, hz4_class_bytes(size_class));
  }
  if (result->from_depot == 0) {
    struct hz4_mid_taken taken = hz4_mid_spans_take(&mid->spans, size_class, out, want, fresh, owner, zero);
    result->objects = taken.objects;
    result->spans_opened += taken.opened;
    result->zeroed = taken.zeroed;
  }
  if (hz4_policy_rose(&mid->policy, out_locked(mid), hz4_class_bytes(size_class))) mid->spans.purge_goes_on = false;
  result->alone = hz4_policy_is_alone(&mid->policy);
  result->declines = hz4_load_relaxed(&declines[size_class]);
  hz4_lock_release(&mid->spans.lock);
  return true;
}

// Without the lock.
__attribute__((no_sanitize("thread"))) static bool glance_has_any(const struct mid_class *mid) {
  return mid->depot_count != 0 || mid->spans.free_count != 0;
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
  if (!hz4_lock_enter(&mid->spans.lock)) return false;
  hz4_policy_visit(&mid->policy, giver, giver == mid->policy.visitor && hz4_mid_owner(objects[0]) == giver);
  bool past = home || hz4_policy_is_alone(&mid->policy);
  uint32_t limit = hz4_policy_depot(&mid->policy, out_locked(mid)), fit = past ? 0 : fits_depot_locked(mid, count, limit);
  uint32_t portion = HZ4_MOVE_OBJECTS;
  depot_put_locked(mid, objects, fit);
  *left = 0;
  if (fit != count) {
    uint64_t before = mid->spans.visited;
    result->spans_closed += hz4_mid_spans_put(&mid->spans, size_class, objects + fit, count - fit, left);
    memmove(objects, objects + fit, *left * sizeof(void *));
    // The bound sinks as objects come home: as many again may have to follow.
    limit = hz4_policy_depot(&mid->policy, out_locked(mid));
    if (mid->depot_count > limit) {
      uint32_t n = mid->depot_count - limit < count - *left ? mid->depot_count - limit : count - *left, strays;
      depot_take_oldest_locked(mid, objects + *left, n);
      result->spans_closed += hz4_mid_spans_put(&mid->spans, size_class, objects + *left, n, &strays);
      *left += strays;
    }
    if (*left != 0 && !home && keep_strays_locked(mid, size_class, objects, *left)) *left = 0;
    portion = portion_of(count, mid->spans.visited - before);
    result->spans_closed += note_fall_locked(mid, size_class, result);
  }
  if (portion != hz4_load_relaxed(&mid->portion)) hz4_store_relaxed(&mid->portion, portion);
  if (HZ4_UNLIKELY(*purge && mid->spans.purge_goes_on)) {
    result->spans_closed += hz4_mid_spans_purge(&mid->spans);
    *purge = false;
  }
  hz4_lock_release(&mid->spans.lock);
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
  if (mid == NULL || !glance_has_any(mid) || !hz4_lock_enter(&mid->spans.lock)) return 0;
  uint32_t n = mid->depot_count < room ? mid->depot_count : room;
  if (n == mid->depot_count) mid->policy.allowance /= 2;
  if (n != 0) depot_take_oldest_locked(mid, out, n);
  hz4_lock_release(&mid->spans.lock);
  return n;
}

void *hz4_mid_owner(const void *object) {
  struct hz4_span *span = hz4_pagemap_span(object);
  return span != NULL ? hz4_load_relaxed(&span->owner) : NULL;
}

__attribute__((no_sanitize("thread"))) uint64_t hz4_mid_glance_held(const void *object) {
  const struct hz4_span *span = hz4_pagemap_span(object);
  if (span == NULL || span->kind != HZ4_SPAN_OBJECTS) return 0;
  uint32_t free_count = *(const volatile uint32_t *)&span->free_count;  // once: it changes
  if (free_count >= span->object_count) return 0;
  uint64_t out = span->object_count - free_count;
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
  if (!hz4_lock_enter(&mid->spans.lock)) return 0;
  uint32_t closed = empty_depot_locked(mid, size_class);
  closed += hz4_mid_spans_close_empty(&mid->spans);
  hz4_policy_out(&mid->policy, out_locked(mid), hz4_class_bytes(size_class));
  hz4_mid_spans_begin_purge(&mid->spans, 0);
  while (mid->spans.purge_goes_on) closed += hz4_mid_spans_purge(&mid->spans);
  hz4_lock_release(&mid->spans.lock);
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
  if (!hz4_lock_enter(&mid->spans.lock)) return;
  size_t object_bytes = hz4_class_bytes(size_class);
  if (size_class == HZ4_ZERO_CLASS) {
    sum->nothing_bytes += (uint64_t)mid->spans.span_count << HZ4_PAGE_SHIFT;
    hz4_lock_release(&mid->spans.lock);
    return;
  }
  sum->spans += mid->spans.span_count;
  sum->span_bytes += (uint64_t)mid->spans.span_count * hz4_class_table[size_class].span_pages << HZ4_PAGE_SHIFT;
  sum->span_objects += mid->spans.object_count;
  sum->free_objects += mid->spans.free_count;
  sum->free_bytes += mid->spans.free_count * object_bytes;
  sum->out_bytes += out_locked(mid) * object_bytes;
  sum->depot_objects += mid->depot_count;
  sum->depot_bytes += mid->depot_count * object_bytes;
  sum->takes += mid->takes;
  sum->purged_bytes += mid->spans.purged_bytes;
  hz4_lock_release(&mid->spans.lock);
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

static const char *broken_locked(struct mid_class *mid, uint32_t size_class) {
  const char *broken = hz4_mid_spans_broken(&mid->spans, size_class);
  if (broken != NULL) return broken;
  HZ4_HOLDS(mid->depot_count <= mid->depot_slots, "mid: depot overflows its array");
  uint64_t own = 0;
  for (uint32_t i = 0; i < mid->depot_count; ++i) {
    struct hz4_span *span = hz4_pagemap_span(mid->depot[(mid->depot_first + i) & (mid->depot_slots - 1)]);
    HZ4_HOLDS(span != NULL && span->size_class == size_class, "mid: a depot object of another class");
    own += span->shard == mid->spans.shard;
  }
  HZ4_HOLDS(own + mid->spans.free_count <= mid->spans.object_count, "mid: more objects than there are");
  return NULL;
}

static void check(struct mid_class *mid, uint32_t size_class) {
  if (!hz4_lock_enter(&mid->spans.lock)) return;
  const char *broken = broken_locked(mid, size_class);
  hz4_lock_release(&mid->spans.lock);
  if (broken != NULL) hz4_panic(broken);
}

void hz4_mid_check(void) {
  for (uint32_t s = 0; s < HZ4_SHARDS_MAX; ++s) {
    for (uint32_t c = 1; c < HZ4_MID_CLASSES && made(s, c) != NULL; ++c) check(made(s, c), c);
  }
}

void hz4_mid_fork(void (*act)(struct hz4_lock *lock)) {
  for (uint32_t s = 0; s < HZ4_SHARDS_MAX; ++s) {
    for (uint32_t c = 1; c < HZ4_MID_CLASSES && made(s, c) != NULL; ++c) act(&made(s, c)->spans.lock);
  }
}
