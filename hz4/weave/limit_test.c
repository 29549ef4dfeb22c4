// limit: however threads interleave, never is more counted than `hard`, nothing is lost from the count, and of those that
// come to a trim at one instant one does it.
#include "hz4/limit.h"

#include "hz4/sys.h"
#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

enum { HARD = 16, TAKEN = 9, GIVEN = 8, NOW = 1 };

static _Atomic(unsigned) had, trimmed;

uint64_t hz4_sys_now_ns(void) {
  return NOW;
}

static size_t used(void) {
  struct hz4_limit_stats stats;
  hz4_limit_stats(&stats);
  return stats.used_bytes;
}
static void allow_some(void) {
  hz4_limit_configure(SIZE_MAX, HARD);
}
static void take_and_give(void) {
  if (!hz4_limit_take(TAKEN)) return;
  weave_check(used() <= HARD);
  hz4_limit_give(GIVEN);
  hz4_fetch_add_relaxed(&had, 1);
}
static void what_was_had_is_counted(void) {
  weave_check(used() == hz4_load_relaxed(&had) && used() >= 1);
}

static void use_all(void) {
  allow_some();
  weave_check(hz4_limit_take(HARD) && hz4_limit_is_due());
}
static void trim(void) {
  size_t before;
  if (!hz4_limit_begin_trim(&before)) return;
  weave_check(before == HARD);
  hz4_fetch_add_relaxed(&trimmed, 1);
}
static void nobody_twice(void) {
  weave_check(hz4_load_relaxed(&trimmed) <= 1);
}

const struct weave_scenario weave_scenarios[] = {
    {"two take", allow_some, {take_and_give, take_and_give}, what_was_had_is_counted, ALL, false},
    {"three take", allow_some, {take_and_give, take_and_give, take_and_give}, what_was_had_is_counted, 2, 1, false},
    {"two come to a trim", use_all, {trim, trim}, nobody_twice, ALL, false},
    {0},
};
