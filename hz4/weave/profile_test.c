// profile: two threads that find the same stack add up at one site, whoever reads finds sites whole, and no two samples that
// are live have one record.
#include "hz4/profile.h"

#include "hz4/alloc.h"
#include "hz4/file.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/sample.h"
#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

// ---- what is beneath ----

struct hz4_option_values hz4_option;

static struct {
  char bytes[256];
} blocks[8];
static _Atomic(unsigned) blocks_used;

void *hz4_meta_alloc(size_t bytes) {
  unsigned i = hz4_fetch_add_relaxed(&blocks_used, 1);
  weave_check(i < sizeof(blocks) / sizeof(blocks[0]) && bytes <= sizeof(blocks[0]));
  return &blocks[i];
}

// Written, so that nobody may read it beside.
void hz4_meta_free(void *block, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) ((char *)block)[i] = 1;
}

// Stand-ins: those that a sample has now are the ones that are looked at.
static _Atomic(unsigned) given, looked_at;

void *hz4_alloc_unsampled(size_t size) {
  (void)size;
  hz4_fetch_add_relaxed(&given, 1);
  return &given;
}
void hz4_alloc_free_unsampled(void *object) {
  weave_check(object == &given);
  hz4_fetch_sub_relaxed(&given, 1);
}
uint64_t hz4_mid_glance_held(const void *object) {
  weave_check(object == &given);
  hz4_fetch_add_relaxed(&looked_at, 1);
  return 0;
}
int hz4_stderr(bool unchanged) {
  (void)unchanged;
  return -1;
}
void hz4_profile_write_due(enum hz4_profile_due due) {
  (void)due;
}
bool hz4_file_listen(int signal, void (*handler)(int)) {
  (void)signal, (void)handler;
  return true;
}
bool hz4_profile_report_leaks(int fd) {
  (void)fd;
  return false;
}
void hz4_sample_start(enum hz4_sample_use use, size_t mean, const struct hz4_sample_hooks *hooks) {
  (void)use, (void)mean, (void)hooks;
}
void hz4_sample_stop(enum hz4_sample_use use) {
  (void)use;
}

// ---- scenarios ----

static struct hz4_sample samples[5];

static void allocate(int i, uintptr_t address) {
  struct hz4_sample *sample = &samples[i];
  sample->size = sample->usable = 100;
  sample->weight[HZ4_SAMPLE_PROFILE] = 1000;
  sample->stack_depth = 1;
  sample->stack[0] = address;
  hz4_profile_hooks.on_alloc(sample);
}

static void release(int i) {
  hz4_profile_hooks.on_free(&samples[i]);
}

// Of sites, with the sum of what is live.
static unsigned count(uint64_t *live) {
  unsigned sites = 0;
  *live = 0;
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL; ++sites) {
    weave_check(site->depth == 1 && (site->stack[0] == 1 || site->stack[0] == 2));
    *live += hz4_load_relaxed(&site->live_bytes);
  }
  return sites;
}

static void allocate_first(void) {
  allocate(0, 1);
}
static void allocate_same(void) {
  allocate(1, 1);
}
static void allocate_other(void) {
  allocate(1, 2);
}
static void look(void) {
  uint64_t live;
  weave_check(count(&live) <= 2);
  hz4_profile_look_at_spans();
}
static void they_are_one(void) {
  uint64_t live;
  weave_check(count(&live) == 1 && live == 2000);
}
static void they_are_two(void) {
  uint64_t live;
  weave_check(count(&live) == 2 && live == 2000);
}

static void keep_one_and_release(void) {
  allocate(0, 1);
  release(0);
}
static void both_are_kept(void) {
  allocate(2, 1);
  allocate(3, 1);
}
static void release_both(void) {
  release(2);
  release(3);
}
static void take_first(void) {
  allocate(0, 1);
}
static void take_second(void) {
  allocate(1, 1);
}
static void nobody_shares(void) {
  weave_check(samples[0].user[HZ4_SAMPLE_PROFILE] != samples[1].user[HZ4_SAMPLE_PROFILE]);
  they_are_one();
}
static void two_free_ones(void) {
  both_are_kept();
  release_both();
}
static void second_is_kept(void) {
  uint64_t live;
  weave_check(count(&live) == 1 && live == 1000);
  hz4_profile_look_at_spans();
  weave_check(hz4_load_relaxed(&given) == 1 && hz4_load_relaxed(&looked_at) == 1);
}
static void start(void) {
  hz4_profile_begin(100 << HZ4_PROFILE_STAND_IN_SHIFT);
}
static void take_four(void) {
  allocate(0, 1);
  for (int i = 2; i < 5; ++i) allocate(i, 1);
}

const struct weave_scenario weave_scenarios[] = {
    {"one stack, two threads", NULL, {allocate_first, allocate_same}, they_are_one, ALL, false},
    {"two stacks, two threads", NULL, {allocate_first, allocate_other}, they_are_two, ALL, false},
    {"a reader beside", NULL, {allocate_first, look}, NULL, ALL, false},
    {"two take records that are free", two_free_ones, {take_first, take_second}, nobody_shares, ALL, false},
    {"one takes what another gives", start, {keep_one_and_release, take_second}, second_is_kept, 2, 2, false},
    {"one goes round where another was", NULL, {take_four, take_second}, NULL, 1, 1, false},
    {0},
};
