#include "hz4/misuse.h"

#include "hz4/atomic.h"
#include "hz4/self.h"

static _Atomic(uint32_t) taken;  // 1 or 0: of a byte not every machine can be exchanged
// By who has taken it.
static const char *noted_what;
static const void *noted_ptr;

void hz4_misuse_note(const char *what, const void *ptr) {
  if (hz4_self.noted || hz4_exchange_acquire(&taken, 1) != 0) return;  // pairs with hz4_misuse_take
  noted_what = what;
  noted_ptr = ptr;
  hz4_self.noted = true;
}

bool hz4_misuse_take(const char **what, const void **ptr) {
  if (HZ4_LIKELY(!hz4_self.noted)) return false;
  *what = noted_what;
  *ptr = noted_ptr;
  hz4_self.noted = false;
  hz4_store_release(&taken, 0);  // pairs with hz4_misuse_note: both were read
  return true;
}

void hz4_misuse_fork_child(void) {
  if (!hz4_self.noted) hz4_store_relaxed(&taken, 0);
}
