// harden: the state of an object, as it goes from one thread to another by a bin. A program that is right is never
// complained of. Where two threads free one object at once, one of them is, or whoever is given it while another has it.
// In place of weave's own, which is the end.
__attribute__((noreturn)) void complain(const char *complaint, const void *ptr);
#define hz4_panic_pointer complain

#include "hz4/harden.h"

#include "hz4/bin.h"
#include "hz4/weave/weave.h"

enum { CLASS = 1, OBJECTS = 2 };

struct hz4_pagemap hz4_pagemap;
struct hz4_area hz4_no_area = {.id = HZ4_AREA_NO_ID};
__thread struct hz4_front hz4_front __attribute__((tls_model("initial-exec")));
uint64_t hz4_random_shared;
uint64_t hz4_random_secret = 1;

// Level 2 is nothing to the states.
struct hz4_option_values hz4_option;
void *hz4_harden_dress(void *object, uint8_t state, size_t size) {
  (void)state, (void)size;
  return object;
}

static _Alignas(HZ4_CACHE_BYTES) char memory[2][HZ4_CACHE_BYTES];
static __thread struct hz4_area area;
static void *slots[OBJECTS + 3];
// Objects are addresses only, within the small page map; what is written to them is here.
#define OBJECT_BYTES 16
#define OBJECT(n) ((char *)(3 * HZ4_PAGEMAP_REGION_PAGES * HZ4_PAGE_BYTES) + (n) * OBJECT_BYTES)
static unsigned written[OBJECTS];
static _Atomic(uint8_t) states[OBJECTS + 1];
static struct hz4_pagemap_region region;

// A complaint ends what the thread does.
static __thread void *after_complaint[5];
static _Atomic(int) complaints;
static bool complaints_are_right;

void complain(const char *complaint, const void *ptr) {
  (void)complaint, (void)ptr;
  weave_check(complaints_are_right);
  hz4_fetch_add_relaxed(&complaints, 1);
  __builtin_longjmp(after_complaint, 1);
}
const char *hz4_harden_wrong(const void *ptr) {
  return ptr != NULL ? "wrong" : NULL;
}
void *hz4_harden_out_unknown(void *object) {
  weave_check(false);
  return object;
}

static void begin(void) {
  hz4_front.caches = memory[1];
  hz4_front.area = &area;
  weave_run_on(1);
}
static char *take(void) {
  char *object = hz4_sequence_pop(CLASS);
  return object != NULL ? hz4_harden_out(object, 1) : NULL;
}
static void write_to(const char *object) {
  ++written[(object - OBJECT(0)) / OBJECT_BYTES];
}
static void give(void *object) {
  if (!hz4_harden_in(hz4_pagemap_states(object), object)) complain("wrong", object);
  if (hz4_harden_push(CLASS, object) == NULL) return;
  weave_check(complaints_are_right);  // it is on top already: the slow path says so
  hz4_fetch_add_relaxed(&complaints, 1);
}

// Object 0 is the program's, object 1 in the bin.
static void set_up(void) {
  begin();
  struct hz4_tcache *cache = (struct hz4_tcache *)memory[1];
  cache->bins[CLASS].slots = slots;
  hz4_store_relaxed(&cache->top[CLASS], (uintptr_t)slots - (uintptr_t)cache);
  hz4_store_relaxed(&cache->limit[CLASS], (uintptr_t)(slots + OBJECTS + 1) - (uintptr_t)cache);
  uintptr_t page = (uintptr_t)OBJECT(0) >> HZ4_PAGE_SHIFT;
  hz4_store_relaxed(&hz4_pagemap.leaf[page / HZ4_PAGEMAP_REGION_PAGES], (uintptr_t)&region - (uintptr_t)hz4_pagemap.none);
  struct hz4_page_states *note = &region.states[page % HZ4_PAGEMAP_REGION_PAGES];
  hz4_store_relaxed(&note->state, (uintptr_t)states);
  hz4_store_relaxed(&note->base, (uintptr_t)OBJECT(0));
  hz4_store_relaxed(&note->reciprocal, UINT64_MAX / OBJECT_BYTES + 1);
  hz4_store_relaxed(&note->size_class, CLASS);
  hz4_harden_out(OBJECT(0), 1);
  hz4_harden_out(OBJECT(1), 1);
  give(OBJECT(1));
}
static void set_up_for_misuse(void) {
  set_up();
  complaints_are_right = true;
}

static void takes_and_gives(void) {
  begin();
  for (int i = 0; i < 2; ++i) {
    char *object = take();
    if (object == NULL) continue;
    write_to(object);
    give(object);
  }
}
static void gives_and_takes(void) {
  begin();
  give(OBJECT(0));
  char *object = take();
  if (object != NULL) write_to(object);
}
static void gives(void) {
  begin();
  if (__builtin_setjmp(after_complaint) == 0) give(OBJECT(0));
}
static void gives_twice(void) {
  gives();
  gives();
  weave_check(hz4_load_relaxed(&complaints) == 1);
}
// After both threads: whoever takes all that there is, holds no object twice.
static void is_found(void) {
  begin();
  int held = 0;
  if (__builtin_setjmp(after_complaint) == 0) {
    for (char *object; (object = take()) != NULL;) held += object == OBJECT(0);
  }
  weave_check(held <= 1);
  weave_check(hz4_load_relaxed(&complaints) == 1);
}

const struct weave_scenario weave_scenarios[] = {
    {"two take and give", set_up, {takes_and_gives, gives_and_takes}, NULL, 3, 2, false},
    {"two free one object", set_up_for_misuse, {gives, gives}, is_found, 4, 2, false},
    {"one frees twice", set_up_for_misuse, {gives_twice}, is_found, 4, 2, false},
    {0},
};
