#include "hz4/bin.h"

#include <string.h>

#include "hz4/lock.h"
#include "hz4/meta.h"
#include "hz4/pagemap.h"
#include "hz4/rseq.h"
#include "hz4/sizeclass.h"
#include "hz4/syscall.h"

_Static_assert(sizeof(struct hz4_tcache) + HZ4_CACHE_ZEROS <= HZ4_CACHE_BYTES, "caches are so far from each other");
_Static_assert(offsetof(struct hz4_tcache, top) == HZ4_CACHE_TOP_OFFSET, "as the sequences have it");
_Static_assert(offsetof(struct hz4_tcache, limit) == HZ4_CACHE_LIMIT_OFFSET, "as the sequences have it");

_Static_assert(offsetof(struct hz4_tcache, sampler.left) == HZ4_CACHE_LEFT_OFFSET, "as the sequences have it");
_Static_assert(offsetof(struct hz4_tcache, bins) == HZ4_CACHE_BINS_OFFSET, "as the sequences have it");
_Static_assert(sizeof(struct hz4_bin) == HZ4_CACHE_BIN_BYTES && offsetof(struct hz4_bin, slots) == 0, "likewise");

_Static_assert(HZ4_MOVE_OBJECTS <= UINT8_MAX && HZ4_BIN_SLOTS_ALONE <= UINT16_MAX, "what a bin counts");

struct hz4_area hz4_no_area = {.id = HZ4_AREA_NO_ID};
HZ4_BEHIND_DATA struct hz4_own_cache hz4_no_cache;

// The cache of an id that is none lies before that of id 0.
#define CACHES_OF(own) ((char *)(own) + HZ4_CACHE_BYTES)

__thread struct hz4_front hz4_front __attribute__((tls_model("initial-exec"))) = {
    .area = &hz4_no_area,
    .caches = CACHES_OF(&hz4_no_cache.cache),
};

// Newest first. next_listed never changes once a cache is listed.
HZ4_IN_DATA static _Atomic(struct hz4_tcache *) listed;
HZ4_IN_DATA static _Atomic(uint32_t) listed_count;

HZ4_IN_DATA static _Atomic(bool) fork_is_on;

// Who puts marks: of two at once neither would know whose mark it finds.
static struct hz4_lock remote_lock = HZ4_LOCK_INIT(HZ4_RANK_REMOTE);

void hz4_cache_attach_own(struct hz4_tcache *cache) {
  hz4_front.area = &hz4_no_area;
  hz4_front.caches = CACHES_OF(cache != NULL ? cache : &hz4_no_cache.cache);
  if (cache == NULL) return;
  if (cache->area.id != HZ4_AREA_NO_ID) cache->area.id = HZ4_AREA_NO_ID;  // once listed it is read by others
  hz4_front.area = &cache->area;
}

struct hz4_tcache *hz4_cache_list(void) {
  return hz4_load_acquire(&listed);  // pairs with hz4_cache_enlist
}

uint32_t hz4_cache_count(void) {
  return hz4_load_relaxed(&listed_count);
}

void hz4_cache_enlist(struct hz4_tcache *cache) {
  uint32_t expected = 0;
  if (hz4_load_relaxed(&cache->listed) || !hz4_cas_strong_acquire(&cache->listed, &expected, true)) return;
  uint32_t number = hz4_fetch_add_relaxed(&listed_count, 1);
  hz4_store_relaxed(&cache->number, number);
  if (number != 0) hz4_class_part_tiny();
  struct hz4_tcache *next = hz4_load_relaxed(&listed);
  do {
    cache->next_listed = next;
  } while (!hz4_cas_weak_release(&listed, &next, cache));  // publishes next_listed to hz4_cache_list
}

void hz4_count_here(uint32_t size_class, enum hz4_counter id, uint64_t n) {
  enum hz4_range range = hz4_range_of(hz4_class_bytes(size_class));
  if (!hz4_is_attached()) {
    hz4_fetch_add_relaxed(&hz4_no_cache.cache.counters.value[range][id], n);
    return;
  }
  hz4_sequence_add(offsetof(struct hz4_tcache, counters) + ((size_t)range * HZ4_COUNTERS + id) * sizeof(uint64_t), n);
}

// ---- claims ----

static bool is_claimed(uintptr_t top) {
  return top == HZ4_TOP_CLAIMED || top == HZ4_TOP_CLAIMED_REMOTE;
}

static struct hz4_held hold(struct hz4_tcache *cache, uint32_t size_class, uintptr_t top, uint32_t word) {
  return (struct hz4_held){
      .cache = cache,
      .bin = &cache->bins[size_class],
      .top = top == HZ4_TOP_NONE ? NULL : (void **)((uintptr_t)cache + top),
      .size_class = size_class,
      .word = word,
  };
}

// A handler of a signal may run at any instant, and fork.
static void note_claims(int more) {
  *(volatile int32_t *)&hz4_front.claims += more;
}

// The claims that have begun and not ended. A bin that is marked has one, and so no copy that fork makes has a mark whose
// claim is gone; nor is a mark put, be it for an instant, while fork is on.
HZ4_IN_DATA static struct {
  _Alignas(HZ4_CACHE_LINE) _Atomic(uint32_t) open;
} claims[HZ4_CLAIM_WORDS];

static void end_claim(uint32_t word) {
  hz4_fetch_add_acq_rel(&claims[word].open, UINT32_MAX);  // release: all of the bin, to hz4_bin_fork_begin
  note_claims(-1);
}

// False: fork is on.
static bool begin_claim(uint32_t *word) {
  *word = (uint32_t)((uintptr_t)hz4_sequence_cache() / HZ4_CACHE_BYTES % HZ4_CLAIM_WORDS);
  note_claims(1);
  // Acq_rel: of this and hz4_bin_fork_begin one comes first at this word, and the other sees it.
  hz4_fetch_add_acq_rel(&claims[*word].open, 1);
  if (HZ4_LIKELY(!hz4_load_relaxed(&fork_is_on))) return true;
  end_claim(*word);
  return false;
}

bool hz4_bin_claim(uint32_t size_class, struct hz4_held *held) {
  uint32_t word;
  if (!begin_claim(&word)) return false;
  struct hz4_claim claimed = hz4_sequence_claim(size_class);  // acquire: pairs with hz4_bin_publish
  if (HZ4_UNLIKELY(is_claimed(claimed.top))) {
    end_claim(word);
    return false;
  }
  *held = hold((struct hz4_tcache *)claimed.cache, size_class, claimed.top, word);
  HZ4_SEQUENCE_ACQUIRE(&held->cache->top[size_class]);
  return true;
}

void hz4_bin_publish(struct hz4_held *held) {
  uintptr_t top = held->top == NULL ? HZ4_TOP_NONE : (uintptr_t)held->top - (uintptr_t)held->cache;
  // Release: all of the bin, for the next to claim it and, on aarch64, for sequences.
  hz4_store_release(&held->cache->top[held->size_class], top);
  end_claim(held->word);
}

uint32_t hz4_bin_claim_remote(struct hz4_tcache *cache, uint32_t *next, struct hz4_held *held) {
  if (!hz4_lock_enter(&remote_lock)) {
    *next = HZ4_CLASS_SLOTS;
    return 0;
  }
  uint32_t marked = 0, count = 0, word;
  for (; *next < HZ4_CLASS_SLOTS && marked < HZ4_REMOTE_BINS; ++*next) {
    uintptr_t top = hz4_load_relaxed(&cache->top[*next]);
    if (top == HZ4_TOP_NONE || is_claimed(top)) continue;
    if (!begin_claim(&word)) {
      *next = HZ4_CLASS_SLOTS;
      break;
    }
    // Acq_rel: pairs with hz4_bin_publish.
    bool put = hz4_cas_strong_acq_rel(&cache->top[*next], &top, HZ4_TOP_CLAIMED_REMOTE);
    if (put) held[marked++] = hold(cache, *next, top, word);
    else end_claim(word);
  }
  bool restarted = marked != 0 && hz4_rseq_restart_all();
  if (!restarted && marked != 0) *next = HZ4_CLASS_SLOTS;
  for (uint32_t i = 0; i < marked; ++i) {
    uintptr_t mark = HZ4_TOP_CLAIMED_REMOTE;
    _Atomic(uintptr_t) *top = &cache->top[held[i].size_class];
    if (restarted && hz4_load_relaxed(top) == mark) {
      held[count++] = held[i];
      continue;
    }
    // Not restarted: nothing is known, and who still commits over this finds what he had read.
    if (!restarted) hz4_cas_strong_acq_rel(top, &mark, (uintptr_t)held[i].top - (uintptr_t)cache);
    end_claim(held[i].word);
  }
  hz4_lock_release(&remote_lock);
  return count;
}

// Acquire: pairs with end_claim.
static uint32_t open_claims(void) {
  uint32_t open = 0;
  for (uint32_t i = 0; i < HZ4_CLAIM_WORDS; ++i) open += hz4_load_acquire(&claims[i].open);
  return open;
}

void hz4_bin_fork_begin(void) {
  hz4_store_relaxed(&fork_is_on, true);
  for (uint32_t i = 0; i < HZ4_CLAIM_WORDS; ++i) hz4_fetch_add_acq_rel(&claims[i].open, 0);  // pairs with begin_claim
  // This thread has claims of its own where it forks in a signal's handler: both sides end them.
  while (open_claims() > hz4_front.claims) hz4_yield();
}

void hz4_bin_fork_parent(void) {
  hz4_store_relaxed(&fork_is_on, false);
}

void hz4_bin_fork_child(void) {
  // Who had begun, and would have found that fork is on, is gone. The sum is what counts: this thread's own may end elsewhere.
  for (uint32_t i = 0; i < HZ4_CLAIM_WORDS; ++i) hz4_store_relaxed(&claims[i].open, i == 0 ? hz4_front.claims : 0);
  hz4_lock_fork_reset(&remote_lock);  // its holder, if any, claims nothing, and is gone
  hz4_store_relaxed(&fork_is_on, false);
}

// ---- arrays ----

void **hz4_bin_new_array(uint32_t length) {
  return hz4_meta_alloc(length * sizeof(void *));
}

void hz4_bin_free_array(void **slots, uint32_t length) {
  hz4_meta_free(slots, length * sizeof(void *));
}

void **hz4_bin_set_array(struct hz4_held *held, void **slots, uint32_t length) {
  struct hz4_bin *bin = held->bin;
  void **old = bin->slots;
  uint32_t n = hz4_bin_objects(held);
  slots[0] = NULL;
  if (old != NULL) memcpy(slots, old, (n + 1) * sizeof(void *));
  else hz4_cache_enlist(held->cache);
  hz4_poke(&bin->slots, slots);
  bin->length_log2 = (uint8_t)__builtin_ctz(length);
  held->top = slots + n;
  return old;
}

uint32_t hz4_bin_usual_capacity(uint32_t size_class) {
  return hz4_class_table[size_class].bin_slots_max - 1;
}

static void count_capacity(struct hz4_held *held, uint32_t objects) {
  uint32_t before = held->bin->capacity, usual = hz4_bin_usual_capacity(held->size_class);
  hz4_fetch_add_relaxed(&held->cache->capacity_bytes, ((size_t)objects - before) * hz4_class_bytes(held->size_class));
  hz4_fetch_add_relaxed(&held->cache->large_bins, (uint32_t)(objects > usual) - (before > usual));
  held->bin->capacity = (uint16_t)objects;
}

void hz4_bin_set_capacity(struct hz4_held *held, uint32_t objects) {
  uintptr_t last = (uintptr_t)(held->bin->slots + objects);
  hz4_store_relaxed(&held->cache->limit[held->size_class], last - (uintptr_t)held->cache);  // published with the bin
  count_capacity(held, objects);
}

uint32_t hz4_bin_put(struct hz4_held *held, void *const *objects, uint32_t n) {
  uint32_t room = held->bin->capacity - hz4_bin_objects(held), fit = n < room ? n : room, rest = n - fit;
  if (fit == 0) return rest;
  for (uint32_t i = rest; i < n; ++i) HZ4_SEQUENCE_RELEASE(objects[i]);
  memcpy(held->top + 1, objects + rest, fit * sizeof(void *));
  held->top += fit;
  return rest;
}

uint32_t hz4_bin_take(struct hz4_held *held, uint32_t keep, void **out) {
  uint32_t n = hz4_bin_objects(held);
  if (n <= keep) return 0;
  uint32_t leaving = n - keep < HZ4_MOVE_OBJECTS ? n - keep : HZ4_MOVE_OBJECTS;
  uint32_t above = leaving * 4 < n ? n / 4 : n - leaving;
  void **from = held->top + 1 - above - leaving;
  memcpy(out, from, leaving * sizeof(void *));
  for (uint32_t i = 0; i < leaving; ++i) HZ4_SEQUENCE_ACQUIRE(out[i]);
  memmove(from, from + leaving, above * sizeof(void *));
  held->top -= leaving;
  uint32_t spilled = held->bin->spilled + leaving;
  held->bin->spilled = (uint16_t)(spilled < UINT16_MAX ? spilled : UINT16_MAX);
  return leaving;
}

void **hz4_bin_take_array(struct hz4_held *held, uint32_t *length, uint32_t *count) {
  struct hz4_bin *bin = held->bin;
  void **slots = bin->slots;
  *count = hz4_bin_objects(held);
  *length = hz4_bin_length(bin);
  for (uint32_t i = 1; i <= *count; ++i) HZ4_SEQUENCE_ACQUIRE(slots[i]);
  count_capacity(held, 0);
  hz4_poke(&bin->slots, NULL);
  memset(&bin->slots + 1, 0, sizeof(*bin) - sizeof(bin->slots));
  hz4_store_relaxed(&held->cache->limit[held->size_class], HZ4_TOP_NONE);
  held->top = NULL;
  hz4_bin_publish(held);
  return slots;
}

uint32_t hz4_bin_objects_lately(struct hz4_tcache *cache, uint32_t size_class) {
  uintptr_t top = hz4_load_relaxed(&cache->top[size_class]), slots = (uintptr_t)hz4_peek(&cache->bins[size_class].slots);
  if (top == HZ4_TOP_NONE || is_claimed(top) || slots == 0) return 0;
  uintptr_t objects = ((uintptr_t)cache + top - slots) / sizeof(void *);
  return objects < HZ4_BIN_SLOTS_ALONE ? (uint32_t)objects : 0;  // or else the top is that of another array
}

const char *hz4_bin_broken(const struct hz4_held *held) {
  const struct hz4_bin *bin = held->bin;
  HZ4_HOLDS((bin->slots == NULL) == (held->top == NULL), "bin: no array, yet not empty");
  if (bin->slots == NULL) return NULL;
  HZ4_HOLDS(bin->slots[0] == NULL, "bin: no NULL below");
  HZ4_HOLDS(bin->capacity < hz4_bin_length(bin) && hz4_bin_objects(held) <= bin->capacity, "bin: it overflows");
  for (uint32_t i = 1; i <= hz4_bin_objects(held); ++i) {
    uint32_t size_class = hz4_pagemap_class_of(bin->slots[i]);
    bool tiny = hz4_class_is_tiny_bin(held->size_class) && size_class >= HZ4_TINY_HOME;
    HZ4_HOLDS(size_class == held->size_class || (tiny && hz4_class_bytes(size_class) == hz4_class_bytes(held->size_class)),
              "bin: an object of another class");
  }
  return NULL;
}
