#include "hz4/guard.h"

#include "hz4/atomic.h"
#include "hz4/os.h"
#include "hz4/random.h"
#include "hz4/stack.h"
#include "hz4/sys.h"

HZ4_IN_DATA bool hz4_guards;

// Set once: whether the system notes guards itself, and whether all metadata has guards.
HZ4_IN_DATA static bool noted_by_system, metadata_too;

// Of those that are mappings.
static _Atomic(size_t) count;

bool hz4_guard_note(void *base, size_t bytes) {
  return hz4_sys_guard(base, bytes) && !hz4_stack_readable((uintptr_t)base);
}

void hz4_guard_begin(void) {
  hz4_random_seed(hz4_sys_secret());
  struct hz4_os_stats os;
  hz4_os_stats(&os);
  metadata_too = os.map_calls == 0;
  size_t page = hz4_sys_page_bytes();
  void *probe = hz4_os_map(page, page);
  if (probe == NULL) return;
  noted_by_system = hz4_guard_note(probe, page);
  hz4_os_unmap(probe, page);
  hz4_guards = true;
}

void hz4_guard_install(void *base, size_t bytes) {
  if (noted_by_system) hz4_sys_guard(base, bytes);
  else if (hz4_fetch_add_relaxed(&count, 1) < HZ4_GUARDS_MAX) hz4_sys_forbid(base, bytes);
}

void hz4_guard_gone(size_t gone) {
  if (!noted_by_system) hz4_fetch_sub_relaxed(&count, gone);
}

bool hz4_guard_forbid(void *base, size_t bytes) {
  return hz4_os_purge(base, bytes) && hz4_sys_forbid(base, bytes);
}

// A page's address of the lower half of those that a program may have, or what comes near.
static void *somewhere(void) {
  uintptr_t address = (uintptr_t)hz4_random() << 32 | hz4_random();
  return (void *)(address & (((uintptr_t)1 << HZ4_GUARD_ADDRESS_BITS) - 1) & -hz4_sys_page_bytes());
}

void *hz4_guard_map(size_t bytes) {
  size_t page = hz4_sys_page_bytes();
  if (HZ4_LIKELY(!metadata_too)) return hz4_os_map(bytes, page);
  char *base = hz4_os_map_at(somewhere(), bytes + 2 * page);
  if (base == NULL) return NULL;
  hz4_guard_install(base, page);
  hz4_guard_install(base + page + bytes, page);
  return base + page;
}

bool hz4_guard_unmap(void *base, size_t bytes) {
  size_t page = hz4_sys_page_bytes();
  if (HZ4_LIKELY(!metadata_too)) return hz4_os_unmap(base, bytes);
  bool done = hz4_os_unmap((char *)base - page, bytes + 2 * page);
  if (done) hz4_guard_gone(2);
  return done;
}
