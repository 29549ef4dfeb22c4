// bin: what sequences and claims do to a CPU's bin. No object is lost or has two holders; who holds one sees what the last
// holder wrote; an array that was replaced is touched by nobody; and while fork copies, no bin is claimed. One class; the
// bin of cache 0 holds two objects, and has room for as many. The layers below are plain stand-ins, but for the lock.
#include "hz4/bin.h"

#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/rseq.h"
#include "hz4/sizeclass.h"
#include "hz4/weave/weave.h"

enum { CLASS = 1, OBJECTS = 6, CACHES = 2, LENGTH = 8 };

// ---- stand-ins ----

const struct hz4_class_info hz4_class_table[HZ4_MID_CLASSES] = {[CLASS] = {.object_bytes = sizeof(unsigned)}};
struct hz4_pagemap hz4_pagemap;
void hz4_class_part_tiny(void) {}
uint32_t hz4_pagemap_class_of(const void *ptr) {
  return (uint32_t)hz4_pagemap_class(ptr);
}

static bool kernel_refuses;

bool hz4_rseq_restart_all(void) {
  if (kernel_refuses) return false;
  weave_restart_sequences();
  return true;
}
// Never the same address twice: a late touch of an array is seen.
void *hz4_meta_alloc(size_t bytes) {
  weave_check(bytes <= 4096);
  return hz4_os_map(4096, 4096);
}
void hz4_meta_free(void *ptr, size_t bytes) {
  weave_check(bytes <= 4096);
  hz4_os_unmap(ptr, 4096);
}

// ---- who has what ----

// The zeros before a cache end the one before it.
static _Alignas(HZ4_CACHE_BYTES) char memory[1 + CACHES][HZ4_CACHE_BYTES];
static __thread struct hz4_area area;

static unsigned objects[OBJECTS];  // written by whoever holds the object
static struct kept {
  void *objects[OBJECTS];
  uint32_t count;
} kept[4];  // by each thread
static __thread struct kept *mine;

static struct hz4_tcache *cache(int id) {
  return (struct hz4_tcache *)memory[1 + id];
}
static void begin(int thread, unsigned ids) {
  hz4_front.caches = memory[1];
  hz4_front.area = &area;
  weave_run_on(ids);
  mine = &kept[thread];
}
static void keep(void *const *given, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) {
    ++*(unsigned *)given[i];
    mine->objects[mine->count++] = given[i];
  }
}
static void pop(void) {
  void *object = hz4_sequence_pop(CLASS);
  if (object != NULL) keep(&object, 1);
}
static void push(unsigned *object) {
  ++*object;
  if (!hz4_sequence_push(CLASS, object)) keep((void *[]){object}, 1);
}
static void pop_and_push(void) {
  unsigned *object = hz4_sequence_pop(CLASS);
  if (object != NULL) push(object);
}

// As free does when hardened: nothing is lost where another's object is put aside meanwhile.
static void swap(unsigned *object, uint32_t random) {
  ++*object;
  unsigned *other = hz4_sequence_swap(CLASS, random, object);
  if (other == NULL) other = object;
  if (!hz4_sequence_push(CLASS, other)) keep((void *[]){other}, 1);
}

// ---- claims ----

static void claim_and_take(void) {
  struct hz4_held held;
  void *taken[HZ4_MOVE_OBJECTS];
  if (!hz4_bin_claim(CLASS, &held)) return;
  weave_check(hz4_bin_broken(&held) == NULL);
  uint32_t n = hz4_bin_take(&held, 1, taken);
  hz4_bin_publish(&held);
  keep(taken, n);
}
static void claim_and_put(unsigned *object) {
  struct hz4_held held;
  bool fits = false;
  ++*object;
  if (hz4_bin_claim(CLASS, &held)) {
    fits = hz4_bin_objects(&held) < held.bin->capacity;
    if (fits) *++held.top = object;
    hz4_bin_publish(&held);
  }
  if (!fits) keep((void *[]){object}, 1);
}
// A longer array, with room for one more.
static void claim_and_grow(void) {
  struct hz4_held held;
  if (!hz4_bin_claim(CLASS, &held)) return;
  uint32_t length = hz4_bin_length(held.bin), longer = length == 0 ? LENGTH : length * 2;
  void **old = hz4_bin_set_array(&held, hz4_bin_new_array(longer), longer);
  hz4_bin_set_capacity(&held, held.bin->capacity == 0 ? 2 : held.bin->capacity + 1);
  hz4_bin_publish(&held);
  if (old != NULL) hz4_bin_free_array(old, length);
}
static void empty(struct hz4_held *held) {
  uint32_t length, n;
  weave_check(hz4_bin_broken(held) == NULL);
  void **slots = hz4_bin_take_array(held, &length, &n);
  if (slots == NULL) return;
  keep(slots + 1, n);
  hz4_bin_free_array(slots, length);
}
static void empty_remote(void) {
  struct hz4_held held[HZ4_REMOTE_BINS];
  for (uint32_t next = 1; next < HZ4_CLASS_SLOTS;) {
    if (hz4_bin_claim_remote(cache(0), &next, held) != 0) empty(&held[0]);
  }
}

// ---- threads ----

static void set_up(void) {
  begin(0, 1);
  for (int i = 0; i < OBJECTS; ++i) {
    hz4_store_relaxed(&hz4_pagemap.none[(uint16_t)((uintptr_t)&objects[i] >> HZ4_PAGE_SHIFT)], CLASS);
  }
  claim_and_grow();
  push(&objects[0]);
  push(&objects[1]);
}
static void no_arrays(void) {
  begin(0, 1);
}
static void kernel_will_not(void) {
  set_up();
  kernel_refuses = true;
}
// On id 0.
static void pops_and_pushes(void) {
  begin(1, 1);
  pop();
  push(&objects[2]);
}
static void pushes_back(void) {
  begin(2, 1);
  pop_and_push();
}
static void claims_and_takes(void) {
  begin(2, 1);
  claim_and_take();
}
static void claims_and_puts(void) {
  begin(2, 1);
  claim_and_put(&objects[3]);
}
static void claims_and_grows(void) {
  begin(2, 1);
  claim_and_grow();
}
static void claims_too(void) {
  begin(3, 1);
  claim_and_take();
  claim_and_put(&objects[4]);
}
static void claims_twice(void) {
  begin(2, 1);
  claim_and_take();
  claim_and_put(&objects[3]);
}
static void swaps_and_pops(void) {
  begin(1, 1);
  swap(&objects[2], weave_choose(2) != 0 ? UINT32_MAX : 0);
  pop();
}
static void swaps_too(void) {
  begin(2, 1);
  swap(&objects[3], UINT32_MAX);
}
static void swaps_about(void) {
  begin(2, 3);
  swap(&objects[3], UINT32_MAX);
}
// On id 0 and then, maybe, on id 1, whose bins have no arrays yet.
static void moves_about(void) {
  begin(1, 3);
  pop();
  push(&objects[2]);
  claim_and_grow();
}
static void moves_too(void) {
  begin(2, 3);
  claim_and_grow();
  pop_and_push();
}
// On id 1, and so remotely.
static void empties(void) {
  begin(3, 2);
  empty_remote();
}
static void empties_too(void) {
  begin(2, 2);
  empty_remote();
}
static void pops_then_empties(void) {
  begin(1, 1);
  pop();
  begin(1, 2);
  empty_remote();
}
static void empties_then_claims(void) {
  begin(3, 1);
  empty_remote();
  claim_and_grow();
  push(&objects[5]);
}
static void walks(void) {
  for (struct hz4_tcache *found = hz4_cache_list(); found != NULL; found = found->next_listed) {
    weave_check(found == cache(0) || found == cache(1));
    weave_check(found->next_listed != found);
  }
}
static void grows_on_id_1(void) {
  begin(1, 2);
  claim_and_grow();
}
static void forks(void) {
  begin(3, 2);
  hz4_bin_fork_begin();
  for (int id = 0; id < CACHES; ++id) {
    uint64_t top = weave_snapshot(&cache(id)->top[CLASS]);
    weave_check(top != HZ4_TOP_CLAIMED && top != HZ4_TOP_CLAIMED_REMOTE);
  }
  hz4_bin_fork_parent();
}

// The copy is never made, and so whoever has a claim could still write.
static void forks_for_ever(void) {
  begin(3, 2);
  hz4_bin_fork_begin();
  for (int id = 0; id < CACHES; ++id) weave_check(cache(id)->bins[CLASS].capacity <= 3);
}

// ---- the end ----

static void all_are_there(void) {
  unsigned found[OBJECTS] = {0};
  for (int id = 0; id < CACHES; ++id) {
    struct hz4_held held;
    begin(0, 1u << id);
    weave_check(hz4_bin_claim(CLASS, &held));
    empty(&held);
  }
  for (int t = 0; t < 4; ++t) {
    for (uint32_t i = 0; i < kept[t].count; ++i) ++found[(unsigned *)kept[t].objects[i] - objects];
  }
  for (int i = 0; i < OBJECTS; ++i) weave_check(found[i] == (objects[i] != 0));
  weave_check(hz4_load_relaxed(&cache(0)->capacity_bytes) == 0 && hz4_load_relaxed(&cache(1)->capacity_bytes) == 0);
}
static void all_are_copied(void) {
  hz4_bin_fork_parent();
  all_are_there();
}
static void both_are_listed(void) {
  weave_check(hz4_cache_list() != NULL && hz4_cache_list()->next_listed != NULL);
  all_are_there();
}

const struct weave_scenario weave_scenarios[] = {
    {"pop and push on one id", set_up, {pops_and_pushes, pushes_back}, all_are_there, 3, 2, false},
    {"two swap", set_up, {swaps_and_pops, swaps_too}, all_are_there, 3, 2, false},
    {"one swaps, one pops and pushes", set_up, {swaps_and_pops, pushes_back}, all_are_there, 3, 2, false},
    {"one swaps, a claim takes", set_up, {swaps_and_pops, claims_twice}, all_are_there, 3, 1, false},
    {"one swaps, a claim makes an array", set_up, {swaps_and_pops, claims_and_grows}, all_are_there, 3, 2, false},
    {"one swaps and moves about", set_up, {swaps_about, moves_about}, all_are_there, 2, 0, false},
    {"one swaps, one empties remotely", set_up, {swaps_and_pops, empties}, all_are_there, 3, 2, false},
    {"a claim takes", set_up, {pops_and_pushes, claims_and_takes}, all_are_there, 3, 2, false},
    {"a claim puts", set_up, {pops_and_pushes, claims_and_puts}, all_are_there, 3, 2, false},
    {"a claim makes an array", set_up, {pops_and_pushes, claims_and_grows}, all_are_there, 3, 2, false},
    {"two claim", set_up, {claims_twice, claims_too}, all_are_there, 3, 1, false},
    {"two claim, one pops", set_up, {pops_and_pushes, claims_and_puts, claims_too}, all_are_there, 1, 1, false},
    {"two move about", set_up, {moves_about, moves_too}, all_are_there, 2, 0, false},
    {"two list their caches", set_up, {claims_and_grows, grows_on_id_1, walks}, both_are_listed, 1, 1, false},
    {"two list their caches at once", no_arrays, {claims_and_grows, grows_on_id_1}, both_are_listed, 2, 1, false},
    {"one empties remotely", set_up, {pops_and_pushes, empties}, all_are_there, 3, 2, false},
    {"one empties, the kernel will not", kernel_will_not, {pops_and_pushes, empties}, all_are_there, 3, 2, false},
    {"one empties, one claims", set_up, {claims_twice, empties}, all_are_there, 3, 1, false},
    {"one empties, then claims", set_up, {pops_and_pushes, empties_then_claims}, all_are_there, 3, 1, false},
    {"one empties, two are there", set_up, {pops_and_pushes, claims_and_grows, empties}, all_are_there, 2, 0, false},
    {"one claims, one forks", set_up, {claims_twice, forks}, all_are_there, 3, 1, false},
    {"one empties, one forks", set_up, {empties_too, forks}, all_are_there, 3, 2, false},
    {"one empties, one pops, one forks", set_up, {pops_and_pushes, empties_too, forks}, all_are_there, 2, 0, false},
    {"one makes the first array, one forks", set_up, {grows_on_id_1, forks}, all_are_there, 3, 1, false},
    {"one grows, one forks for ever", set_up, {claims_and_grows, forks_for_ever}, all_are_copied, 3, 2, false},
    {"two empty", set_up, {pops_then_empties, empties}, all_are_there, 3, 1, false},
    {0},
};
