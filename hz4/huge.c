#include "hz4/huge.h"

#include "hz4/atomic.h"
#include "hz4/guard.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/sys.h"

#define SEGMENT_BYTES ((size_t)HZ4_SEGMENT_PAGES_MAX << HZ4_PAGE_SHIFT)

// The last two segments of small pages: the address and, in the bits that are zero in it, the number of hz4's pages. The
// newest is not full yet. A segment that was unmapped since is not looked for: the system says that it is not there, or
// what is there now.
HZ4_IN_DATA static _Atomic(uintptr_t) newest, newest_but_one;

// Somebody is asking. Who needs a segment meanwhile has one of small pages: threads come many at once, and would each touch
// a whole one.
HZ4_IN_DATA static _Atomic(uint32_t) asking;  // 1 or 0: of a byte not every machine has more than loads and stores

// Segments of huge pages since the last of small ones; or, below zero, how many more will be of small ones.
HZ4_IN_DATA static _Atomic(int) turn;

static bool is_dense(uintptr_t sample) {
  size_t bytes = (sample & (HZ4_PAGE_BYTES - 1)) << HZ4_PAGE_SHIFT;
  if (bytes == 0) return false;
  return hz4_os_resident((void *)(sample & -HZ4_PAGE_BYTES), bytes) >= bytes - (bytes >> HZ4_HUGE_SPARSE_SHIFT);
}

static void note_small(char *base, size_t bytes) {
  hz4_store_relaxed(&newest_but_one, hz4_load_relaxed(&newest));
  hz4_store_relaxed(&newest, (uintptr_t)base | bytes >> HZ4_PAGE_SHIFT);
}

static bool is_due(void) {
  int now = hz4_load_relaxed(&turn);
  uintptr_t sample = hz4_load_relaxed(&newest_but_one);
  bool look = now >= 0 && now < HZ4_HUGE_TURN && sample != 0, due = look && is_dense(sample);
  hz4_store_relaxed(&turn, due || now < 0 ? now + 1 : look ? -HZ4_HUGE_PAUSE : 0);
  return due;
}

// Acquire and release pair with each other: `turn` is his who asks.
static bool begin_asking(void) {
  if (hz4_exchange_acquire(&asking, 1) != 0) return false;
  bool due = is_due();
  if (!due) hz4_store_release(&asking, 0);
  return due;
}

static void fill(char *base, size_t bytes) {
  uint64_t begin = hz4_sys_now_ns();
  hz4_os_wish_huge(base, bytes, true);
  for (size_t at = 0; at < bytes; at += HZ4_HUGE_BYTES) *(volatile char *)(base + at) = 0;
  hz4_os_wish_huge(base, bytes, false);
  if (hz4_sys_now_ns() - begin > HZ4_HUGE_SLOW_NS) hz4_store_relaxed(&turn, -HZ4_HUGE_PAUSE);
}

void *hz4_huge_map(size_t bytes) {
  // Where system pages are larger, so are huge ones, and a segment has none.
  bool known = hz4_option.huge_pages == HZ4_OS_HUGE_AUTO && hz4_sys_page_bytes() == 4096;
  bool due = known && bytes == SEGMENT_BYTES && !hz4_guards && begin_asking();
  char *base = hz4_os_map(bytes, due ? HZ4_HUGE_BYTES : HZ4_PAGE_BYTES);
  // Beyond what the page map has the caller cannot use it.
  if (base != NULL && due && ((uintptr_t)base + bytes - 1) >> HZ4_ADDRESS_BITS == 0) fill(base, bytes);
  else if (base != NULL && known) note_small(base, bytes);
  if (due) hz4_store_release(&asking, 0);
  return base;
}

void hz4_huge_fork_child(void) {
  hz4_store_relaxed(&asking, 0);
}
