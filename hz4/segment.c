// Segments are listed by their longest free run (best fit), and by age of dirt.
//
// Each shard has its own, and gives pages to others before it asks the system for more. What it gave comes back to it.
//
// The lock is left for every system call (lock.h). Pages that are being purged, and those of a segment that is being
// unmapped, are marked as used meanwhile, so that nobody takes them; and who purges some of a segment's pages is the only
// one who does.
#include "hz4/segment.h"

#include "hz4/atomic.h"
#include "hz4/limit.h"
#include "hz4/list.h"
#include "hz4/meta.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/policy.h"
#include "hz4/segment_pages.h"
#include "hz4/shard.h"

// How many segments with dirty pages are tried for a run before clean pages are taken.
#define DIRTY_TRIES 8

// Those of a shard.
struct segments {
  struct hz4_lock lock;
  // Under lock. Lists are circular through their head when not empty; head is the oldest member.
  struct hz4_segment *by_length[HZ4_SEGMENT_PAGES_MAX + 1];
  uint64_t lengths;  // bit n-1: by_length[n] is not empty
  struct hz4_segment *dirty_segments;
  size_t segment_count, all_pages, used_pages, dirty_pages, free_segments;
  uint64_t acquired, released, purged_runs;
  struct hz4_policy_pages policy;
};

HZ4_IN_DATA static struct segments first_shard = {.lock = HZ4_LOCK_INIT(HZ4_RANK_SEGMENT)};

// NULL: nobody has come to it yet.
static _Atomic(void *) shards[HZ4_SHARDS_MAX] = {&first_shard};

// Bytes of used pages that hold no memory.
HZ4_IN_DATA static _Atomic(size_t) purged_inside_bytes;

static struct segments *made(uint32_t shard) {
  return hz4_load_acquire(&shards[shard]);  // pairs with hz4_meta_make_shard
}

static void begin(void *made, uint32_t shard) {
  (void)shard;
  ((struct segments *)made)->lock.rank = HZ4_RANK_SEGMENT;
}

static struct segments *of_shard(uint32_t shard) {
  struct segments *s = made(shard);
  return HZ4_LIKELY(s != NULL) ? s : hz4_meta_make_shard(shards, shard, sizeof(*s), begin, &first_shard.lock);
}

// What is purged inside spans of any shard counts against each: so all together stay below the bound.
static size_t dirty_limit_locked(struct segments *s) {
  size_t used = s->used_pages << HZ4_PAGE_SHIFT, purged = hz4_load_relaxed(&purged_inside_bytes);
  size_t full = used > purged ? used - purged : 0;
  return hz4_policy_pages_dirty(&s->policy, hz4_shard_count(), full, s->dirty_pages << HZ4_PAGE_SHIFT) >> HZ4_PAGE_SHIFT;
}

// Puts the segment on the list that fits its bitmaps now. Every change of `used` or `dirty` ends here.
static void relist_locked(struct segments *s, struct hz4_segment *segment) {
  hz4_lock_assert_held(&s->lock);
  uint32_t longest = hz4_segment_longest_run(~segment->used);
  if (longest != segment->longest_free) {
    uint32_t old = segment->longest_free;
    if (old != 0) {
      HZ4_LIST_REMOVE(s->by_length[old], segment, by_length.next, by_length.prev);
      if (s->by_length[old] == NULL) s->lengths &= ~((uint64_t)1 << (old - 1));
    }
    if (longest != 0) {
      HZ4_LIST_ADD(s->by_length[longest], segment, by_length.next, by_length.prev);
      s->lengths |= (uint64_t)1 << (longest - 1);
    }
    segment->longest_free = longest;
  }
  bool was_unused = segment->unused;
  segment->unused = segment->used == segment->absent;
  s->free_segments += segment->unused;
  s->free_segments -= was_unused;
  bool listed = segment->by_age.next != NULL, purgeable = segment->dirty != 0 && segment->purging == 0;
  if (purgeable && !listed) HZ4_LIST_ADD(s->dirty_segments, segment, by_age.next, by_age.prev);
  if (!purgeable && listed) HZ4_LIST_REMOVE(s->dirty_segments, segment, by_age.next, by_age.prev);
}

// Leaves the lock meanwhile. NULL: no memory.
static struct hz4_segment *add_segment_locked(struct segments *s, size_t pages_needed) {
  size_t wanted = s->all_pages >> HZ4_SEGMENT_GROWTH_SHIFT;
  size_t pages = HZ4_SEGMENT_PAGES_MIN;
  while (pages < wanted && pages < HZ4_SEGMENT_PAGES_MAX) pages *= 2;
  if (pages < pages_needed) pages = pages_needed;
  struct hz4_away away;
  hz4_lock_leave(&s->lock, &away);
  struct hz4_segment *segment = hz4_segment_map(pages, pages_needed);
  hz4_lock_return(&away);
  if (segment == NULL) return NULL;
  segment->home = s;
  ++s->segment_count;
  ++s->acquired;
  s->all_pages += hz4_segment_page_count(segment);
  relist_locked(s, segment);
  return segment;
}

// ---- unmapping ----

static bool is_free(const struct hz4_segment *segment) {
  return segment->unused && segment->dirty == 0;
}

// Puts a segment that is free and clean on the chain of those to be unmapped.
static void claim_free_locked(struct segments *s, struct hz4_segment *segment, struct hz4_segment **chain) {
  HZ4_ASSERT(is_free(segment));
  segment->used = ~(uint64_t)0;
  relist_locked(s, segment);
  segment->next_busy = *chain;
  *chain = segment;
}

// Unmaps the chain, and leaves the lock meanwhile. What the system refuses is free again. True when one went.
static bool unmap_chain_locked(struct segments *s, struct hz4_segment *chain) {
  if (chain == NULL) return false;
  struct hz4_segment *kept = NULL;
  size_t gone = 0, gone_pages = 0;
  struct hz4_away away;
  hz4_lock_leave(&s->lock, &away);
  for (struct hz4_segment *segment = chain, *next; segment != NULL; segment = next) {
    next = segment->next_busy;
    size_t pages = hz4_segment_page_count(segment);
    if (hz4_segment_unmap(segment)) {
      ++gone;
      gone_pages += pages;
    } else {
      segment->next_busy = kept;
      kept = segment;
    }
  }
  hz4_lock_return(&away);
  for (; kept != NULL; kept = kept->next_busy) {
    kept->used = kept->absent;
    relist_locked(s, kept);
  }
  s->segment_count -= gone;
  s->released += gone;
  s->all_pages -= gone_pages;
  return gone != 0;
}

// ---- allocating ----

// A segment that has a run of `pages`: a dirty run if one is found soon, else the tightest fit. NULL: none has.
static struct hz4_segment *find_locked(struct segments *s, size_t pages, uint64_t *starts) {
  struct hz4_segment *segment = s->dirty_segments;
  for (int i = 0; segment != NULL && i < DIRTY_TRIES; ++i) {
    if ((*starts = hz4_segment_runs(segment->dirty, pages)) != 0) return segment;
    segment = segment->by_age.next;
    if (segment == s->dirty_segments) break;
  }
  uint64_t fitting = s->lengths & ~(uint64_t)0 << (pages - 1);
  if (fitting == 0) return NULL;
  segment = s->by_length[__builtin_ctzll(fitting) + 1];
  *starts = hz4_segment_runs(~segment->used, pages);
  return segment;
}

static struct hz4_run alloc_locked(struct segments *s, size_t pages, bool grow) {
  uint64_t starts = 0;
  struct hz4_segment *segment = find_locked(s, pages, &starts);
  if (segment == NULL) {
    if (!grow || (segment = add_segment_locked(s, pages)) == NULL) return (struct hz4_run){0};
    starts = hz4_segment_runs(~segment->used, pages);
  }
  size_t first = (size_t)__builtin_ctzll(starts);
  uint64_t mask = hz4_segment_mask(first, pages);
  struct hz4_run run = {segment->base + (first << HZ4_PAGE_SHIFT), segment, (segment->touched & mask) == 0};
  size_t dirty = (size_t)__builtin_popcountll(segment->dirty & mask);
  if (!hz4_limit_take((pages - dirty) << HZ4_PAGE_SHIFT)) return (struct hz4_run){0};
  s->dirty_pages -= dirty;
  uint64_t clean = segment->touched & ~segment->dirty;
  size_t purged = (size_t)__builtin_popcountll((clean | segment->purged_inside) & mask);
  s->used_pages += pages;
  hz4_policy_pages_taken(&s->policy, s->used_pages << HZ4_PAGE_SHIFT, purged << HZ4_PAGE_SHIFT);
  segment->used |= mask;
  segment->dirty &= ~mask;
  segment->purged_inside &= ~mask;
  segment->touched |= mask;
  relist_locked(s, segment);
  return run;
}

static struct hz4_run alloc_at(struct segments *s, size_t pages, bool grow) {
  if (!hz4_lock_enter(&s->lock)) return (struct hz4_run){0};
  struct hz4_run run = alloc_locked(s, pages, grow);
  hz4_lock_release(&s->lock);
  return run;
}

struct hz4_run hz4_segment_alloc(size_t pages, bool grow) {
  HZ4_ASSERT(pages >= 1 && pages <= HZ4_SEGMENT_PAGES_MAX);
  uint32_t here = hz4_shard_here(), count = hz4_shard_count();
  struct segments *s = of_shard(here), *other;
  struct hz4_run run = alloc_at(s, pages, grow && count == 1);
  for (uint32_t i = 1; i < count && run.base == NULL; ++i) {
    if ((other = made((here + i) % count)) != NULL) run = alloc_at(other, pages, false);
  }
  return run.base == NULL && grow && count != 1 ? alloc_at(s, pages, true) : run;
}

// ---- purging ----

struct batch {
  struct hz4_sys_run runs[HZ4_PURGE_RUNS];
  size_t count, pages;
};

static bool is_full(const struct batch *batch) {
  return batch->count == HZ4_PURGE_RUNS || batch->pages == HZ4_PURGE_BYTES >> HZ4_PAGE_SHIFT;
}

// Takes the dirty pages of a segment, as far as the batch has room. They are clean from now on, or refused by the system:
// trying again would not help either.
static void claim_dirty_locked(struct segments *s, struct hz4_segment *segment, struct batch *batch) {
  while (segment->dirty != 0 && !is_full(batch)) {
    size_t first = (size_t)__builtin_ctzll(segment->dirty), room = (HZ4_PURGE_BYTES >> HZ4_PAGE_SHIFT) - batch->pages;
    uint64_t after = ~(segment->dirty >> first);
    size_t pages = after == 0 ? 64 : (size_t)__builtin_ctzll(after);
    if (pages > room) pages = room;
    batch->runs[batch->count++] =
        (struct hz4_sys_run){segment->base + (first << HZ4_PAGE_SHIFT), pages << HZ4_PAGE_SHIFT};
    batch->pages += pages;
    s->dirty_pages -= pages;
    segment->purging |= hz4_segment_mask(first, pages);
    segment->dirty &= ~hz4_segment_mask(first, pages);
  }
  segment->used |= segment->purging;
  relist_locked(s, segment);
}

// The pages are free again. A segment that is free now goes to the chain of those to be unmapped, if there are many.
static void finish_purge_locked(struct segments *s, struct hz4_segment *segment, struct hz4_segment **chain) {
  segment->used &= ~segment->purging;
  segment->purging = 0;
  relist_locked(s, segment);
  size_t most = HZ4_RETAIN_BYTES / (HZ4_SEGMENT_PAGES_MAX * HZ4_PAGE_BYTES) / hz4_shard_count();
  if (is_free(segment) && s->free_segments > most) claim_free_locked(s, segment, chain);
}

// Purges dirty pages, those of the segments that have been dirty longest, by one call and at most HZ4_PURGE_BYTES; leaves
// the lock meanwhile. True when something went back.
static bool purge_some_locked(struct segments *s, size_t keep) {
  struct batch batch;
  batch.count = batch.pages = 0;
  struct hz4_segment *busy = NULL, *chain = NULL;
  while (s->dirty_pages > keep && s->dirty_segments != NULL && !is_full(&batch)) {
    struct hz4_segment *segment = s->dirty_segments;
    claim_dirty_locked(s, segment, &batch);
    segment->next_busy = busy;
    busy = segment;
  }
  if (busy == NULL) return false;
  struct hz4_away away;
  hz4_lock_leave(&s->lock, &away);
  bool purged = hz4_os_purge_runs(batch.runs, batch.count);
  hz4_limit_give(batch.pages << HZ4_PAGE_SHIFT);  // also what was refused: it is called clean from now on
  hz4_lock_return(&away);
  if (purged) s->purged_runs += batch.count;
  while (busy != NULL) {
    struct hz4_segment *next = busy->next_busy;
    finish_purge_locked(s, busy, &chain);
    busy = next;
  }
  unmap_chain_locked(s, chain);
  return purged;
}

bool hz4_segment_free(struct hz4_segment *segment, char *base, size_t pages, bool purged_inside) {
  struct segments *s = segment->home;
  if (!hz4_lock_enter(&s->lock)) return false;
  uint64_t mask = hz4_segment_mask((size_t)(base - segment->base) >> HZ4_PAGE_SHIFT, pages);
  HZ4_ASSERT((segment->used & mask) == mask && (segment->dirty & mask) == 0);
  segment->used &= ~mask;
  segment->dirty |= mask;
  if (purged_inside) segment->purged_inside |= mask;
  s->used_pages -= pages;
  s->dirty_pages += pages;
  relist_locked(s, segment);
  hz4_lock_release(&s->lock);
  return true;
}

// *keep_all: what this shard and all that follow may keep; then, what is left of it for these.
static bool purge(struct segments *s, size_t keep_bytes, size_t *keep_all) {
  size_t keep = *keep_all;
  if (!hz4_lock_enter(&s->lock)) return false;
  if (keep_bytes >= HZ4_SEGMENT_KEEP_NO_REFAULT) {
    if (keep_bytes == HZ4_SEGMENT_KEEP_NO_REFAULT) s->policy.refaulted_bytes = 0;
    keep = dirty_limit_locked(s);
    if (s->dirty_pages > keep) hz4_policy_purged();
  }
  bool any = false;
  do {
    any |= purge_some_locked(s, keep);
  } while (keep_bytes != HZ4_SEGMENT_KEEP_LIMIT && s->dirty_pages > keep && s->dirty_segments != NULL);
  *keep_all -= s->dirty_pages < *keep_all ? s->dirty_pages : *keep_all;
  hz4_lock_release(&s->lock);
  return any;
}

// Without the lock. Who has just made pages dirty sees that.
__attribute__((no_sanitize("thread"))) static bool glance_is_dirty(const struct segments *s) {
  return s->dirty_pages > (hz4_option_now(&hz4_option.dirty_kib) << 10 >> HZ4_PAGE_SHIFT) / hz4_shard_count();
}

bool hz4_segment_purge(size_t keep_bytes) {
  size_t keep = keep_bytes >> HZ4_PAGE_SHIFT;
  bool any = false;
  for (uint32_t i = 0; i < HZ4_SHARDS_MAX; ++i) {
    struct segments *s = made(i);
    if (s == NULL || (keep_bytes == HZ4_SEGMENT_KEEP_LIMIT && !glance_is_dirty(s))) continue;
    any |= purge(s, keep_bytes, &keep);
  }
  return any;
}

static bool unmap_free(struct segments *s) {
  if (!hz4_lock_enter(&s->lock)) return false;
  struct hz4_segment *chain = NULL;
  for (uint32_t n = 1; n <= HZ4_SEGMENT_PAGES_MAX; ++n) {
    // Once around the list: on it are segments too that are not wholly free, or dirty.
    struct hz4_segment *segment = s->by_length[n], *last = segment != NULL ? segment->by_length.prev : NULL;
    for (bool more = segment != NULL; more;) {
      struct hz4_segment *next = segment->by_length.next;
      more = segment != last;
      if (is_free(segment)) claim_free_locked(s, segment, &chain);
      segment = next;
    }
  }
  bool any = unmap_chain_locked(s, chain);
  hz4_lock_release(&s->lock);
  return any;
}

bool hz4_segment_unmap_free(void) {
  bool any = false;
  for (uint32_t i = 0; i < HZ4_SHARDS_MAX; ++i) {
    if (made(i) != NULL) any |= unmap_free(made(i));
  }
  return any;
}

void hz4_segment_purged_inside(size_t bytes) {
  hz4_fetch_add_relaxed(&purged_inside_bytes, bytes);
  hz4_limit_give(bytes);
}

bool hz4_segment_fill(size_t bytes) {
  if (!hz4_limit_take(bytes)) return false;
  hz4_fetch_sub_relaxed(&purged_inside_bytes, bytes);
  return true;
}

void hz4_segment_closed(size_t bytes) {
  hz4_limit_take_anyway(bytes);
  hz4_fetch_sub_relaxed(&purged_inside_bytes, bytes);
}

static void add_stats(struct segments *s, struct hz4_segment_stats *out) {
  if (!hz4_lock_enter(&s->lock)) return;
  out->segments += s->segment_count;
  out->used_bytes += (uint64_t)s->used_pages << HZ4_PAGE_SHIFT;
  out->dirty_bytes += (uint64_t)s->dirty_pages << HZ4_PAGE_SHIFT;
  out->clean_bytes += (uint64_t)(s->all_pages - s->used_pages - s->dirty_pages) << HZ4_PAGE_SHIFT;
  out->acquired += s->acquired;
  out->released += s->released;
  out->purged_runs += s->purged_runs;
  out->peak_used_bytes += s->policy.peak_bytes;
  out->refaulted_bytes += s->policy.refaulted_bytes;
  hz4_lock_release(&s->lock);
}

void hz4_segment_stats(struct hz4_segment_stats *out) {
  *out = (struct hz4_segment_stats){.purged_inside_bytes = hz4_load_relaxed(&purged_inside_bytes)};
  for (uint32_t i = 0; i < HZ4_SHARDS_MAX; ++i) {
    if (made(i) != NULL) add_stats(made(i), out);
  }
}

static const char *broken_in_segment_locked(const struct segments *s, const struct hz4_segment *segment, uint32_t longest) {
  HZ4_HOLDS(segment->home == s, "segment: of another shard");
  HZ4_HOLDS(segment->longest_free == longest, "segment: on the wrong list");
  HZ4_HOLDS(hz4_segment_longest_run(~segment->used) == longest, "segment: longest run is stale");
  HZ4_HOLDS(segment->unused == (segment->used == segment->absent), "segment: whether it is used is stale");
  HZ4_HOLDS((segment->used & segment->absent) == segment->absent, "segment: a page is free that does not exist");
  HZ4_HOLDS((segment->used & segment->dirty) == 0, "segment: a used page is dirty");
  HZ4_HOLDS((segment->used & segment->purged_inside & ~segment->purging) == 0,
            "segment: a used page is listed as free, and purged inside");
  HZ4_HOLDS((segment->dirty & ~segment->touched) == 0, "segment: a page is dirty that was never used");
  HZ4_HOLDS((segment->used & segment->purging) == segment->purging, "segment: a page that is being purged is free");
  HZ4_HOLDS((segment->dirty != 0 && segment->purging == 0) == (segment->by_age.next != NULL),
            "segment: dirt is not listed");
  return NULL;
}

static const char *broken_locked(struct segments *s) {
  size_t dirty = 0, whole = 0;
  for (uint32_t n = 1; n <= HZ4_SEGMENT_PAGES_MAX; ++n) {
    HZ4_HOLDS((s->by_length[n] != NULL) == (s->lengths >> (n - 1) & 1), "segment: bitmap of lists is stale");
    struct hz4_segment *segment = s->by_length[n];
    if (segment == NULL) continue;
    do {
      const char *broken = broken_in_segment_locked(s, segment, n);
      if (broken != NULL) return broken;
      dirty += (size_t)__builtin_popcountll(segment->dirty);
      whole += segment->unused;
      segment = segment->by_length.next;
    } while (segment != s->by_length[n]);
  }
  HZ4_HOLDS(dirty == s->dirty_pages, "segment: dirty pages do not add up");
  HZ4_HOLDS(whole == s->free_segments, "segment: free segments do not add up");
  bool covered = hz4_load_relaxed(&purged_inside_bytes) <= s->used_pages << HZ4_PAGE_SHIFT;
  HZ4_HOLDS(hz4_shard_count() != 1 || covered, "segment: more purged inside than used");
  HZ4_HOLDS(s->used_pages + s->dirty_pages <= s->all_pages, "segment: more pages in use than there are");
  return NULL;
}

static void check(struct segments *s) {
  if (!hz4_lock_enter(&s->lock)) return;
  const char *broken = broken_locked(s);
  hz4_lock_release(&s->lock);
  if (broken != NULL) hz4_panic(broken);
}

void hz4_segment_check(void) {
  for (uint32_t i = 0; i < HZ4_SHARDS_MAX; ++i) {
    if (made(i) != NULL) check(made(i));
  }
}

void hz4_segment_fork(void (*act)(struct hz4_lock *lock)) {
  for (uint32_t i = 0; i < HZ4_SHARDS_MAX; ++i) {
    if (made(i) != NULL) act(&made(i)->lock);
  }
}
