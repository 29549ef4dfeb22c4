// Alignment, counting and the survival of failures, above the bare calls of sys.h.
#include "hz4/os.h"

#include <errno.h>

#include "hz4/atomic.h"
#include "hz4/lock.h"
#include "hz4/probe.h"
#include "hz4/sys.h"

HZ4_IN_DATA static _Atomic(uint64_t) mapped_bytes, peak_bytes, map_calls, unmap_calls, purge_calls, remap_calls,
    purged_bytes, failed_calls, huge_bytes;

// Set once.
static enum hz4_os_huge huge_pages = HZ4_OS_HUGE_AUTO;
static size_t address_limit = SIZE_MAX;
static void (*when_grown)(void);

// Once the process is large.
HZ4_IN_DATA static _Atomic(bool) has_grown;
static _Atomic(bool) huge_always = true;  // and none are to be where they are not asked for: or that is not known yet

static void note_mapped(size_t bytes) {
  uint64_t now = hz4_fetch_add_relaxed(&mapped_bytes, bytes) + bytes;
  uint64_t peak = hz4_load_relaxed(&peak_bytes);
  while (now > peak && !hz4_cas_weak_relaxed(&peak_bytes, &peak, now)) continue;
}

HZ4_NOINLINE static void grow(void) {
  hz4_store_relaxed(&has_grown, true);  // before the rest, which may map; two threads that meet here find the same
  hz4_store_relaxed(&huge_always, huge_pages == HZ4_OS_HUGE_AUTO && hz4_sys_huge_always());
  if (when_grown != NULL) when_grown();
}

static void count_call(_Atomic(uint64_t) *calls) {
  hz4_lock_assert_none_held();
  hz4_fetch_add_relaxed(calls, 1);
}

static bool note_result(bool done) {
  if (!done) hz4_fetch_add_relaxed(&failed_calls, 1);
  return done;
}

bool hz4_os_unmap(void *base, size_t bytes) {
  count_call(&unmap_calls);
  if (!note_result(hz4_sys_munmap(base, bytes))) return false;
  hz4_fetch_sub_relaxed(&mapped_bytes, bytes);
  return true;
}

HZ4_PROBED void *hz4_os_map_at(void *address, size_t bytes) {
  count_call(&map_calls);
  void *base = hz4_sys_mmap(address, bytes);
  if (!note_result(base != NULL)) return NULL;
  HZ4_PROBE2("hz4", "map", "0", base, bytes);
  note_mapped(bytes);
  if (HZ4_UNLIKELY(!hz4_load_relaxed(&has_grown)) && hz4_load_relaxed(&mapped_bytes) > HZ4_GROWN_BYTES) grow();
  return base;
}

// Maps more than is needed and cuts the ends off. An end that cannot be cut off stays: it costs addresses, not memory.
// What is kept is the highest: the kernel places mappings from the top down, and so it lies beside the one before,
// without a hole.
static void *map_and_trim(size_t bytes, size_t align) {
  char *raw = hz4_os_map_at(NULL, bytes + align);
  if (raw == NULL) return NULL;
  char *base = (char *)(((uintptr_t)raw + align) & ~(align - 1));
  size_t before = (size_t)(base - raw);
  if (before != 0) hz4_os_unmap(raw, before);
  if (before != align) hz4_os_unmap(base + bytes, align - before);
  return base;
}

// Where what needs no more than a page's alignment was mapped last, until there is something else, which goes below: the kernel
// would place it beside, and so unaligned, and both be done again.
#define NO_MORE UINTPTR_MAX
HZ4_IN_DATA static _Atomic(uintptr_t) metadata_base;

static void *map_first(size_t bytes, size_t align) {
  uintptr_t last = hz4_load_relaxed(&metadata_base);
  if (last == NO_MORE) return hz4_os_map_at(NULL, bytes);
  bool aligned = align > hz4_sys_page_bytes();
  void *base = hz4_os_map_at(aligned && last > bytes ? (void *)((last - bytes) & ~(align - 1)) : NULL, bytes);
  hz4_store_relaxed(&metadata_base, aligned ? NO_MORE : (uintptr_t)base);
  return base;
}

// The kernel places mappings from the top down, in the highest gap that is large enough: so gaps are used again, and
// neighbours merge. What it chose may be unaligned. Then the aligned address just below is most likely free as well.
static void *map_aligned(size_t bytes, size_t align) {
  char *base = map_first(bytes, align);
  if (base == NULL || hz4_is_aligned(base, align)) return base;
  void *below = (void *)((uintptr_t)base & ~(align - 1));
  hz4_os_unmap(base, bytes);  // where that fails, addresses are lost, and nothing else
  base = hz4_os_map_at(below, bytes);
  if (base == NULL || hz4_is_aligned(base, align)) return base;
  hz4_os_unmap(base, bytes);
  return map_and_trim(bytes, align);
}

void hz4_os_configure(enum hz4_os_huge wanted, void (*grown)(void)) {
  huge_pages = wanted;
  when_grown = grown;
  hz4_store_relaxed(&huge_always, wanted == HZ4_OS_HUGE_AUTO);
  hz4_store_relaxed(&has_grown, false);
  address_limit = hz4_sys_address_limit();
}

void hz4_os_wish_huge(void *base, size_t bytes, bool huge) {
  hz4_lock_assert_none_held();
  hz4_sys_wish_huge(base, bytes, huge);
  if (huge) hz4_fetch_add_relaxed(&huge_bytes, bytes);
}

size_t hz4_os_resident(const void *base, size_t bytes) {
  hz4_lock_assert_none_held();
  return hz4_sys_resident(base, bytes);
}

void *hz4_os_map(size_t bytes, size_t align) {
  void *base = map_aligned(bytes, align);
  if (base == NULL) return NULL;
  if (huge_pages == HZ4_OS_HUGE_ALL && bytes >= HZ4_HUGE_BYTES) hz4_os_wish_huge(base, bytes, true);
  if (hz4_load_relaxed(&huge_always) && bytes < HZ4_HUGE_LEFT_BYTES) hz4_os_wish_huge(base, bytes, false);
  return base;
}

HZ4_PROBED bool hz4_os_purge(void *base, size_t bytes) {
  count_call(&purge_calls);
  if (!note_result(hz4_sys_purge(base, bytes))) return false;
  HZ4_PROBE2("hz4", "purge", "0", base, bytes);
  hz4_fetch_add_relaxed(&purged_bytes, bytes);
  return true;
}

// How many of the runs, from the first on, are gone by one call. (Of one alone none: that is for the plain call, which is
// faster and known to every kernel and filter.)
HZ4_PROBED static size_t purge_by_vector(const struct hz4_sys_run *runs, size_t count) {
  hz4_lock_assert_none_held();
  size_t bytes = count > 1 ? hz4_sys_purge_runs(runs, count) : 0, gone = 0;
  if (bytes != 0) count_call(&purge_calls);
  hz4_fetch_add_relaxed(&purged_bytes, bytes);
  for (; gone < count && runs[gone].bytes <= bytes; ++gone) {
    HZ4_PROBE2("hz4", "purge", "0", runs[gone].base, runs[gone].bytes);
    bytes -= runs[gone].bytes;
  }
  return gone;
}

bool hz4_os_purge_runs(const struct hz4_sys_run *runs, size_t count) {
  size_t gone = purge_by_vector(runs, count);
  bool any = gone != 0;
  for (; gone < count; ++gone) any |= hz4_os_purge(runs[gone].base, runs[gone].bytes);
  return any;
}

// Returns the error; 0: done.
static int remap(void *base, size_t old_bytes, size_t new_bytes, void *to) {
  count_call(&remap_calls);
  int error = hz4_sys_mremap(base, old_bytes, new_bytes, to);
  note_result(error == 0);
  return error;
}

enum hz4_os_resized hz4_os_resize(void *base, size_t old_bytes, size_t new_bytes) {
  int error = remap(base, old_bytes, new_bytes, NULL);
  if (error != 0) return error == ENOMEM ? HZ4_OS_NO_ROOM : HZ4_OS_REFUSED;
  note_mapped(new_bytes - old_bytes);
  return HZ4_OS_RESIZED;
}

// A kernel may have unmapped the target before it failed, and then it may be another's already, or it may not. So a word of it
// is made one that nobody else has there.
bool hz4_os_move(void *base, size_t bytes, void *to, size_t to_bytes) {
  static _Atomic(uint32_t) moves;
  _Atomic(uint32_t) *last = (_Atomic(uint32_t) *)((char *)to + to_bytes) - 1;
  uint32_t mark = (uint32_t)HZ4_HASH_FACTOR * (hz4_fetch_add_relaxed(&moves, 1) + 1);
  hz4_store_relaxed(last, mark);
  bool done = remap(base, bytes, to_bytes, to) == 0;
  if (!done && hz4_sys_holds(last, mark)) hz4_os_unmap(to, to_bytes);
  // The target was counted when it was mapped.
  else hz4_fetch_sub_relaxed(&mapped_bytes, done ? bytes : to_bytes);
  return done;
}

size_t hz4_os_address_limit(void) {
  return address_limit;
}

void hz4_os_stats(struct hz4_os_stats *out) {
  out->mapped_bytes = hz4_load_relaxed(&mapped_bytes);
  out->peak_bytes = hz4_load_relaxed(&peak_bytes);
  out->map_calls = hz4_load_relaxed(&map_calls);
  out->unmap_calls = hz4_load_relaxed(&unmap_calls);
  out->purge_calls = hz4_load_relaxed(&purge_calls);
  out->remap_calls = hz4_load_relaxed(&remap_calls);
  out->purged_bytes = hz4_load_relaxed(&purged_bytes);
  out->failed_calls = hz4_load_relaxed(&failed_calls);
  out->huge_bytes = hz4_load_relaxed(&huge_bytes);
}
