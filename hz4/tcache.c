#include "hz4/tcache.h"

#include <string.h>

#include "hz4/limit.h"
#include "hz4/mid.h"
#include "hz4/misuse.h"
#include "hz4/options.h"
#include "hz4/policy.h"
#include "hz4/random.h"
#include "hz4/sizeclass.h"
#include "hz4/syscall.h"
#include "hz4/transfer.h"

static _Atomic(size_t) budget_bytes = HZ4_TCACHE_BYTES_MAX;

void hz4_tcache_set_budget(size_t bytes_per_cache) {
  hz4_store_relaxed(&budget_bytes, bytes_per_cache);
}

size_t hz4_tcache_share(uint64_t caches) {
  size_t bytes = hz4_limit_of_caches(hz4_option_now(&hz4_option.tcache_kib) << 10) / (caches != 0 ? caches : 1);
  if (bytes < HZ4_TCACHE_BYTES_MIN) return HZ4_TCACHE_BYTES_MIN;
  return bytes < HZ4_TCACHE_BYTES_MAX ? bytes : HZ4_TCACHE_BYTES_MAX;
}

// ---- size of bins ----

// If the bin may hold more objects than that (and, idle: if nobody needed it since the last look), it may hold half of them,
// or more where what goes at once is less. False: it is as it was.
HZ4_NOINLINE static bool halve(uint32_t size_class, uint32_t above, bool idle, bool purge) {
  void *objects[HZ4_MOVE_OBJECTS];
  struct hz4_held held;
  if (!hz4_bin_claim(size_class, &held)) return false;
  uint32_t capacity = held.bin->capacity, n = 0;
  bool shrinks = capacity > above && !(idle && held.bin->active);
  if (idle && capacity > above) held.bin->active = false;
  if (idle && shrinks) held.bin->swings = 0;
  if (shrinks) {
    n = hz4_bin_take(&held, capacity / 2, objects);
    uint32_t count = hz4_bin_objects(&held);
    hz4_bin_set_capacity(&held, count > capacity / 2 ? count : capacity / 2);
  }
  if (shrinks || !idle) held.bin->declines = (uint8_t)hz4_mid_declines(size_class);  // one halving for each
  hz4_bin_publish(&held);
  if (n != 0) hz4_transfer_send(size_class, objects, n, NULL, purge);
  if (shrinks) hz4_count_here(size_class, HZ4_COUNT_bin_shrink, 1);
  return shrinks;
}

// Takes room from a bin that nobody needed since the last look; unusual: from a larger one than most may be, and purges.
static void shrink_some_bin(struct hz4_tcache *cache, bool unusual) {
  for (int i = 0; i < HZ4_BIN_SHRINK_TRIES; ++i) {
    uint32_t c = hz4_fetch_add_relaxed(&cache->shrink_cursor, 1) % (HZ4_CLASS_SLOTS - 1) + 1;
    if (halve(c, unusual ? hz4_bin_usual_capacity(c) : HZ4_BIN_SLOTS_MIN - 2, true, unusual)) return;
  }
}

static uint32_t first_capacity(uint32_t size_class) {
  size_t objects = HZ4_BIN_FIRST_BYTES / hz4_class_bytes(size_class);
  if (objects < 1) return 1;
  return objects < HZ4_BIN_SLOTS_MIN ? (uint32_t)objects : HZ4_BIN_SLOTS_MIN - 1;
}

// Room for what left the bin since it grew, and is wanted again now: where nobody else waited for it, it had better stayed.
static uint32_t capacity_alone(const struct hz4_bin *bin, uint32_t size_class) {
  size_t most = HZ4_BIN_ALONE_BYTES / hz4_class_bytes(size_class), wanted = (size_t)bin->capacity + bin->spilled;
  if (most > HZ4_BIN_SLOTS_ALONE - 1) most = HZ4_BIN_SLOTS_ALONE - 1;
  return (uint32_t)(wanted < most ? wanted : most);
}

static bool may_grow_one_way(struct hz4_bin *bin, uint32_t size_class, uint32_t wanted) {
  size_t object_bytes = hz4_class_bytes(size_class), bytes = wanted * object_bytes;
  if (bytes <= HZ4_BIN_FIRST_BYTES) return true;
  if (object_bytes > HZ4_BIN_ONE_WAY_OBJECT_MAX || bytes > HZ4_BIN_ONE_WAY_BYTES) return false;
  return ++bin->one_way >= HZ4_BIN_ONE_WAY_AFTER;
}

// What a thread frees it will most likely allocate and write to, and its line may be in another CPU's cache: so free asks
// for it. But who only frees would fetch lines for nothing, and take them from who does allocate.
static void note_direction(bool missed) {
  if (missed) hz4_front.overflow_run = 0;
  else if (hz4_front.overflow_run < HZ4_AHEAD_OVERFLOWS) ++hz4_front.overflow_run;
  hz4_front.ahead = hz4_front.overflow_run < HZ4_AHEAD_OVERFLOWS ? 0 : HZ4_NOWHERE;
}

// What the cache may hold. (Threads' own are told by how many threads have one.)
static size_t budget_of(const struct hz4_tcache *cache) {
  size_t bytes = hz4_load_relaxed(&budget_bytes);
  if (hz4_cache_is_own(cache)) return bytes;
  size_t share = hz4_tcache_share(hz4_cache_count());
  return share < bytes ? share : bytes;
}

// Notes a miss or an overflow. Returns how many objects the bin should have room for, if its class and the budget allow.
// A bin that only misses or only overflows (threads that only allocate, or only free) gains nothing from holding more than
// a batch: it grows slowly beyond its first bytes, and beyond its bound each doubling takes a miss and an overflow.
static uint32_t note_need(struct hz4_held *held, bool missed, bool *over_budget) {
  struct hz4_bin *bin = held->bin;
  uint32_t size_class = held->size_class, room = bin->capacity;
  bin->active = true;
  if (missed) bin->missed = true;
  else if (bin->spilled == 0) bin->spilled = 1;
  if (!missed && room != 0 && hz4_mid_is_declining(size_class)) return room;
  uint32_t most = hz4_bin_usual_capacity(size_class), wanted = room == 0 ? first_capacity(size_class) : room * 2 + 1;
  if (wanted > most) wanted = most;
  bool both = bin->missed && bin->spilled != 0;
  if (missed && both && bin->alone) {
    uint32_t alone = bin->swings < HZ4_BIN_SWINGS ? 0 : capacity_alone(bin, size_class);
    if (bin->swings < HZ4_BIN_SWINGS) ++bin->swings;
    if (alone > wanted) wanted = alone;
    bin->spilled = 0;
  }
  if (wanted <= room) return room;
  if (room != 0 && !both && !may_grow_one_way(bin, size_class, wanted)) return room;
  size_t more = (wanted - room) * hz4_class_bytes(size_class);
  size_t after = hz4_load_relaxed(&held->cache->capacity_bytes) + more;
  if (room != 0 && after > budget_of(held->cache)) {
    *over_budget = true;
    return room;
  }
  return wanted;
}

static void grow(struct hz4_held *held, uint32_t wanted) {
  hz4_bin_set_capacity(held, wanted);
  held->bin->missed = false;
  held->bin->spilled = held->bin->one_way = 0;
  hz4_count_here(held->size_class, HZ4_COUNT_bin_grow, 1);
}

static uint32_t length_for(uint32_t objects) {
  uint32_t length = HZ4_BIN_SLOTS_MIN;
  while (length <= objects) length *= 2;
  return length;
}

// The same where that takes a longer array, which is made while the bin is nobody's: it may be another's, or larger, when it is
// claimed again. False: it is not to be had then.
static bool grow_into_new_array(struct hz4_held *held, uint32_t wanted) {
  uint32_t size_class = held->size_class, length = length_for(wanted);
  hz4_bin_publish(held);
  void **slots = hz4_bin_new_array(length);
  bool claimed = hz4_bin_claim(size_class, held);
  if (slots == NULL) return claimed;
  if (claimed && held->bin->capacity < wanted && hz4_bin_length(held->bin) < length) {
    uint32_t old_length = hz4_bin_length(held->bin);
    slots = hz4_bin_set_array(held, slots, length);
    length = old_length;
    if (slots == NULL) {
      held->bin->refill = hz4_option.harden != 0 ? HZ4_HARDEN_REFILL : 1;
      held->bin->declines = (uint8_t)hz4_mid_declines(size_class);
    }
    grow(held, wanted);
  }
  if (slots != NULL) hz4_bin_free_array(slots, length);
  return claimed;
}

// At each miss and each overflow: claims the bin, larger if it should be. False: it is not to be had.
static bool claim_in_need(uint32_t size_class, bool missed, struct hz4_held *held) {
  note_direction(missed);
  bool over_budget = false;
  if (!hz4_bin_claim(size_class, held)) return false;
  uint32_t wanted = note_need(held, missed, &over_budget);
  if (over_budget && (hz4_fetch_add_relaxed(&held->cache->denied, 1) + 1) % HZ4_BIN_SHRINK_AFTER == 0) {
    hz4_bin_publish(held);
    shrink_some_bin(held->cache, false);
    return hz4_bin_claim(size_class, held);
  }
  if (wanted <= held->bin->capacity) return true;
  if (length_for(wanted) > hz4_bin_length(held->bin)) return grow_into_new_array(held, wanted);
  grow(held, wanted);
  return true;
}

// ---- refilling ----

// Puts objects into the bin as far as they fit, the last on top; the rest, the first ones, goes to Mid. Here and below
// `bin` is the class of the bin, and size_class that of the objects, which differ for tiny ones.
static void put(uint32_t bin, uint32_t size_class, void **objects, uint32_t n, bool alone, uint32_t declines) {
  uint32_t rest = n;
  struct hz4_held held;
  if (hz4_bin_claim(bin, &held)) {
    rest = hz4_bin_put(&held, objects, n);
    held.bin->declines = (uint8_t)declines;  // who allocates need not hold less
    held.bin->alone = alone;
    hz4_bin_publish(&held);
  }
  hz4_transfer_give(size_class, objects, rest, NULL, true);
}

// Fills the bin from a chain of batches; what it has no room for goes to Mid. Returns one object.
static void *unpack(uint32_t bin, uint32_t size_class, struct hz4_batch *batch) {
  void *object = batch->objects[--batch->count];
  uint32_t waiting = 1, batches = 0, spilled = 0;
  struct hz4_held held;
  bool claimed = hz4_bin_claim(bin, &held);
  for (struct hz4_batch *b = batch; b != NULL; b = b->next) {
    waiting += (uint32_t)b->count;
    if (claimed) b->count = hz4_bin_put(&held, b->objects, (uint32_t)b->count);
    spilled += (uint32_t)b->count;
    ++batches;
  }
  if (claimed) hz4_bin_publish(&held);
  struct hz4_tcache *here = hz4_cache_here();
  hz4_transfer_give_batches(here, size_class, batch);
  hz4_count_here(size_class, HZ4_COUNT_inbox_spill, spilled);
  hz4_count_here(size_class, HZ4_COUNT_inbox_batches, batches);
  hz4_count_here(size_class, HZ4_COUNT_refill_objects, waiting - spilled);
  if (waiting > hz4_load_relaxed(&here->inbox_stash_max)) hz4_store_relaxed(&here->inbox_stash_max, waiting);
  return object;
}

static void shuffle(void **objects, uint32_t n) {
  for (; n > 1; --n) {
    uint32_t i = hz4_random_below(n);
    void *swap = objects[i];
    objects[i] = objects[n - 1];
    objects[n - 1] = swap;
  }
}

HZ4_NOINLINE static void *refill_from_mid(uint32_t bin, uint32_t size_class, uint32_t want, bool fresh, bool zero,
                                          bool *zeroed) {
  void *objects[HZ4_MOVE_OBJECTS];
  uint32_t fresh_objects = (uint32_t)(HZ4_REFILL_FRESH_BYTES / hz4_class_bytes(size_class));
  if (fresh_objects < want / 4 + 1) fresh_objects = want / 4 + 1;
  struct hz4_mid_result got = hz4_mid_take(size_class, objects, want, fresh ? fresh_objects : 0, hz4_cache_here(),
                                           zero);
  if (!fresh) hz4_count_here(size_class, HZ4_COUNT_refill_lock, 1);  // else the same malloc took it just before
  hz4_transfer_count_away(size_class, &got);
  if (got.objects == 0) return NULL;
  *zeroed = got.zeroed;
  hz4_count_here(size_class, got.from_depot != 0 ? HZ4_COUNT_refill_depot : HZ4_COUNT_refill_span, 1);
  hz4_count_here(size_class, HZ4_COUNT_refill_objects, got.objects);
  if (got.spans_opened != 0) hz4_count_here(size_class, HZ4_COUNT_span_opened, got.spans_opened);
  if (hz4_option.harden != 0) shuffle(objects, got.objects);
  // The newest on top; of a span's, the lowest address.
  for (uint32_t i = 0, j = got.objects - 1; got.from_depot == 0 && i < j; ++i, --j) {
    void *swap = objects[i];
    objects[i] = objects[j];
    objects[j] = swap;
  }
  put(bin, size_class, objects, got.objects - 1, got.alone, got.declines);
  return objects[got.objects - 1];
}

// What the cache itself freed of its own spans. NULL: nothing.
HZ4_NOINLINE static void *refill_from_own(uint32_t bin, uint32_t size_class) {
  void *objects[HZ4_MOVE_OBJECTS];
  struct hz4_held held;
  if (!hz4_bin_claim(size_class, &held)) return NULL;
  uint32_t n = hz4_bin_take(&held, 0, objects), declines = held.bin->declines;
  hz4_bin_publish(&held);
  if (n == 0) return NULL;
  put(bin, size_class, objects, n - 1, false, declines);
  return objects[n - 1];
}

void *hz4_tcache_refill(uint32_t size_class, bool *zeroed) {
  uint32_t want = 1;
  struct hz4_held held;
  bool zero = zeroed != NULL && *zeroed, unknown;
  if (zeroed == NULL) zeroed = &unknown;
  *zeroed = false;
  hz4_count_here(size_class, HZ4_COUNT_refill_calls, 1);
  if (claim_in_need(size_class, true, &held)) {
    // Others may have freed meanwhile, or this is another CPU's bin.
    void *found = hz4_bin_objects(&held) != 0 ? *held.top-- : NULL;
    want = held.bin->refill < held.bin->capacity ? held.bin->refill : held.bin->capacity;
    if (want == 0) want = 1;
    if (held.bin->refill < HZ4_MOVE_OBJECTS) held.bin->refill *= 2;
    hz4_bin_publish(&held);
    if (found != NULL) {
      HZ4_SEQUENCE_ACQUIRE(found);
      return found;
    }
  }
  uint32_t bin = size_class;
  size_class = hz4_class_at_home(bin, hz4_load_relaxed(&hz4_cache_here()->number));
  if (size_class != bin) {
    void *object = refill_from_own(bin, size_class);
    if (object != NULL) return object;
  }
  struct hz4_batch *batch = hz4_inbox_take(&hz4_cache_here()->inbox[size_class]);
  if (batch != NULL) {
    hz4_count_here(size_class, HZ4_COUNT_refill_inbox, 1);
    return unpack(bin, size_class, batch);
  }
  void *object = refill_from_mid(bin, size_class, want, false, zero, zeroed);
  if (object != NULL) return object;
  // Before memory is asked of the system.
  batch = hz4_transfer_steal(size_class);
  if (batch != NULL) {
    hz4_count_here(size_class, HZ4_COUNT_refill_steal, 1);
    return unpack(bin, size_class, batch);
  }
  if (hz4_load_relaxed(&hz4_cache_here()->large_bins) != 0) shrink_some_bin(hz4_cache_here(), true);
  return refill_from_mid(bin, size_class, want, true, zero, zeroed);
}

// ---- emptying ----

static void empty(struct hz4_held *held, bool purge) {
  uint32_t size_class = held->size_class, length, n;
  void **slots = hz4_bin_take_array(held, &length, &n);
  if (slots == NULL) return;
  hz4_transfer_give(size_class, slots + 1, n, NULL, purge);
  hz4_bin_free_array(slots, length);
}

// How many objects of a full bin stay: half, for the mallocs to come, or more where objects go home. Who only frees has no
// use for them: then as many leave as make whole batches, of those that are moved at once, for others wait for these.
static uint32_t staying(const struct hz4_bin *bin, uint32_t portion) {
  uint32_t capacity = bin->capacity, half = capacity - capacity / 2;
  uint32_t most = capacity < HZ4_MOVE_OBJECTS ? capacity : HZ4_MOVE_OBJECTS;
  if (bin->missed || bin->alone || capacity < HZ4_BATCH_OBJECTS) return capacity - (half < portion ? half : portion);
  return capacity - most / HZ4_BATCH_OBJECTS * HZ4_BATCH_OBJECTS;
}

size_t hz4_tcache_bytes_here(void) {
  size_t bytes = 0;
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS && hz4_is_attached(); ++c) {
    struct hz4_held held;
    if (!hz4_bin_claim(c, &held)) continue;
    bytes += hz4_bin_objects(&held) * hz4_class_usable(c);
    hz4_bin_publish(&held);
  }
  return bytes;
}

void hz4_tcache_empty_here(void) {
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS && hz4_is_attached(); ++c) {
    struct hz4_held held;
    if (hz4_bin_claim(c, &held)) empty(&held, true);
  }
}

void hz4_tcache_empty_remote(struct hz4_tcache *cache) {
  struct hz4_held held[HZ4_REMOTE_BINS];
  for (uint32_t next = hz4_cache_is_own(cache) ? HZ4_CLASS_SLOTS : 1; next < HZ4_CLASS_SLOTS;) {
    uint32_t n = hz4_bin_claim_remote(cache, &next, held);
    for (uint32_t i = 0; i < n; ++i) empty(&held[i], false);
  }
}

void hz4_tcache_empty_all_remote(void) {
  for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) {
    hz4_tcache_empty_remote(cache);
    hz4_transfer_empty(cache, false);
  }
}

// ---- overflowing ----

// The object into the claimed bin, of which part leaves if it is full. True when the class has declined. (By itself, so that
// its array and claim_in_need's are not on the stack at once.)
HZ4_NOINLINE static bool flush_claimed(struct hz4_held *held, void *object, uint32_t portion) {
  void *objects[HZ4_MOVE_OBJECTS];
  uint32_t size_class = held->size_class, n = 0, usual = hz4_bin_usual_capacity(size_class);
  if (hz4_bin_objects(held) >= held->bin->capacity) n = hz4_bin_take(held, staying(held->bin, portion), objects);
  bool shrinks = n != 0 && !held->bin->alone && held->bin->capacity > usual;
  if (shrinks) hz4_bin_set_capacity(held, hz4_bin_objects(held) < usual ? usual : hz4_bin_objects(held) + 1);
  bool fits = hz4_bin_objects(held) < held->bin->capacity;
  if (fits) *++held->top = object;
  uint8_t declines = held->bin->declines;
  hz4_bin_publish(held);
  if (shrinks) hz4_count_here(size_class, HZ4_COUNT_bin_shrink, 1);
  bool declined = n != 0 && hz4_transfer_send(size_class, objects, n, &declines, true);
  if (!fits) declined |= hz4_transfer_give(size_class, &object, 1, &declines, n == 0);
  return declined;
}

HZ4_NOINLINE static bool flush(uint32_t size_class, void *object) {
  uint32_t portion = hz4_mid_portion(size_class);
  struct hz4_held held;
  if (!claim_in_need(size_class, false, &held)) {
    hz4_transfer_give(size_class, &object, 1, NULL, true);
    return false;
  }
  if (HZ4_LIKELY(held.top == NULL || *held.top != object)) return flush_claimed(&held, object, portion);
  hz4_bin_publish(&held);
  hz4_misuse_note("double free", object);
  return false;
}

void hz4_tcache_overflow(uint32_t size_class, void *object) {
  hz4_mid_expect(size_class);
  hz4_count_here(size_class, HZ4_COUNT_flush_calls, 1);
  if (!flush(size_class, object)) return;
  halve(size_class, HZ4_BIN_SLOTS_MIN - 2, false, false);
  // What caches keep of a heap that has declined keeps whole spans, and those of CPUs that fell idle nobody else would empty.
  // (Where there is one, halving its bins is enough.)
  if (hz4_policy_heap_declined() && hz4_cache_count() > 1) hz4_tcache_empty_all_remote();
}

// ---- begin and end ----

void hz4_tcache_close(struct hz4_tcache *cache) {
  struct hz4_front saved = hz4_front;
  hz4_cache_attach_own(cache);
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) {
    struct hz4_held held;
    if (hz4_load_relaxed(&cache->top[c]) == HZ4_TOP_NONE) continue;
    while (!hz4_bin_claim(c, &held)) hz4_yield();  // fork is on
    empty(&held, true);
  }
  hz4_transfer_empty(cache, true);
  hz4_front = saved;
}

void hz4_tcache_check(void) {
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) {
    struct hz4_held held;
    if (!hz4_bin_claim(c, &held)) continue;
    const char *broken = hz4_bin_broken(&held);
    hz4_bin_publish(&held);
    if (broken != NULL) hz4_panic(broken);
  }
}
