// A bump pointer over chunks, and one free list per size.
#include "hz4/meta.h"

#include <string.h>

#include "hz4/atomic.h"
#include "hz4/guard.h"
#include "hz4/limit.h"
#include "hz4/lock.h"
#include "hz4/os.h"

struct free_block {
  struct free_block *next;
  size_t units;
};

static struct hz4_lock lock = HZ4_LOCK_INIT(HZ4_RANK_META);

// Under lock.
HZ4_IN_DATA static struct free_block *free_lists[HZ4_META_MAX_BYTES / HZ4_META_UNIT + 1];
HZ4_IN_DATA static char *bump, *bump_end;
static size_t next_chunk_bytes = HZ4_META_CHUNK_MIN;

HZ4_IN_DATA static _Atomic(uint64_t) mapped_bytes, used_bytes;

// Blocks freed while fork held the lock. Pushed by anybody, taken as a whole by whoever holds the lock: so no ABA.
HZ4_IN_DATA static _Atomic(struct free_block *) deferred;

static void note_chunk(size_t bytes) {
  hz4_fetch_add_relaxed(&mapped_bytes, bytes);
  hz4_limit_take_anyway(bytes);
}

static size_t units_of(size_t bytes) {
  return (bytes + HZ4_META_UNIT - 1) / HZ4_META_UNIT;
}

static void put_locked(struct free_block *block, size_t units) {
  hz4_lock_assert_held(&lock);
  block->units = units;
  block->next = free_lists[units];
  free_lists[units] = block;
  hz4_fetch_sub_relaxed(&used_bytes, units * HZ4_META_UNIT);
}

static void take_deferred_locked(void) {
  if (HZ4_LIKELY(hz4_load_relaxed(&deferred) == NULL)) return;
  // Acquire: pairs with the release in hz4_meta_free, which publishes next and units.
  struct free_block *block = hz4_exchange_acquire(&deferred, NULL);
  while (block != NULL) {
    struct free_block *next = block->next;
    put_locked(block, block->units);
    block = next;
  }
}

static bool has_room_locked(size_t units) {
  return (size_t)(bump_end - bump) >= units * HZ4_META_UNIT;
}

// Leaves the lock meanwhile, in which others may make room too, and use it. False: no memory.
static bool make_room_locked(size_t units) {
  size_t bytes = next_chunk_bytes;
  struct hz4_away away;
  hz4_lock_leave(&lock, &away);
  char *chunk = hz4_guard_map(bytes);
  while (chunk == NULL && bytes > HZ4_META_MAX_BYTES && bytes > hz4_sys_page_bytes()) {
    bytes /= 2;
    chunk = hz4_guard_map(bytes);
  }
  hz4_lock_return(&away);
  if (chunk == NULL) return has_room_locked(units);
  if (has_room_locked(units)) {
    hz4_lock_leave(&lock, &away);
    hz4_guard_unmap(chunk, bytes);
    hz4_lock_return(&away);
    return true;
  }
  // The rest of the old chunk serves as one free block; what exceeds the largest size is given up (never in practice:
  // a chunk is only left when its rest is smaller than the block asked for).
  size_t rest = (size_t)(bump_end - bump) / HZ4_META_UNIT;
  if (rest != 0) {
    hz4_fetch_add_relaxed(&used_bytes, rest * HZ4_META_UNIT);
    put_locked((struct free_block *)bump, rest);
  }
  bump = chunk;
  bump_end = chunk + bytes;
  note_chunk(bytes);
  if (next_chunk_bytes < HZ4_META_CHUNK_MAX) next_chunk_bytes *= 2;
  return true;
}

static void *alloc_locked(size_t units) {
  hz4_lock_assert_held(&lock);
  take_deferred_locked();
  struct free_block *block = free_lists[units];
  if (block != NULL) {
    free_lists[units] = block->next;
    memset(block, 0, units * HZ4_META_UNIT);
  } else {
    while (!has_room_locked(units)) {
      if (!make_room_locked(units)) return NULL;
    }
    block = (struct free_block *)bump;  // fresh from the system: zero
    bump += units * HZ4_META_UNIT;
  }
  hz4_fetch_add_relaxed(&used_bytes, units * HZ4_META_UNIT);
  return block;
}

// ---- while fork holds the lock ----

// Blocks come from a stock, which fork fills before it takes the lock: with as many of each size as any one fork has
// needed, or else each fork would leave blocks behind that the next could not use. Who finds another at the stock does
// not wait, for the child has not that other: it cuts a block of its own. Each change is one store, so that the child
// finds the stock whole.
static struct {
  struct free_block *first;
  uint32_t count, taken, most;  // in the stock; since it was filled last; of all such
} stock[HZ4_META_MAX_BYTES / HZ4_META_UNIT + 1];
static _Atomic(uint32_t) stock_busy;  // 1 or 0: of a byte not every machine has more than loads and stores

static bool open_stock(void) {
  return !hz4_exchange_acquire(&stock_busy, true);  // pairs with close_stock: all of the stock
}

static void close_stock(void) {
  hz4_store_release(&stock_busy, false);  // pairs with open_stock
}

static void *take_from_stock(size_t units) {
  if (!open_stock()) return NULL;
  struct free_block *block = stock[units].first;
  ++stock[units].taken;
  if (block != NULL) {
    stock[units].first = block->next;
    --stock[units].count;
  }
  close_stock();
  if (block != NULL) memset(block, 0, units * HZ4_META_UNIT);
  return block;
}

// What is in the stock counts as in use.
static void fill_stock_locked(void) {
  hz4_lock_assert_held(&lock);
  if (!open_stock()) return;
  take_deferred_locked();
  for (size_t units = 1; units < sizeof(stock) / sizeof(stock[0]); ++units) {
    if (stock[units].taken > stock[units].most) stock[units].most = stock[units].taken;
    stock[units].taken = 0;
    for (; stock[units].count < stock[units].most && free_lists[units] != NULL; ++stock[units].count) {
      struct free_block *block = free_lists[units];
      free_lists[units] = block->next;
      block->next = stock[units].first;
      stock[units].first = block;
      hz4_fetch_add_relaxed(&used_bytes, units * HZ4_META_UNIT);
    }
  }
  close_stock();
}

// Where the stock has none, blocks are cut from a chunk by an atomic cursor. Such a chunk is used up before the next
// one is mapped, and its blocks are freed like all others.
static _Atomic(uintptr_t) spare_cursor;  // chunks are aligned to their size: the cursor tells where its chunk ends

static void *cut_spare(size_t units) {
  const size_t bytes = units * HZ4_META_UNIT, chunk_bytes = HZ4_META_CHUNK_MIN;
  // Acq_rel below: who installs a chunk publishes its fresh mapping to who cuts the next block from it.
  uintptr_t seen = hz4_load_acquire(&spare_cursor);
  for (;;) {
    // Cursor 0, and a cursor at a chunk's very end, have no room. What a chunk's end is too small for is given up.
    size_t room = (0 - seen) % chunk_bytes;
    if (room >= bytes) {
      if (hz4_cas_strong_acq_rel(&spare_cursor, &seen, seen + bytes)) break;
      continue;
    }
    char *chunk = hz4_os_map(chunk_bytes, chunk_bytes);
    if (chunk == NULL) return NULL;
    if (hz4_cas_strong_acq_rel(&spare_cursor, &seen, (uintptr_t)chunk + bytes)) {
      seen = (uintptr_t)chunk;
      note_chunk(chunk_bytes);
      hz4_fetch_add_relaxed(&used_bytes, chunk_bytes);  // until its parts come back as freed blocks
      break;
    }
    hz4_os_unmap(chunk, chunk_bytes);
  }
  return (void *)seen;
}

void *hz4_meta_alloc(size_t bytes) {
  HZ4_ASSERT(bytes > 0);
  if (bytes > HZ4_META_MAX_BYTES) return hz4_guard_map(hz4_round_up(bytes, hz4_sys_page_bytes()));
  size_t units = units_of(bytes);
  if (!hz4_lock_enter(&lock)) {
    void *stocked = take_from_stock(units);
    return stocked != NULL ? stocked : cut_spare(units);
  }
  void *block = alloc_locked(units);
  hz4_lock_release(&lock);
  return block;
}

void hz4_meta_free(void *ptr, size_t bytes) {
  if (bytes > HZ4_META_MAX_BYTES) {
    hz4_guard_unmap(ptr, hz4_round_up(bytes, hz4_sys_page_bytes()));
    return;
  }
  struct free_block *block = ptr;
  size_t units = units_of(bytes);
  if (HZ4_LIKELY(hz4_lock_enter(&lock))) {
    put_locked(block, units);
    hz4_lock_release(&lock);
    return;
  }
  block->units = units;
  block->next = hz4_load_relaxed(&deferred);
  // Release: publishes the block's fields to take_deferred_locked.
  while (!hz4_cas_weak_release(&deferred, &block->next, block)) continue;
}

void *hz4_meta_make_shard(_Atomic(void *) *shards, uint32_t shard, size_t bytes, void (*begin)(void *made, uint32_t shard),
                          struct hz4_lock *first_lock) {
  void *first = hz4_load_relaxed(&shards[0]), *mine = hz4_meta_alloc(bytes), *winner = first;
  if (mine == NULL) return first;
  begin(mine, shard);
  if (hz4_lock_enter(first_lock)) {
    winner = hz4_load_relaxed(&shards[shard]);
    if (winner == NULL) hz4_store_release(&shards[shard], winner = mine);  // publishes what `begin` wrote
    hz4_lock_release(first_lock);
  }
  if (winner != mine) hz4_meta_free(mine, bytes);
  return winner;
}

void hz4_meta_stats(struct hz4_meta_stats *out) {
  out->mapped_bytes = hz4_load_relaxed(&mapped_bytes);
  out->used_bytes = hz4_load_relaxed(&used_bytes);
}

static const char *broken_locked(void) {
  uint64_t free_bytes = (uint64_t)(bump_end - bump);
  for (size_t units = 0; units < sizeof(free_lists) / sizeof(free_lists[0]); ++units) {
    for (struct free_block *block = free_lists[units]; block != NULL; block = block->next) {
      HZ4_HOLDS(block->units == units && hz4_is_aligned(block, HZ4_META_UNIT), "meta: broken free list");
      free_bytes += units * HZ4_META_UNIT;
    }
  }
  HZ4_HOLDS(free_bytes + hz4_load_relaxed(&used_bytes) == hz4_load_relaxed(&mapped_bytes), "meta: bytes do not add up");
  return NULL;
}

void hz4_meta_check(void) {
  if (!hz4_lock_enter(&lock)) return;
  const char *broken = broken_locked();
  hz4_lock_release(&lock);
  if (broken != NULL) hz4_panic(broken);
}

void hz4_meta_fork_prepare(void) {
  hz4_lock_acquire(&lock);
  fill_stock_locked();
  hz4_lock_release(&lock);
  hz4_lock_fork_acquire(&lock);
}

void hz4_meta_fork_parent(void) {
  hz4_lock_fork_release(&lock);
}

void hz4_meta_fork_child(void) {
  hz4_store_relaxed(&stock_busy, false);
  hz4_lock_fork_reset(&lock);
}
