#include "hz4/refault.h"

#include "hz4/atomic.h"
#include "hz4/options.h"
#include "hz4/sys.h"

// By hz4_sys_now_ns(), 0: never yet. When memory was purged last, and when purged memory was last wanted too soon.
HZ4_IN_DATA static _Atomic(uint64_t) purged_ns, wanted_ns;
// Wanted too soon, without a pause in which thrashing would have ended, and in how many swings; the most that was ever in
// use.
HZ4_IN_DATA static _Atomic(size_t) wanted_bytes, swings, peak_bytes;
HZ4_IN_DATA static _Atomic(bool) purged_since;  // since something was wanted

static uint64_t soon_ns(void) {
  return hz4_option_now(&hz4_option.refault_ms) * 1000000;
}

static uint64_t lasts_ns(void) {
  return soon_ns() * HZ4_THRASHING_LASTS;
}

// Whether less than `within` has passed since `then`.
static bool is_recent(uint64_t then, uint64_t within) {
  return then != 0 && hz4_sys_now_ns() - then < within;
}

static bool is_enough(void) {
  return hz4_load_relaxed(&wanted_bytes) > hz4_load_relaxed(&peak_bytes) >> HZ4_THRASHING_PEAK_SHIFT &&
         hz4_load_relaxed(&swings) >= HZ4_THRASHING_SWINGS;
}

void hz4_refault_purged(void) {
  hz4_store_relaxed(&purged_ns, hz4_sys_now_ns());
  hz4_store_relaxed(&purged_since, true);
}

void hz4_refault_peak(size_t bytes) {
  hz4_store_relaxed(&peak_bytes, bytes);
}

bool hz4_refault_wanted(size_t bytes) {
  if (!is_recent(hz4_load_relaxed(&purged_ns), soon_ns())) return false;
  bool goes_on = is_recent(hz4_load_relaxed(&wanted_ns), lasts_ns());
  size_t swing = hz4_load_relaxed(&purged_since) ? 1 : 0;
  hz4_store_relaxed(&purged_since, false);
  hz4_store_relaxed(&swings, (goes_on ? hz4_load_relaxed(&swings) : 0) + swing);
  hz4_store_relaxed(&wanted_bytes, (goes_on ? hz4_load_relaxed(&wanted_bytes) : 0) + bytes);
  hz4_store_relaxed(&wanted_ns, hz4_sys_now_ns());
  return is_enough();
}

bool hz4_refault_is_thrashing(void) {
  return is_enough() && is_recent(hz4_load_relaxed(&wanted_ns), lasts_ns());
}
