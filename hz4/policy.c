#include "hz4/policy.h"

#include "hz4/options.h"
#include "hz4/sys.h"

static size_t at_most(size_t bytes, size_t most) {
  return bytes < most ? bytes : most;
}

static size_t at_least(size_t bytes, size_t least) {
  return bytes > least ? bytes : least;
}

// ---- refaults and thrashing ----

// By hz4_sys_now_ns(), 0: never yet. When memory was purged last, and when purged memory was last wanted too soon.
HZ4_IN_DATA static _Atomic(uint64_t) purged_ns, wanted_ns;
// Wanted too soon, without a pause in which thrashing would have ended, and in how many swings; the most that was ever in
// use, the sum of the shards' own.
HZ4_IN_DATA static _Atomic(size_t) wanted_bytes, swings, peak_bytes;
HZ4_IN_DATA static _Atomic(bool) purged_since;  // since something was wanted

// Whether less than so many times HZ4_REFAULT_MS have passed since then.
static bool is_recent(const _Atomic(uint64_t) *then_ns, uint64_t times, uint64_t now) {
  uint64_t then = hz4_load_relaxed(then_ns);
  return then != 0 && now - then < hz4_option_now(&hz4_option.refault_ms) * 1000000 * times;
}

static bool is_enough(void) {
  return hz4_load_relaxed(&wanted_bytes) > hz4_load_relaxed(&peak_bytes) >> HZ4_THRASHING_PEAK_SHIFT &&
         hz4_load_relaxed(&swings) >= HZ4_THRASHING_SWINGS;
}

void hz4_policy_purged(void) {
  hz4_store_relaxed(&purged_ns, hz4_sys_now_ns());
  hz4_store_relaxed(&purged_since, true);
}

bool hz4_policy_wanted(size_t bytes) {
  uint64_t now = hz4_sys_now_ns();
  if (!is_recent(&purged_ns, 1, now)) return false;
  bool goes_on = is_recent(&wanted_ns, HZ4_THRASHING_LASTS, now);
  size_t swing = hz4_load_relaxed(&purged_since) ? 1 : 0;
  hz4_store_relaxed(&purged_since, false);
  hz4_store_relaxed(&swings, (goes_on ? hz4_load_relaxed(&swings) : 0) + swing);
  hz4_store_relaxed(&wanted_bytes, (goes_on ? hz4_load_relaxed(&wanted_bytes) : 0) + bytes);
  hz4_store_relaxed(&wanted_ns, now);
  return is_enough();
}

bool hz4_policy_is_thrashing(void) {
  return is_enough() && is_recent(&wanted_ns, HZ4_THRASHING_LASTS, hz4_sys_now_ns());
}

// ---- free pages ----

// What may stay dirty whatever is in use.
static size_t floor_bytes(void) {
  return at_most(hz4_option_now(&hz4_option.dirty_kib), PTRDIFF_MAX >> 10) << 10;  // more is not to be had, and would overflow
}

void hz4_policy_pages_taken(struct hz4_policy_pages *pages, size_t used, size_t purged) {
  if (purged != 0 && hz4_policy_wanted(purged)) {
    pages->refaulted_bytes = at_most(pages->refaulted_bytes + purged, pages->peak_bytes);
  }
  if (used <= pages->peak_bytes) return;
  hz4_fetch_add_relaxed(&peak_bytes, used - pages->peak_bytes);
  pages->peak_bytes = used;
}

size_t hz4_policy_pages_dirty(struct hz4_policy_pages *pages, uint32_t shards, size_t used, size_t dirty) {
  size_t most = floor_bytes() / shards + (used >> hz4_option.dirty_shift);
  if (dirty <= most || pages->refaulted_bytes == 0) return most;  // the clock need not be asked
  if (!hz4_policy_is_thrashing()) pages->refaulted_bytes = 0;
  return most + pages->refaulted_bytes;
}

// ---- free ranges of addresses ----
//
// live / 2^HZ4_LARGE_SHARE_SHIFT bytes may stay dirty, or `keep`, which is never less than the floor, from which it
//   rises when a block needs new memory, and could have used what has been purged: by as much, from the HZ4_LARGE_SWINGS-th
//   time on that memory was purged and then wanted again.
//   falls when memory is purged where one block is freed after the other: by a third of it.
//   falls, once 2^HZ4_LARGE_TURN_SHIFT times of what is live and dirty was taken, to what was needed meanwhile: the most
//   that was dirty at once, without the least, which nobody wanted.
// Each such turn forgets a quarter of the most that was live, so far as it did not see it again.

size_t hz4_policy_large_keep(const struct hz4_policy_large *large) {
  return at_least(large->keep, floor_bytes());
}

static void set_keep(struct hz4_policy_large *large, size_t bytes) {
  size_t most = at_most(large->most_live + (large->most_live >> HZ4_LARGE_LOSS_SHIFT), HZ4_LARGE_KEEP_MAX);
  bytes = at_most(bytes, most);
  large->keep = bytes > floor_bytes() ? bytes : 0;
}

void hz4_policy_large_taken(struct hz4_policy_large *large, size_t bytes, bool from_dirty, size_t dirty) {
  large->asked = true;
  large->taken += bytes;
  large->least_dirty = at_most(large->least_dirty, dirty);
  if (from_dirty) return;
  size_t wanted = at_most(bytes, large->gone);
  large->gone -= wanted;
  if (wanted != 0 && large->purged) ++large->swings;
  large->purged = false;
  if (large->swings >= HZ4_LARGE_SWINGS) set_keep(large, hz4_policy_large_keep(large) + wanted);
}

void hz4_policy_large_freed(struct hz4_policy_large *large, size_t live) {
  large->only_freed = !large->asked;
  large->asked = false;
  large->turn_live = at_least(large->turn_live, live);  // it only falls here
  large->most_live = at_least(large->most_live, live);
}

size_t hz4_policy_large_dirty(struct hz4_policy_large *large, size_t live, size_t dirty) {
  large->most_dirty = at_least(large->most_dirty, dirty);
  if (large->taken >> HZ4_LARGE_TURN_SHIFT > live + dirty) {
    size_t needed = large->most_dirty - large->least_dirty;
    if (needed < hz4_policy_large_keep(large)) set_keep(large, needed);
    large->most_live -= (large->most_live - large->turn_live) / 4;
    large->most_dirty = large->least_dirty = dirty;
    large->turn_live = live;
    large->taken = 0;
  }
  return at_least(live >> HZ4_LARGE_SHARE_SHIFT, hz4_policy_large_keep(large));
}

void hz4_policy_large_purged(struct hz4_policy_large *large, size_t bytes) {
  large->gone = at_most(large->gone + bytes, large->most_live);
  large->purged = true;
  size_t keep = hz4_policy_large_keep(large);
  if (large->only_freed) set_keep(large, keep - at_most(bytes / 3, keep));
}

size_t hz4_policy_large_addresses(const struct hz4_policy_large *large) {
  return (large->most_live << HZ4_LARGE_RETAIN_SHIFT) + HZ4_RETAIN_BYTES;
}

// ---- objects of a class ----

// Bytes of objects that are out, of all classes, each as it was reported last; and the most of them since the heap declined.
static _Atomic(size_t) out_bytes, high_bytes;

void hz4_policy_visit(struct hz4_policy_class *c, const void *visitor, bool own) {
  if (visitor == NULL || visitor != c->visitor || !own) c->alone = 0;
  else if (c->alone < HZ4_MID_ALONE_VISITS) ++c->alone;
  c->visitor = visitor;
}

// It goes on declining: memory that is free inside spans goes back.
static bool is_emptying(const struct hz4_policy_class *c) {
  return hz4_load_relaxed(&c->run) >= HZ4_DECLINES_TO_PURGE;
}

uint32_t hz4_policy_depot(const struct hz4_policy_class *c, uint64_t out) {
  size_t share = out >> (is_emptying(c) ? HZ4_DEPOT_SHARE_SHIFT + 1 : HZ4_DEPOT_SHARE_SHIFT);
  return (uint32_t)at_most(at_least(share, c->allowance), HZ4_DEPOT_OBJECTS_MAX);
}

// It was too small, and then empty: it may hold more from now on.
void hz4_policy_depot_empty(struct hz4_policy_class *c, size_t object_bytes) {
  if (!c->spilled) return;
  c->spilled = false;
  c->allowance = (uint32_t)at_most(c->allowance * 2 + 8, HZ4_DEPOT_ALLOWANCE_BYTES / object_bytes);
}

// Seldom, for all threads write to one word.
void hz4_policy_out(struct hz4_policy_class *c, uint64_t out, size_t object_bytes) {
  size_t more = (size_t)(out - c->reported) * object_bytes;  // less: modulo 2^64
  if (more + HZ4_DECLINE_REPORT_BYTES < 2 * HZ4_DECLINE_REPORT_BYTES) return;
  c->reported = out;
  size_t all = hz4_fetch_add_relaxed(&out_bytes, more) + more;
  if (all > hz4_load_relaxed(&high_bytes)) hz4_store_relaxed(&high_bytes, all);
}

bool hz4_policy_rose(struct hz4_policy_class *c, uint64_t out, size_t object_bytes) {
  hz4_policy_out(c, out, object_bytes);
  if (out > c->high) c->high = out;
  if (out < c->low * 2) return false;
  hz4_store_relaxed(&c->run, 0);
  return true;
}

// When only half of the most objects are still out, the class has declined: what caches keep of it now does harm, for an
// object anywhere in a span keeps the span. While there is thrashing nothing is a decline: a program whose use swings would
// pay for the same pages, and for filling the same bins, time and again.
enum hz4_policy_fall hz4_policy_fell(struct hz4_policy_class *c, uint64_t out, size_t object_bytes) {
  hz4_policy_out(c, out, object_bytes);
  if (!hz4_policy_is_alone(c)) c->spilled = true;
  if (out > c->high / 2) return HZ4_FALL_NONE;
  uint64_t fall = c->high - out;
  if (fall < HZ4_DECLINE_OBJECTS_MIN && fall * object_bytes < HZ4_DECLINE_BYTES_MIN) return HZ4_FALL_NONE;
  c->high = c->low = out;
  if (hz4_policy_is_thrashing()) return HZ4_FALL_NONE;
  c->allowance /= 2;
  hz4_store_relaxed(&c->run, hz4_load_relaxed(&c->run) + 1);
  if (!is_emptying(c)) return HZ4_FALL_DECLINE;
  hz4_policy_purged();
  return HZ4_FALL_PURGE;
}

bool hz4_policy_heap_declined(void) {
  size_t out = hz4_load_relaxed(&out_bytes), high = hz4_load_relaxed(&high_bytes);
  if (high - out < HZ4_HEAP_DECLINE_BYTES_MIN || out > high - (high >> HZ4_HEAP_DECLINE_SHIFT)) return false;
  return hz4_cas_strong_acquire(&high_bytes, &high, out);  // one caller wins; it publishes nothing
}
