#include "hz4/misuse.h"

#include "hz4/atomic.h"

static _Atomic(uint32_t) taken;  // 1 or 0: of a byte not every machine can be exchanged
// By who has taken it.
static const char *noted_what;
static const void *noted_ptr;

static __thread bool is_mine __attribute__((tls_model("initial-exec")));

void hz4_misuse_note(const char *what, const void *ptr) {
  if (is_mine || hz4_exchange_acquire(&taken, 1) != 0) return;  // pairs with hz4_misuse_take
  noted_what = what;
  noted_ptr = ptr;
  is_mine = true;
}

bool hz4_misuse_take(const char **what, const void **ptr) {
  if (HZ4_LIKELY(!is_mine)) return false;
  *what = noted_what;
  *ptr = noted_ptr;
  is_mine = false;
  hz4_store_release(&taken, 0);  // pairs with hz4_misuse_note: both were read
  return true;
}

void hz4_misuse_fork_child(void) {
  if (!is_mine) hz4_store_relaxed(&taken, 0);
}
