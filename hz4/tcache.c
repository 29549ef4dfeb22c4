#include "hz4/tcache.h"

#include <string.h>

#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/sizeclass.h"

_Static_assert(sizeof(struct hz4_batch) == 512, "eight cache lines");
_Static_assert(HZ4_BATCH_OBJECTS * HZ4_INBOX_OBJECT_MAX <= HZ4_INBOX_BYTES_MAX, "a batch fits");

static void *const null_slot;  // the shared NULL
#define NO_SLOTS ((void **)&null_slot)  // never written

#define NO_BINS {.top = {[0 ... HZ4_CLASS_COUNT] = NO_SLOTS}, .limit = {[0 ... HZ4_CLASS_COUNT] = NO_SLOTS}}
struct hz4_tcache hz4_tcache_none = NO_BINS, hz4_tcache_ended = NO_BINS;

__thread struct hz4_tcache *hz4_tcache_current __attribute__((tls_model("initial-exec"))) = &hz4_tcache_none;

static _Atomic(size_t) budget_bytes = HZ4_TCACHE_BYTES_MAX;

// Objects freed while fork held Mid's locks.
static struct hz4_inbox held_back[HZ4_CLASS_SLOTS];

void hz4_tcache_set_budget(size_t bytes_per_thread) {
  hz4_store_relaxed(&budget_bytes, bytes_per_thread);
}

static void count(struct hz4_tcache *cache, uint32_t size_class, enum hz4_counter id, uint64_t n) {
  hz4_count(&cache->counters, hz4_range_of(hz4_class_bytes(size_class)), id, n);
}

static uint32_t held(const struct hz4_tcache *cache, uint32_t size_class) {
  const struct hz4_bin *bin = &cache->bins[size_class];
  return bin->slots == NULL ? 0 : (uint32_t)(cache->top[size_class] - bin->slots);
}

static uint32_t capacity(const struct hz4_tcache *cache, uint32_t size_class) {
  const struct hz4_bin *bin = &cache->bins[size_class];
  return bin->slots == NULL ? 0 : (uint32_t)(cache->limit[size_class] - bin->slots);
}

// ---- batches ----

static struct hz4_batch *new_batch(struct hz4_tcache *cache) {
  struct hz4_batch *batch = cache->nodes;
  if (batch == NULL) return hz4_meta_alloc(sizeof(struct hz4_batch));
  cache->nodes = batch->next;
  --cache->node_count;
  return batch;
}

static void delete_batch(struct hz4_tcache *cache, struct hz4_batch *batch) {
  if (cache->node_count >= HZ4_BATCH_CACHE) {
    hz4_meta_free(batch, sizeof(*batch));
    return;
  }
  batch->next = cache->nodes;
  cache->nodes = batch;
  ++cache->node_count;
}

static void hold_back(uint32_t size_class, void *const *objects, uint32_t count) {
  while (count != 0) {
    struct hz4_batch *batch = hz4_meta_alloc(sizeof(*batch));
    // Out of memory for 512 bytes, within the instant of a fork: there is no place left that could keep the objects.
    if (batch == NULL) return;
    uint32_t n = count < HZ4_BATCH_OBJECTS ? count : HZ4_BATCH_OBJECTS;
    memcpy(batch->objects, objects, n * sizeof(void *));
    batch->count = n;
    hz4_inbox_push(&held_back[size_class], batch, HZ4_INBOX_NO_LIMIT);
    objects += n;
    count -= n;
  }
}

// False: fork is on, and the objects are held back.
static bool give(struct hz4_counters *counters, uint32_t size_class, void *const *objects, uint32_t count,
                 uint32_t *ebbs) {
  const struct hz4_tcache *giver = hz4_tcache_is_real(hz4_tcache_current) ? hz4_tcache_current : NULL;
  struct hz4_mid_result given = hz4_mid_give(size_class, objects, count, giver);
  if (given.objects == 0) {
    hold_back(size_class, objects, count);
    return false;
  }
  enum hz4_range range = hz4_range_of(hz4_class_bytes(size_class));
  hz4_count_shared(counters, range, HZ4_COUNT_flush_lock, 1);
  if (given.spans_closed != 0) {
    hz4_count_shared(counters, range, HZ4_COUNT_span_closed, given.spans_closed);
    hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
  }
  *ebbs = given.ebbs;
  return true;
}

static void settle_class(uint32_t size_class) {
  for (struct hz4_batch *batch = hz4_inbox_take(&held_back[size_class]); batch != NULL;) {
    struct hz4_batch *next = batch->next;
    uint32_t ebbs;
    give(&hz4_tcache_none.counters, size_class, batch->objects, (uint32_t)batch->count, &ebbs);
    hz4_meta_free(batch, sizeof(*batch));
    batch = next;
  }
}

bool hz4_tcache_give(struct hz4_counters *counters, uint32_t size_class, void *const *objects, uint32_t count,
                     uint8_t *ebbs) {
  uint32_t ebbs_now;
  if (count == 0 || !give(counters, size_class, objects, count, &ebbs_now)) return false;
  settle_class(size_class);  // another thread may have held objects back just after fork had settled
  bool ebbed = *ebbs != (uint8_t)ebbs_now;
  *ebbs = (uint8_t)ebbs_now;
  return ebbed;
}

static void give_chain(struct hz4_tcache *cache, uint32_t size_class, struct hz4_batch *batch) {
  while (batch != NULL) {
    struct hz4_batch *next = batch->next;
    hz4_tcache_give(&cache->counters, size_class, batch->objects, (uint32_t)batch->count,
                    &cache->bins[size_class].ebbs);
    delete_batch(cache, batch);
    batch = next;
  }
}

void hz4_tcache_settle(void) {
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) settle_class(c);
}

// ---- flushing ----

// The thread to whose inbox these objects should go: whose spans they are from, if a sample agrees on one that is not
// this thread, and they are small; else NULL.
static struct hz4_tcache *owner_of(struct hz4_tcache *cache, uint32_t size_class, void *const *objects, uint32_t n) {
  if (hz4_options.inbox == 0 || hz4_class_bytes(size_class) > HZ4_INBOX_OBJECT_MAX) return NULL;
  struct hz4_tcache *owner = hz4_mid_owner(objects[0]);
  if (owner == NULL || owner == cache) return NULL;
  for (uint32_t i = 1; i < HZ4_OWNER_SAMPLES; ++i) {
    if (hz4_mid_owner(objects[(n - 1) * i / (HZ4_OWNER_SAMPLES - 1)]) != owner) return NULL;
  }
  return owner;
}

// Pushes objects to the owner's inbox, batch by batch, until it refuses. Returns how many went.
static uint32_t send(struct hz4_tcache *cache, struct hz4_tcache *owner, uint32_t size_class, void *const *objects,
                     uint32_t n) {
  uintptr_t batches = HZ4_INBOX_BYTES_MAX / (HZ4_BATCH_OBJECTS * hz4_class_bytes(size_class));
  if (batches > HZ4_INBOX_BATCHES_MAX) batches = HZ4_INBOX_BATCHES_MAX;
  uint32_t sent = 0;
  while (sent < n) {
    struct hz4_batch *batch = new_batch(cache);
    if (batch == NULL) break;
    uint32_t part = n - sent < HZ4_BATCH_OBJECTS ? n - sent : HZ4_BATCH_OBJECTS;
    memcpy(batch->objects, objects + sent, part * sizeof(void *));
    batch->count = part;
    if (!hz4_inbox_push(&owner->inbox[size_class], batch, batches)) {
      delete_batch(cache, batch);
      count(cache, size_class, HZ4_COUNT_inbox_refused, 1);
      break;
    }
    count(cache, size_class, HZ4_COUNT_inbox_push, 1);
    count(cache, size_class, HZ4_COUNT_inbox_push_objects, part);
    sent += part;
  }
  return sent;
}

// The bin's oldest objects leave until `keep` are left. True when the class has ebbed.
static bool flush(struct hz4_tcache *cache, uint32_t size_class, uint32_t keep) {
  uint32_t have = held(cache, size_class);
  if (have <= keep) return false;
  void **oldest = cache->bins[size_class].slots + 1;
  uint32_t n = have - keep;
  count(cache, size_class, HZ4_COUNT_flush_objects, n);
  struct hz4_tcache *owner = owner_of(cache, size_class, oldest, n);
  uint32_t sent = owner != NULL ? send(cache, owner, size_class, oldest, n) : 0;
  bool ebbed = hz4_tcache_give(&cache->counters, size_class, oldest + sent, n - sent, &cache->bins[size_class].ebbs);
  memmove(oldest, oldest + n, keep * sizeof(void *));
  cache->top[size_class] = oldest + keep - 1;
  // The owner may be asleep: then nobody else would empty its inbox.
  if (ebbed && owner != NULL) give_chain(cache, size_class, hz4_inbox_take(&owner->inbox[size_class]));
  return ebbed;
}

// ---- size of bins ----

static void set_capacity(struct hz4_tcache *cache, uint32_t size_class, uint32_t objects) {
  size_t object_bytes = hz4_class_bytes(size_class);
  cache->capacity_bytes += (objects - (size_t)capacity(cache, size_class)) * object_bytes;
  cache->limit[size_class] = cache->bins[size_class].slots + objects;
}

// Twice the array, or the first one. False: no memory for it.
static bool lengthen(struct hz4_tcache *cache, uint32_t size_class) {
  struct hz4_bin *bin = &cache->bins[size_class];
  uint32_t length = bin->slots == NULL ? HZ4_BIN_SLOTS_MIN : bin->length * 2u;
  void **slots = hz4_meta_alloc(length * sizeof(void *));
  if (slots == NULL) return false;
  void **old = bin->slots;
  uint32_t old_length = bin->length, have = held(cache, size_class), room = capacity(cache, size_class);
  if (old != NULL) memcpy(slots, old, (have + 1) * sizeof(void *));
  if (old == NULL) {
    bin->refill = 1;
    bin->ebbs = (uint8_t)hz4_mid_ebbs(size_class);
  }
  bin->slots = slots;
  bin->length = (uint16_t)length;
  cache->top[size_class] = slots + have;
  cache->limit[size_class] = slots + room;
  if (old != NULL) hz4_meta_free(old, old_length * sizeof(void *));
  return true;
}

// The bin may hold half of what it could, and does at once. pre: it has an array.
static void halve(struct hz4_tcache *cache, uint32_t size_class) {
  uint32_t room = capacity(cache, size_class) / 2;
  flush(cache, size_class, room);
  set_capacity(cache, size_class, room);
  count(cache, size_class, HZ4_COUNT_bin_shrink, 1);
}

// Takes room from a bin that nobody needed since the last look.
static void shrink_some_bin(struct hz4_tcache *cache) {
  for (int i = 0; i < HZ4_BIN_SHRINK_TRIES; ++i) {
    cache->shrink_cursor = cache->shrink_cursor % HZ4_CLASS_COUNT + 1;
    uint32_t c = cache->shrink_cursor, room = capacity(cache, c);
    bool active = cache->bins[c].active;
    cache->bins[c].active = false;
    if (active || room < HZ4_BIN_SLOTS_MIN) continue;
    halve(cache, c);
    return;
  }
}

static uint32_t first_capacity(uint32_t size_class) {
  size_t objects = HZ4_BIN_FIRST_BYTES / hz4_class_bytes(size_class);
  if (objects < 1) return 1;
  return objects < HZ4_BIN_SLOTS_MIN ? (uint32_t)objects : HZ4_BIN_SLOTS_MIN - 1;
}

// How many objects the bin may hold. Where nobody else waits for them, and both malloc and free need it, many.
static uint32_t most_objects(const struct hz4_bin *bin, uint32_t size_class) {
  uint32_t slots = hz4_class_table[size_class].bin_slots_max;
  if (!bin->alone || !bin->missed || !bin->overflowed) return slots - 1;
  while (slots < HZ4_BIN_SLOTS_ALONE && slots * 2 * hz4_class_bytes(size_class) <= HZ4_BIN_MAX_BYTES) slots *= 2;
  return slots - 1;
}

static bool may_grow_one_way(struct hz4_bin *bin, uint32_t size_class, uint32_t wanted) {
  size_t object_bytes = hz4_class_bytes(size_class), bytes = wanted * object_bytes;
  if (bytes <= HZ4_BIN_FIRST_BYTES) return true;
  if (object_bytes > HZ4_BIN_ONE_WAY_OBJECT_MAX || bytes > HZ4_BIN_ONE_WAY_BYTES) return false;
  return ++bin->one_way >= HZ4_BIN_ONE_WAY_AFTER;
}

// What a thread frees it will most likely allocate and write to, and its line may be in another CPU's cache: so free asks
// for it. But who only frees would fetch lines for nothing, and take them from who does allocate.
static void note_direction(struct hz4_tcache *cache, bool missed) {
  if (missed) cache->overflow_run = 0;
  else if (cache->overflow_run < HZ4_AHEAD_OVERFLOWS) ++cache->overflow_run;
  cache->ahead = cache->overflow_run < HZ4_AHEAD_OVERFLOWS ? 0 : HZ4_NOWHERE;
}

// Called at each miss and each overflow. Makes the bin larger, if its class and the budget allow. A bin that only misses
// or only overflows (a thread that only allocates, or only frees) gains nothing from holding more than a batch: it
// grows slowly beyond its first bytes, and beyond its bound each doubling takes a miss and an overflow.
static void adapt(struct hz4_tcache *cache, uint32_t size_class, bool missed) {
  struct hz4_bin *bin = &cache->bins[size_class];
  bin->active = true;
  if (missed) bin->missed = true;
  else bin->overflowed = true;
  note_direction(cache, missed);
  bin->ebbing = bin->ebbing && !missed && hz4_mid_is_ebbing(size_class);
  if (bin->ebbing) return;
  if (!bin->alone && capacity(cache, size_class) >= hz4_class_table[size_class].bin_slots_max) halve(cache, size_class);
  uint32_t room = capacity(cache, size_class);
  uint32_t most = most_objects(bin, size_class);
  uint32_t wanted = room == 0 ? first_capacity(size_class) : room * 2 + 1;
  if (wanted > most) wanted = most;
  if (wanted <= room) return;
  if (room != 0 && !(bin->missed && bin->overflowed) && !may_grow_one_way(bin, size_class, wanted)) return;
  size_t more = (wanted - room) * hz4_class_bytes(size_class);
  if (room != 0 && cache->capacity_bytes + more > hz4_load_relaxed(&budget_bytes)) {
    if (++cache->denied < HZ4_BIN_SHRINK_AFTER) return;
    cache->denied = 0;
    shrink_some_bin(cache);
    if (cache->capacity_bytes + more > hz4_load_relaxed(&budget_bytes)) return;
  }
  if (wanted >= bin->length && !lengthen(cache, size_class)) return;
  set_capacity(cache, size_class, wanted);
  bin->missed = bin->overflowed = false;
  bin->one_way = 0;
  count(cache, size_class, HZ4_COUNT_bin_grow, 1);
}

// ---- refilling ----

// Fills the empty bin from a chain of batches; what it has no room for goes to Mid.
static uint32_t unpack(struct hz4_tcache *cache, uint32_t size_class, struct hz4_batch *batch) {
  uint32_t room = capacity(cache, size_class), waiting = 0, batches = 0, taken = 0;
  void **slot = cache->bins[size_class].slots;
  while (batch != NULL) {
    struct hz4_batch *next = batch->next;
    uint32_t n = (uint32_t)batch->count, fit = n < room - taken ? n : room - taken;
    memcpy(slot + 1 + taken, batch->objects, fit * sizeof(void *));
    if (fit < n) {
      hz4_tcache_give(&cache->counters, size_class, batch->objects + fit, n - fit, &cache->bins[size_class].ebbs);
      count(cache, size_class, HZ4_COUNT_inbox_spill, n - fit);
    }
    taken += fit;
    waiting += n;
    ++batches;
    delete_batch(cache, batch);
    batch = next;
  }
  cache->top[size_class] = slot + taken;
  count(cache, size_class, HZ4_COUNT_inbox_batches, batches);
  if (waiting > hz4_load_relaxed(&cache->inbox_stash_max)) hz4_store_relaxed(&cache->inbox_stash_max, waiting);
  return taken;
}

static uint32_t refill_from_mid(struct hz4_tcache *cache, uint32_t size_class, bool fresh) {
  struct hz4_bin *bin = &cache->bins[size_class];
  uint32_t room = capacity(cache, size_class);
  uint32_t want = bin->refill < room ? bin->refill : room;
  if (bin->refill < HZ4_BIN_SLOTS_MAX) bin->refill *= 2;
  uint32_t fresh_objects = (uint32_t)(HZ4_REFILL_FRESH_BYTES / hz4_class_bytes(size_class));
  if (fresh_objects < want / 4 + 1) fresh_objects = want / 4 + 1;
  void **slots = bin->slots;
  struct hz4_mid_result got = hz4_mid_take(size_class, slots + 1, want, fresh ? fresh_objects : 0, cache);
  // The newest on top: reverse, so that the lowest address is handed out first.
  for (uint32_t i = 1, j = got.objects; got.from_depot == 0 && i < j; ++i, --j) {
    void *swap = slots[i];
    slots[i] = slots[j];
    slots[j] = swap;
  }
  cache->top[size_class] = slots + got.objects;
  bin->ebbs = (uint8_t)got.ebbs;  // a thread that allocates need not hold less
  bin->alone = got.alone;
  if (!fresh) count(cache, size_class, HZ4_COUNT_refill_lock, 1);  // else the same malloc took it just before
  count(cache, size_class, got.from_depot != 0 ? HZ4_COUNT_refill_depot : HZ4_COUNT_refill_span, got.objects != 0);
  count(cache, size_class, HZ4_COUNT_span_opened, got.spans_opened);
  return got.objects;
}

void *hz4_tcache_refill(struct hz4_tcache *cache, uint32_t size_class, bool fresh) {
  if (!fresh) {
    count(cache, size_class, HZ4_COUNT_refill_calls, 1);
    adapt(cache, size_class, true);
  }
  if (cache->bins[size_class].slots == NULL) return NULL;
  uint32_t taken = 0;
  struct hz4_batch *batch = fresh ? NULL : hz4_inbox_take(&cache->inbox[size_class]);
  if (batch != NULL) {
    taken = unpack(cache, size_class, batch);
    count(cache, size_class, HZ4_COUNT_refill_inbox, 1);
  } else {
    taken = refill_from_mid(cache, size_class, fresh);
  }
  if (taken == 0) return NULL;
  count(cache, size_class, HZ4_COUNT_refill_objects, taken);
  return hz4_tcache_pop(cache, size_class);
}

bool hz4_tcache_steal(struct hz4_tcache *cache, struct hz4_tcache *victim, uint32_t size_class) {
  if (cache->bins[size_class].slots == NULL) return false;
  struct hz4_batch *batch = hz4_inbox_take(&victim->inbox[size_class]);
  if (batch == NULL) return false;
  uint32_t taken = unpack(cache, size_class, batch);
  count(cache, size_class, HZ4_COUNT_refill_steal, 1);
  count(cache, size_class, HZ4_COUNT_refill_objects, taken);
  return true;
}

// How many objects of a full bin stay: half, for the mallocs to come. Who only frees has no use for them: then as many
// leave as make whole batches.
static uint32_t staying(const struct hz4_tcache *cache, uint32_t size_class) {
  uint32_t room = capacity(cache, size_class);
  bool batches = !cache->bins[size_class].missed && room >= HZ4_BATCH_OBJECTS;
  return batches ? room % HZ4_BATCH_OBJECTS : room / 2;
}

void hz4_tcache_overflow(struct hz4_tcache *cache, uint32_t size_class, void *object) {
  count(cache, size_class, HZ4_COUNT_flush_calls, 1);
  adapt(cache, size_class, false);
  if (hz4_tcache_push(cache, size_class, object)) return;
  bool ebbed = flush(cache, size_class, staying(cache, size_class));
  if (ebbed) {
    cache->bins[size_class].ebbing = true;
    if (capacity(cache, size_class) >= HZ4_BIN_SLOTS_MIN) halve(cache, size_class);
  }
  if (hz4_tcache_push(cache, size_class, object)) return;
  hz4_tcache_give(&cache->counters, size_class, &object, 1, &cache->bins[size_class].ebbs);
}

// ---- begin and end ----

void hz4_tcache_open(struct hz4_tcache *cache) {
  for (uint32_t c = 0; c < HZ4_CLASS_SLOTS; ++c) {
    cache->top[c] = cache->limit[c] = NO_SLOTS;
    cache->bins[c] = (struct hz4_bin){0};
    hz4_inbox_open(&cache->inbox[c]);
  }
  cache->capacity_bytes = 0;
  cache->overflow_run = 0;
  cache->ahead = 0;
}

void hz4_tcache_trim(struct hz4_tcache *cache) {
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    uint32_t have = held(cache, c);
    if (have == 0) continue;
    hz4_tcache_give(&cache->counters, c, cache->bins[c].slots + 1, have, &cache->bins[c].ebbs);
    cache->top[c] = cache->bins[c].slots;
  }
}

void hz4_tcache_empty_inboxes(struct hz4_tcache *cache, struct hz4_tcache *victim) {
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) give_chain(cache, c, hz4_inbox_take(&victim->inbox[c]));
}

void hz4_tcache_close(struct hz4_tcache *cache) {
  hz4_tcache_trim(cache);
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    struct hz4_bin *bin = &cache->bins[c];
    if (bin->slots != NULL) hz4_meta_free(bin->slots, bin->length * sizeof(void *));
    bin->slots = NULL;
    cache->top[c] = cache->limit[c] = NO_SLOTS;
    give_chain(cache, c, hz4_inbox_close(&cache->inbox[c]));
  }
  while (cache->node_count != 0) hz4_meta_free(new_batch(cache), sizeof(struct hz4_batch));
}

void hz4_tcache_abandon(struct hz4_tcache *cache) {
  cache->nodes = NULL;
  cache->node_count = 0;
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    cache->bins[c].slots = NULL;
    cache->top[c] = cache->limit[c] = NO_SLOTS;
    give_chain(cache, c, hz4_inbox_close(&cache->inbox[c]));
  }
  while (cache->node_count != 0) hz4_meta_free(new_batch(cache), sizeof(struct hz4_batch));
}

void hz4_tcache_check(const struct hz4_tcache *cache) {
  size_t bytes = 0;
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    const struct hz4_bin *bin = &cache->bins[c];
    if (bin->slots == NULL) {
      HZ4_CHECK(cache->top[c] == NO_SLOTS && cache->limit[c] == NO_SLOTS, "tcache: no array, yet not empty");
      continue;
    }
    HZ4_CHECK(bin->slots[0] == NULL, "tcache: slot 0 is not NULL");
    HZ4_CHECK(capacity(cache, c) < bin->length && held(cache, c) <= capacity(cache, c), "tcache: bin overflows");
    for (uint32_t i = 1; i <= held(cache, c); ++i) {
      HZ4_CHECK(hz4_pagemap_class(bin->slots[i]) == c, "tcache: an object of another class");
    }
    bytes += capacity(cache, c) * hz4_class_bytes(c);
  }
  HZ4_CHECK(bytes == cache->capacity_bytes, "tcache: capacity does not add up");
}
