#include "hz4/transfer.h"

#include <string.h>

#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/segment.h"
#include "hz4/shard.h"
#include "hz4/sizeclass.h"

_Static_assert(sizeof(struct hz4_batch) == 512, "eight cache lines");
_Static_assert(HZ4_ADDRESS_BITS <= HZ4_INBOX_OBJECTS_SHIFT, "no address has more bits");
_Static_assert(HZ4_BATCH_OBJECTS * HZ4_INBOX_OBJECT_MAX <= HZ4_INBOX_BYTES_MAX, "a batch fits");

// Where the next search of inboxes begins.
HZ4_IN_DATA static _Atomic(struct hz4_tcache *) steal_cursor;

// Objects freed while fork held Mid's locks.
HZ4_IN_DATA static struct hz4_inbox held_back[HZ4_MID_CLASSES];

// ---- batches ----

static void delete_batch(struct hz4_tcache *cache, struct hz4_batch *batch) {
  if (!hz4_inbox_push(&cache->spare, batch, HZ4_BATCH_CACHE)) hz4_meta_free(batch, sizeof(*batch));
}

static struct hz4_batch *new_batch(struct hz4_tcache *cache) {
  struct hz4_batch *batch = hz4_inbox_take(&cache->spare);
  if (batch == NULL) return hz4_meta_alloc(sizeof(struct hz4_batch));
  for (struct hz4_batch *rest = batch->next, *next; rest != NULL; rest = next) {
    next = rest->next;
    delete_batch(cache, rest);
  }
  return batch;
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

// ---- giving ----

void hz4_transfer_count_away(uint32_t size_class, const struct hz4_mid_result *result) {
  if (HZ4_LIKELY(result->away_locks == 0)) return;
  hz4_count_here(size_class, HZ4_COUNT_shard_lock, result->away_locks);
  hz4_count_here(size_class, HZ4_COUNT_shard_objects, result->away);
}

void hz4_transfer_drain(uint32_t size_class) {
  void *objects[HZ4_BATCH_OBJECTS / 4];  // the stack is nearly used up here
  uint32_t room = HZ4_BATCH_OBJECTS / 4, shards = hz4_shard_count(), n;
  for (uint32_t s = 0; s < shards && shards != 1; ++s) {
    // Others may go on filling it.
    for (uint32_t some = 0; some < HZ4_DEPOT_OBJECTS_MAX; some += n) {
      n = hz4_mid_drain(s, size_class, objects, room);
      if (n == 0) break;
      hold_back(size_class, objects, hz4_mid_send_home(size_class, objects, n));
    }
  }
}

// False: fork is on, and the objects are held back.
static bool give(uint32_t size_class, void **objects, uint32_t n, uint32_t *declines, bool purge) {
  struct hz4_mid_result given = hz4_mid_give(size_class, objects, n, hz4_cache_here(), purge);
  hold_back(size_class, objects, n - given.objects);
  if (given.objects == 0) return false;
  hz4_count_here(size_class, HZ4_COUNT_flush_lock, 1);
  hz4_transfer_count_away(size_class, &given);
  if (given.declined) hz4_transfer_drain(size_class);
  if (given.spans_closed != 0) {
    hz4_count_here(size_class, HZ4_COUNT_span_closed, given.spans_closed);
    if (purge) hz4_segment_purge(HZ4_SEGMENT_KEEP_LIMIT);
  }
  *declines = given.declines;
  return true;
}

static void settle_class(uint32_t size_class) {
  for (struct hz4_batch *batch = hz4_inbox_take(&held_back[size_class]), *next; batch != NULL; batch = next) {
    next = batch->next;
    uint32_t declines;
    give(size_class, batch->objects, (uint32_t)batch->count, &declines, false);
    hz4_meta_free(batch, sizeof(*batch));
  }
}

uint64_t hz4_transfer_waiting(uint32_t size_class) {
  return hz4_inbox_objects(&held_back[size_class]);
}

// Out of a tiny bin: objects may be of several homes, for the thread may have changed caches while it filled the bin.
static void give_tiny(void **objects, uint32_t n, bool purge) {
  for (uint32_t first = 0, i = 0; i < n; first = i) {
    uint32_t size_class = hz4_pagemap_class_of(objects[first]), declines;
    while (i < n && hz4_pagemap_class_of(objects[i]) == size_class) ++i;
    if (give(size_class, objects + first, i - first, &declines, purge && i == n)) settle_class(size_class);
  }
}

bool hz4_transfer_give(uint32_t size_class, void **objects, uint32_t n, uint8_t *declines, bool purge) {
  uint32_t declines_now;
  if (HZ4_UNLIKELY(hz4_class_is_tiny_bin(size_class))) {
    give_tiny(objects, n, purge);
    return false;
  }
  if (n == 0 || !give(size_class, objects, n, &declines_now, purge)) return false;
  settle_class(size_class);  // another thread may have held objects back just after fork had settled
  if (declines == NULL || *declines == (uint8_t)declines_now) return false;
  *declines = (uint8_t)declines_now;
  return true;
}

void hz4_transfer_settle(void) {
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) settle_class(c);
}

// The other cache whose spans the objects are from, if they are small and a sample of them agrees on one; else NULL.
static struct hz4_tcache *owner_of(uint32_t size_class, void *const *objects, uint32_t n) {
  if (hz4_option_now(&hz4_option.inbox) == 0 || hz4_class_bytes(size_class) > HZ4_INBOX_OBJECT_MAX) return NULL;
  if (hz4_class_is_tiny_bin(size_class)) return NULL;
  struct hz4_tcache *owner = hz4_mid_owner(objects[0]);
  if (owner == NULL || owner == hz4_cache_here()) return NULL;
  uint32_t step = (n - 1) / (HZ4_OWNER_SAMPLES - 1) | 1;  // odd: two owners may have taken turns
  for (uint32_t i = 1; i < HZ4_OWNER_SAMPLES; ++i) {
    if (hz4_mid_owner(objects[i * step < n ? i * step : n - 1]) != owner) return NULL;
  }
  return owner;
}

// Pushes objects to the owner's inbox, batch by batch, until it refuses. Returns how many went.
static uint32_t send(struct hz4_tcache *owner, uint32_t size_class, void *const *objects, uint32_t n) {
  uintptr_t batches = HZ4_INBOX_BYTES_MAX / (HZ4_BATCH_OBJECTS * hz4_class_bytes(size_class));
  if (batches > HZ4_INBOX_BATCHES_MAX) batches = HZ4_INBOX_BATCHES_MAX;
  uint32_t sent = 0;
  while (sent < n) {
    struct hz4_tcache *here = hz4_cache_here();
    struct hz4_batch *batch = new_batch(here);
    if (batch == NULL) break;
    uint32_t part = n - sent < HZ4_BATCH_OBJECTS ? n - sent : HZ4_BATCH_OBJECTS;
    memcpy(batch->objects, objects + sent, part * sizeof(void *));
    batch->count = part;
    if (!hz4_inbox_push(&owner->inbox[size_class], batch, batches)) {
      delete_batch(here, batch);
      hz4_count_here(size_class, HZ4_COUNT_inbox_refused, 1);
      break;
    }
    if (!hz4_load_relaxed(&owner->sent_to)) hz4_store_relaxed(&owner->sent_to, true);
    hz4_count_here(size_class, HZ4_COUNT_inbox_push, 1);
    hz4_count_here(size_class, HZ4_COUNT_inbox_push_objects, part);
    sent += part;
  }
  return sent;
}

void hz4_transfer_give_batches(struct hz4_tcache *cache, uint32_t size_class, struct hz4_batch *batch) {
  for (struct hz4_batch *next; batch != NULL; batch = next) {
    next = batch->next;
    hz4_transfer_give(size_class, batch->objects, (uint32_t)batch->count, NULL, false);
    delete_batch(cache, batch);
  }
}

bool hz4_transfer_send(uint32_t size_class, void **objects, uint32_t n, uint8_t *declines, bool purge) {
  hz4_count_here(size_class, HZ4_COUNT_flush_objects, n);
  struct hz4_tcache *owner = owner_of(size_class, objects, n);
  uint32_t sent = owner != NULL ? send(owner, size_class, objects, n) : 0;
  bool declined = hz4_transfer_give(size_class, objects + sent, n - sent, declines, purge);
  // Who allocated them may not come to take them, and each keeps a page from being purged.
  for (struct hz4_tcache *c = declined ? hz4_cache_list() : NULL; c != NULL; c = c->next_listed) {
    hz4_transfer_give_batches(c, size_class, hz4_inbox_take(&c->inbox[size_class]));
  }
  return declined;
}

// ---- inboxes of all ----

struct hz4_batch *hz4_transfer_steal(uint32_t size_class) {
  struct hz4_tcache *victim = hz4_load_acquire(&steal_cursor);  // a listed cache: pairs with hz4_cache_enlist
  struct hz4_batch *batch = NULL;
  for (int i = 0; i < HZ4_STEAL_TRIES && batch == NULL; ++i) {
    if (victim == NULL) victim = hz4_cache_list();
    if (victim == NULL) break;
    batch = hz4_inbox_take(&victim->inbox[size_class]);
    victim = victim->next_listed;
  }
  hz4_store_release(&steal_cursor, victim);
  return batch;
}

void hz4_transfer_empty(struct hz4_tcache *cache, bool close) {
  // Of thousands of threads that sleep few were sent anything, and each has a kilobyte of inboxes to be looked into. (Who sends
  // at this instant may have found it set: so it stays.)
  bool sent_to = hz4_load_relaxed(&cache->sent_to);
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS && (close || sent_to); ++c) {
    struct hz4_inbox *inbox = &cache->inbox[c];
    hz4_transfer_give_batches(cache, c, close ? hz4_inbox_close(inbox) : hz4_inbox_take(inbox));
  }
  for (struct hz4_batch *spare = hz4_inbox_take(&cache->spare), *next; spare != NULL; spare = next) {
    next = spare->next;
    hz4_meta_free(spare, sizeof(*spare));
  }
}

void hz4_transfer_open(struct hz4_tcache *cache) {
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) hz4_inbox_open(&cache->inbox[c]);
}
