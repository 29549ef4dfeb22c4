// page map: threads that reserve together agree on one region and lose nothing that was set in them; a
// lookup, of an address that was handed over or of a foreign one, reads only what is there.
#include "hz4/pagemap.h"

#include "hz4/options.h"
#include "hz4/span.h"
#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

// In one region, but for the last.
#define PAGE(n) ((char *)((3 * HZ4_PAGEMAP_REGION_PAGES + (n)) * HZ4_PAGE_BYTES))
#define FAR_PAGE PAGE(HZ4_PAGEMAP_REGION_PAGES)

struct hz4_option_values hz4_option;
bool hz4_options_are_read = true;

static struct hz4_span spans[3];
static _Atomic(char *) announced;

static void set(char *page, uint32_t n) {
  weave_check(hz4_pagemap_reserve(page, 1));
  spans[n].base = page;
  hz4_pagemap_set(page, 1, &spans[n], n + 1);
  weave_check(hz4_pagemap_class(page) == n + 1 && hz4_pagemap_span(page) == &spans[n]);
}
static void is_set(const char *page, uint32_t n) {
  weave_check(hz4_pagemap_class(page) == n + 1);
  weave_check(hz4_pagemap_span(page) == &spans[n] && spans[n].base == page);
}

static void set_page_0(void) {
  set(PAGE(0), 0);
}
static void set_page_1(void) {
  set(PAGE(1), 1);
}
static void set_far_page(void) {
  set(FAR_PAGE, 1);
}
static void set_and_announce(void) {
  set(PAGE(0), 0);
  hz4_store_release(&announced, PAGE(0));
}
static void look_up_announced(void) {
  char *page = hz4_load_acquire(&announced);
  if (page != NULL) is_set(page, 0);
}
// A pointer that is not ours: the answer is one that was right at some time.
static void look_up_foreign(void) {
  uint32_t size_class = (uint32_t)hz4_pagemap_class(PAGE(0));
  struct hz4_span *span = hz4_pagemap_span(PAGE(0));
  weave_check(size_class <= 1 && (span == NULL || span == &spans[0]));
}
static void look_up_class(void) {
  weave_check(hz4_pagemap_class(PAGE(0)) <= 1);
}
static void look_up_neighbour(void) {
  weave_check(hz4_pagemap_class(PAGE(1)) == 0 && hz4_pagemap_span(PAGE(1)) == NULL);
}
static void clear_page_0(void) {
  hz4_pagemap_set(PAGE(0), 1, NULL, 0);
}
static void both_are_set(void) {
  is_set(PAGE(0), 0);
  is_set(PAGE(1), 1);
}
static void both_far_are_set(void) {
  is_set(PAGE(0), 0);
  is_set(FAR_PAGE, 1);
}
static void page_0_is_clear(void) {
  weave_check(hz4_pagemap_class(PAGE(0)) == 0 && hz4_pagemap_span(PAGE(0)) == NULL);
}

const struct weave_scenario weave_scenarios[] = {
    {"handed over", NULL, {set_and_announce, look_up_announced}, NULL, ALL, false},
    {"class of a foreign pointer", NULL, {set_page_0, look_up_class}, NULL, ALL, false},
    {"foreign pointer", NULL, {set_page_0, look_up_foreign}, NULL, ALL, false},
    {"foreign pointer beside one that is set", NULL, {set_page_0, look_up_neighbour}, NULL, ALL, false},
    {"two reserve one region", NULL, {set_page_0, set_page_1}, both_are_set, ALL, false},
    {"two reserve two regions", NULL, {set_page_0, set_far_page}, both_far_are_set, ALL, false},
    {"one clears, one sets", set_page_0, {clear_page_0, set_page_1, look_up_foreign}, page_0_is_clear, ALL, false},
    {"two set, one looks up", NULL, {set_page_0, set_page_1, look_up_foreign}, both_are_set, 1, 1, false},
    {0},
};
