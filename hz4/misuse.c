#include "hz4/misuse.h"

#include <stdlib.h>

#include "hz4/atomic.h"

static _Atomic(uint32_t) taken;  // 1 or 0: of a byte not every machine can be exchanged
// By who has taken it.
static const char *noted_what;
static const void *noted_ptr;

// Set once.
static bool only_warn;
// Where the program was when something was reported. Who finds no room is not heard.
static _Atomic(uintptr_t) places[HZ4_REPORT_PLACES];

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

void hz4_misuse_configure(bool warn) {
  only_warn = warn;
}

static bool is_new_place(uintptr_t place) {
  for (size_t i = 0; i < HZ4_REPORT_PLACES; ++i) {
    uintptr_t there = hz4_load_relaxed(&places[i]);
    if (there == 0 && hz4_cas_strong_acquire(&places[i], &there, place)) return true;
    if (there == place) return false;
  }
  return false;
}

void hz4_misuse_tell(const char *what, const void *ptr, const void *frame) {
  const uintptr_t *pair = frame;  // the caller's frame, and where that goes on
  if (only_warn && !is_new_place(pair[1])) return;
  hz4_report_pointer(what, ptr, frame);
  if (!only_warn) abort();
}
