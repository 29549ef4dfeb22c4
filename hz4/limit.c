#include "hz4/limit.h"

#include "hz4/sys.h"

HZ4_IN_DATA static _Atomic(size_t) used_bytes;
static _Atomic(size_t) soft_bytes = SIZE_MAX, hard_bytes = SIZE_MAX, container_bytes = SIZE_MAX;
static _Atomic(size_t) trim_bytes = SIZE_MAX;  // from which on a trim is due
static _Atomic(uint64_t) trim_ns;              // and when
static _Atomic(uint64_t) refused, trims;

HZ4_IN_DATA _Atomic(bool) hz4_limit_due;

// ---- levels ----

static size_t soft(void) {
  size_t least = hz4_load_relaxed(&soft_bytes), hard = hz4_load_relaxed(&hard_bytes);
  return least < hard ? least : hard;
}

// SIZE_MAX: there is no limit.
static size_t near_from(void) {
  size_t bytes = soft();
  return bytes == SIZE_MAX ? SIZE_MAX : bytes - (bytes >> HZ4_LIMIT_NEAR_SHIFT);
}

static size_t near_until(void) {
  size_t bytes = soft();
  return bytes - (bytes >> HZ4_LIMIT_OVER_SHIFT);
}

// ---- counting ----

static void note_taken(size_t used) {
  if (HZ4_UNLIKELY(used > hz4_load_relaxed(&trim_bytes))) hz4_store_relaxed(&hz4_limit_due, true);
}

bool hz4_limit_take(size_t bytes) {
  size_t hard = hz4_load_relaxed(&hard_bytes), used = hz4_load_relaxed(&used_bytes);
  do {
    if (HZ4_UNLIKELY(used > hard || bytes > hard - used)) {
      hz4_fetch_add_relaxed(&refused, 1);
      return false;
    }
  } while (!hz4_cas_weak_relaxed(&used_bytes, &used, used + bytes));
  note_taken(used + bytes);
  return true;
}

void hz4_limit_take_anyway(size_t bytes) {
  note_taken(hz4_fetch_add_relaxed(&used_bytes, bytes) + bytes);
}

void hz4_limit_give(size_t bytes) {
  size_t used = hz4_fetch_sub_relaxed(&used_bytes, bytes) - bytes;
  size_t least = near_from();
  if (HZ4_UNLIKELY(hz4_load_relaxed(&trim_bytes) != least) && used <= near_until()) hz4_store_relaxed(&trim_bytes, least);
}

// ---- giving back ----

bool hz4_limit_begin_trim(size_t *used) {
  if (!hz4_limit_is_due()) return false;
  hz4_store_relaxed(&hz4_limit_due, false);
  *used = hz4_load_relaxed(&used_bytes);
  uint64_t now = hz4_sys_now_ns(), when = hz4_load_relaxed(&trim_ns);
  if (now < when && now != 0) return false;
  // One thread; and if that is gone, because another forked, others after the pause.
  return hz4_cas_weak_relaxed(&trim_ns, &when, now + HZ4_LIMIT_PAUSE_NS);
}

void hz4_limit_end_trim(size_t used_before) {
  size_t used = hz4_load_relaxed(&used_bytes), more = used + (soft() >> HZ4_LIMIT_NEAR_SHIFT), least = near_from();
  uint64_t gone = used_before > used ? used_before - used : 0, pause = gone * HZ4_LIMIT_PAUSE_NS_PER_BYTE;
  hz4_store_relaxed(&trim_ns, hz4_sys_now_ns() + (pause > HZ4_LIMIT_PAUSE_NS ? pause : HZ4_LIMIT_PAUSE_NS));
  hz4_store_relaxed(&trim_bytes, more > least ? more : least);
  hz4_fetch_add_relaxed(&trims, 1);
}

size_t hz4_limit_of_caches(size_t wanted) {
  size_t limit = soft(), container = hz4_load_relaxed(&container_bytes);
  if (limit != SIZE_MAX && limit >> HZ4_LIMIT_CACHES_SHIFT < wanted) wanted = limit >> HZ4_LIMIT_CACHES_SHIFT;
  if (container >> HZ4_LIMIT_CONTAINER_SHIFT < wanted) wanted = container >> HZ4_LIMIT_CONTAINER_SHIFT;
  return wanted;
}

// ---- setting ----

void hz4_limit_configure(size_t soft_limit, size_t hard_limit) {
  hz4_store_relaxed(&soft_bytes, soft_limit);
  hz4_store_relaxed(&hard_bytes, hard_limit);
  hz4_store_relaxed(&trim_bytes, near_from());
  hz4_store_relaxed(&trim_ns, 0);
  hz4_store_relaxed(&hz4_limit_due, hz4_load_relaxed(&used_bytes) > near_from());
}

void hz4_limit_set_container(size_t bytes) {
  hz4_store_relaxed(&container_bytes, bytes);
}

static size_t or_zero(size_t bytes) {
  return bytes != SIZE_MAX ? bytes : 0;
}

void hz4_limit_stats(struct hz4_limit_stats *out) {
  out->soft_bytes = or_zero(hz4_load_relaxed(&soft_bytes));
  out->hard_bytes = or_zero(hz4_load_relaxed(&hard_bytes));
  out->container_bytes = or_zero(hz4_load_relaxed(&container_bytes));
  out->used_bytes = hz4_load_relaxed(&used_bytes);
  out->refused = hz4_load_relaxed(&refused);
  out->trims = hz4_load_relaxed(&trims);
}
