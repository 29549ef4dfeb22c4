// misuse: who takes a note has what he noted himself, all of it; nobody waits; after a take there is room again.
#include "hz4/misuse.h"

#include "hz4/atomic.h"
#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

static const char *const texts[] = {"first", "second", "third"};
static _Atomic(unsigned) heard;

static void find(unsigned i) {
  const char *what;
  const void *ptr;
  weave_check(!hz4_misuse_take(&what, &ptr));
  hz4_misuse_note(texts[i], &texts[i]);
  hz4_misuse_note("later", NULL);
  if (!hz4_misuse_take(&what, &ptr)) return;
  weave_check((what == texts[i] && ptr == &texts[i]) || (what[0] == 'l' && ptr == NULL));
  hz4_fetch_add_relaxed(&heard, 1);
}
static void find_first(void) {
  find(0);
}
static void find_second(void) {
  find(1);
}
static void find_third(void) {
  find(2);
}
static void one_was_heard(void) {
  weave_check(hz4_load_relaxed(&heard) >= 1);
  unsigned before = hz4_load_relaxed(&heard);
  find(0);
  weave_check(hz4_load_relaxed(&heard) == before + 1);
}

const struct weave_scenario weave_scenarios[] = {
    {"two find something", NULL, {find_first, find_second}, one_was_heard, ALL, false},
    {"three find something", NULL, {find_first, find_second, find_third}, one_was_heard, ALL, false},
    {0},
};
