// sample: of threads that start and stop uses at once, the last changes hold: sampling is on by the least mean that is left, or
// off; and who finds it on finds its mean. Of threads that count at one cache none overlooks its own sample.
#include "hz4/sample.h"

#include "hz4/large.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/sizeclass.h"
#include "hz4/slots.h"
#include "hz4/span_objects.h"
#include "hz4/stack.h"
#include "hz4/sys.h"
#include "hz4/transfer.h"
#include "hz4/weave/weave.h"

// ---- what is beneath: nothing is allocated here ----

struct hz4_option_values hz4_option;
const struct hz4_class_info hz4_class_table[HZ4_MID_CLASSES];
struct hz4_class_of_malloc hz4_class_malloc;
static struct hz4_area area;
__thread struct hz4_front hz4_front = {.area = &area};
struct hz4_area hz4_no_area;
struct hz4_own_cache hz4_no_cache;
static _Alignas(HZ4_CACHE_BYTES) char memory[HZ4_CACHE_BYTES];

struct hz4_tcache *hz4_cache_list(void) {
  return (struct hz4_tcache *)memory;
}
uint64_t hz4_sys_now_ns(void) {
  return 1;
}
void *hz4_meta_alloc(size_t bytes) {
  (void)bytes;
  return NULL;
}
void hz4_meta_free(void *block, size_t bytes) {
  (void)block, (void)bytes;
}
void hz4_count_here(uint32_t size_class, enum hz4_counter id, uint64_t n) {
  (void)size_class, (void)id, (void)n;
}
struct hz4_span *hz4_pagemap_span(const void *ptr) {
  (void)ptr;
  return NULL;
}
void *hz4_large_alloc(size_t bytes, size_t align, bool *zeroed) {
  (void)bytes, (void)align, (void)zeroed;
  return NULL;
}
struct hz4_mid_result hz4_mid_take(uint32_t size_class, void **out, uint32_t want, uint32_t fresh, void *owner, bool zero) {
  (void)size_class, (void)out, (void)want, (void)fresh, (void)owner, (void)zero;
  return (struct hz4_mid_result){0};
}
void *hz4_slots_alloc(size_t size, size_t align, bool at_end, const uintptr_t *stack, uint32_t depth) {
  (void)size, (void)align, (void)at_end, (void)stack, (void)depth;
  return NULL;
}
_Atomic(struct hz4_sample *) *hz4_slots_sample(const void *ptr) {
  (void)ptr;
  return NULL;
}
const char *hz4_slots_free(void *ptr, const void *frame) {
  (void)ptr, (void)frame;
  return NULL;
}
_Atomic(struct hz4_sample *) *hz4_span_sample(struct hz4_span *span, const void *ptr) {
  (void)span, (void)ptr;
  return NULL;
}
uint32_t hz4_stack_take(const void *frame, uintptr_t *out, uint32_t max) {
  (void)frame, (void)out, (void)max;
  return 0;
}
bool hz4_transfer_give(uint32_t size_class, void **objects, uint32_t count, uint8_t *declines, bool purge) {
  (void)size_class, (void)objects, (void)count, (void)declines, (void)purge;
  return false;
}

// ---- threads ----

enum { COARSE = 1000, FINE = 10 };

static void start_profile(void) {
  hz4_sample_start(HZ4_SAMPLE_PROFILE, COARSE, NULL);
}
static void stop_profile(void) {
  hz4_sample_stop(HZ4_SAMPLE_PROFILE);
}
static void start_probe(void) {
  hz4_sample_start(HZ4_SAMPLE_PROBE, FINE, NULL);
}
static void start_and_stop_probe(void) {
  start_probe();
  hz4_sample_stop(HZ4_SAMPLE_PROBE);
}
static void come_to_a_cache(void) {
  hz4_front.caches = memory;
  hz4_sample_due(1, -1);
}
static void ask(void) {
  bool was_on = hz4_sample_is_on();
  come_to_a_cache();
  weave_check(!was_on || hz4_load_relaxed(&hz4_sampler_here()->mean) != 0);
}

// Of a mean of 1 each is a sample, whoever counts at the cache at the same time.
static void start_of_each(void) {
  hz4_sample_start(HZ4_SAMPLE_PROFILE, 1, NULL);
}
static void is_counted(void) {
  hz4_front.caches = memory;
  weave_check(hz4_sample_count(1000) != 0);
}

// By what a cache draws with now.
static void expect(size_t mean) {
  weave_check(hz4_sample_is_on() == (mean != 0));
  weave_check((hz4_load_relaxed(&hz4_class_malloc.most) == 0) == (mean != 0));
  weave_check((hz4_load_relaxed(&hz4_class_malloc.most_counted) != 0) == (mean != 0));
  come_to_a_cache();
  weave_check(mean == 0 || hz4_load_relaxed(&hz4_sampler_here()->mean) == mean);
}
static void is_coarse(void) {
  expect(COARSE);
}
static void is_fine(void) {
  expect(FINE);
}
static void is_off(void) {
  expect(0);
}

const struct weave_scenario weave_scenarios[] = {
    {"two start", NULL, {start_profile, start_probe}, is_fine, 3, 2, false},
    {"one starts, one starts and stops", NULL, {start_profile, start_and_stop_probe}, is_coarse, 2, 1, false},
    {"one stops, one starts", start_profile, {stop_profile, start_probe}, is_fine, 3, 2, false},
    {"one stops, one starts and stops", start_profile, {stop_profile, start_and_stop_probe}, is_off, 2, 1, false},
    {"one starts, one asks", NULL, {start_profile, ask}, is_coarse, 2, 2, false},
    {"two count at one cache", start_of_each, {is_counted, is_counted}, is_counted, 2, 1, false},
    {0},
};
