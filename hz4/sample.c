#include "hz4/sample.h"

#include <string.h>

#include "hz4/bin.h"
#include "hz4/large.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/pagemap.h"
#include "hz4/poison.h"
#include "hz4/sizeclass.h"
#include "hz4/slots.h"
#include "hz4/span_objects.h"
#include "hz4/stack.h"
#include "hz4/sys.h"
#include "hz4/transfer.h"

HZ4_IN_DATA _Atomic(uint32_t) hz4_sample_epoch;

static struct {
  _Atomic(size_t) mean;  // 0: off
  _Atomic(const struct hz4_sample_hooks *) hooks;
} uses[HZ4_SAMPLE_USES];
static _Atomic(size_t) least_mean;
static _Atomic(uint32_t) changes;

// ---- chance ----

// splitmix64 (Steele, Lea, Flood 2014).
static uint64_t next_random(void) {
  struct hz4_sampler *mine = hz4_sampler_here();
  if (HZ4_UNLIKELY(hz4_load_relaxed(&mine->random) == 0)) hz4_sample_seed(hz4_sys_now_ns() ^ (uintptr_t)mine);
  uint64_t z = hz4_load_relaxed(&mine->random) + UINT64_C(0x9e3779b97f4a7c15);
  hz4_store_relaxed(&mine->random, z);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

void hz4_sample_seed(uint64_t seed) {
  struct hz4_sampler *mine = hz4_sampler_here();
  hz4_store_relaxed(&mine->random, seed | 1);
  hz4_store_relaxed(&mine->epoch, 0);
  hz4_store_relaxed(&mine->doublings, 0);
  hz4_store_relaxed(&mine->samples, 0);
  hz4_store_relaxed(&mine->then_ns, 0);
  hz4_store_relaxed(&mine->left, 0);
  hz4_store_relaxed(&mine->beyond, 0);
}

// In (0, 1], of 53 bits.
static double uniform(void) {
  return (double)((next_random() >> 11) + 1) * 0x1p-53;
}

// -ln(u) for 0 < u <= 1, without libm. With u = m / 2^e and m in [1, 2): e ln 2 - ln m, and ln m is a series in (m - 1) / (m + 1).
static double minus_log(double u) {
  uint64_t bits;
  memcpy(&bits, &u, sizeof(bits));
  int e = 1023 - (int)(bits >> 52);
  bits = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1023 << 52;
  double m;
  memcpy(&m, &bits, sizeof(m));
  double x = (m - 1) / (m + 1), square = x * x, power = x, sum = 0;
  for (int i = 1; i < 24; i += 2, power *= square) sum += power / i;
  return e * 0.69314718055994530942 - 2 * sum;
}

// Of a small part of x by a series, and that of 2x is q(x) (2 - q(x)).
double hz4_sample_chance(double x) {
  int doublings = 0;
  if (x > 64) return 1;
  for (; x > 0x1p-10; x /= 2) ++doublings;
  double q = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4)));
  for (; doublings != 0; --doublings) q *= 2 - q;
  return q;
}

static double chance(size_t size, size_t mean) {
  return hz4_sample_chance((double)size / (double)mean);
}

// The clock, a system call, is looked at for each 32nd sample, and for each while they are slowed down: so that a thread which
// has become quiet is back at its mean with the next one.
static void keep_pace(struct hz4_sampler *mine) {
  uint32_t samples = hz4_load_relaxed(&mine->samples) + 1, doublings = hz4_load_relaxed(&mine->doublings);
  hz4_store_relaxed(&mine->samples, samples);
  bool is_full = samples >= HZ4_SAMPLE_PACE;
  if (!is_full && doublings == 0) return;
  uint64_t now = hz4_sys_now_ns(), took = now - hz4_load_relaxed(&mine->then_ns);
  if (!is_full && took <= 4 * HZ4_SAMPLE_PACE_NS) return;
  hz4_store_relaxed(&mine->samples, 0);
  hz4_store_relaxed(&mine->then_ns, now);
  if (took < HZ4_SAMPLE_PACE_NS && now != 0 && doublings < HZ4_SAMPLE_DOUBLINGS_MAX) ++doublings;
  for (; took > 4 * HZ4_SAMPLE_PACE_NS && doublings != 0; took /= 2) --doublings;
  hz4_store_relaxed(&mine->doublings, doublings);
}

static int64_t draw(struct hz4_sampler *mine) {
  size_t mean = hz4_load_relaxed(&least_mean);
  if (mean >= HZ4_SAMPLE_PACED_MIN && mean >> (62 - HZ4_SAMPLE_DOUBLINGS_MAX) == 0) {
    mean <<= hz4_load_relaxed(&mine->doublings);
  }
  hz4_store_relaxed(&mine->mean, mean);
  double bytes = minus_log(uniform()) * (double)mean;
  return bytes < 0x1p62 ? (int64_t)bytes : (int64_t)1 << 62;
}

static void wait(struct hz4_sampler *mine, int64_t bytes) {
  int64_t first = bytes < HZ4_SAMPLE_STRIDE ? bytes : HZ4_SAMPLE_STRIDE;
  hz4_store_relaxed(&mine->left, first);
  hz4_store_relaxed(&mine->beyond, bytes - first);
}

size_t hz4_sample_due(size_t size, int64_t left) {
  uint32_t epoch = hz4_load_acquire(&hz4_sample_epoch);  // pairs with refresh: its mean
  if (epoch == 0) return 0;
  struct hz4_sampler *mine = hz4_sampler_here();
  left += hz4_load_relaxed(&mine->beyond);
  if (hz4_load_acquire(&mine->epoch) != epoch) {  // pairs with the release below: there is a mean
    left = draw(mine) - (int64_t)size;
    hz4_store_release(&mine->epoch, epoch);  // pairs with the acquire above, of who counts here as well
  }
  size_t mean = hz4_load_relaxed(&mine->mean);
  bool is_sample = left < 0;
  if (is_sample) {
    keep_pace(mine);
    left = draw(mine);
  }
  wait(mine, left);
  return is_sample ? mean : 0;
}

// ---- start, stop ----

// Who subtracts from it at this instant may write over that: then he looks after HZ4_SAMPLE_STRIDE bytes.
static void look_again(struct hz4_sampler *sampler) {
  hz4_store_relaxed(&sampler->left, 0);
}

// What follows from the means. Whoever changed one comes here, and goes round until nothing has changed meanwhile: of two
// at once the one whose change came last, in the order of `changes`, finds what the other wrote, or the other goes round again.
static void refresh(void) {
  uint32_t seen = hz4_load_acquire(&changes);
  do {
    size_t least = 0;
    for (int use = 0; use < HZ4_SAMPLE_USES; ++use) {
      size_t mean = hz4_load_relaxed(&uses[use].mean);
      if (mean != 0 && (least == 0 || mean < least)) least = mean;
    }
    if (least != 0) hz4_store_relaxed(&least_mean, least);
    hz4_store_release(&hz4_sample_epoch, least != 0 ? seen | 1 : 0);  // publishes the mean to hz4_sample_due
    for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) look_again(&cache->sampler);
    look_again(&hz4_no_cache.cache.sampler);
    bool hardened = hz4_option.harden != 0;
    hz4_store_relaxed(&hz4_class_malloc.most_counted, least != 0 && !hardened ? HZ4_CLASS_MAX_BYTES : 0);
    hz4_store_relaxed(&hz4_class_malloc.most, least != 0 || hardened ? 0 : HZ4_CLASS_MAX_BYTES);
  } while (!hz4_cas_strong_acq_rel(&changes, &seen, seen));
}

static void set(enum hz4_sample_use use, size_t mean) {
  hz4_store_relaxed(&uses[use].mean, mean);
  hz4_fetch_add_acq_rel(&changes, 2);
  refresh();
}

void hz4_sample_start(enum hz4_sample_use use, size_t mean, const struct hz4_sample_hooks *hooks) {
  hz4_store_release(&uses[use].hooks, hooks);
  set(use, mean != 0 ? mean : 1);
}

void hz4_sample_stop(enum hz4_sample_use use) {
  set(use, 0);
}

// ---- records ----

// For which uses an allocation is a sample, as their weights, given that it is due by the mean `due`. False: for none.
static bool choose(size_t size, size_t due, uint64_t *weight) {
  double base = chance(size, due);
  bool any = false;
  for (int use = 0; use < HZ4_SAMPLE_USES; ++use) {
    size_t mean = hz4_load_relaxed(&uses[use].mean);
    double own = mean == 0 ? 0 : mean <= due ? base : chance(size, mean);
    bool chosen = own != 0 && (own >= base || uniform() * base <= own);
    weight[use] = chosen ? (uint64_t)((double)size / own + 0.5) : 0;
    any |= chosen;
  }
  return any;
}

static void tell(struct hz4_sample *sample, bool allocated) {
  for (int use = 0; use < HZ4_SAMPLE_USES; ++use) {
    const struct hz4_sample_hooks *hooks = hz4_load_acquire(&uses[use].hooks);  // pairs with hz4_sample_start
    if (sample->weight[use] == 0 || hooks == NULL) continue;
    if (allocated) hooks->on_alloc(sample);
    else hooks->on_free(sample);
  }
}

static struct hz4_sample *new_record(size_t size, size_t mean, size_t usable, const void *frame) {
  uint64_t weight[HZ4_SAMPLE_USES];
  if (!choose(size, mean, weight)) return NULL;
  struct hz4_sample *sample = hz4_meta_alloc(sizeof(*sample));
  if (sample == NULL) return NULL;
  sample->size = size;
  sample->usable = usable;
  memcpy(sample->weight, weight, sizeof(weight));
  sample->thread = (uintptr_t)&hz4_front;
  sample->stack_depth = hz4_stack_take(frame, sample->stack, HZ4_SAMPLE_FRAMES);
  return sample;
}

// Where the record of the block at ptr is; NULL: there is no block of which there may be one.
static _Atomic(struct hz4_sample *) *place_of(struct hz4_span *span, const void *ptr) {
  if (span->kind == HZ4_SPAN_MAPPED) return span->base == ptr ? &span->sample : NULL;
  if (span->kind == HZ4_SPAN_SLOTS) return hz4_slots_sample(ptr);
  return span->kind == HZ4_SPAN_OBJECTS && span->size_class >= HZ4_SAMPLE_CLASS ? hz4_span_sample(span, ptr) : NULL;
}

struct hz4_sample *hz4_sample_of(struct hz4_span *span, const void *ptr) {
  _Atomic(struct hz4_sample *) *place = place_of(span, ptr);
  return place != NULL ? hz4_load_relaxed(place) : NULL;
}

static void begin(struct hz4_sample *sample, void *block) {
  struct hz4_span *span = hz4_pagemap_span(block);
  sample->block = block;
  if (span->kind == HZ4_SPAN_MAPPED) sample->usable = span->bytes;
  // Relaxed, as entries of the page map: who has the pointer has it from whom it was handed out to.
  hz4_store_relaxed(place_of(span, block), sample);
  tell(sample, true);
}

static bool end(struct hz4_span *span, const void *ptr) {
  struct hz4_sample *sample = hz4_exchange_acquire(place_of(span, ptr), NULL);  // of two that free one has it
  if (sample == NULL) return false;
  tell(sample, false);
  hz4_meta_free(sample, sizeof(*sample));
  return true;
}

static void *alloc_object(uint32_t size_class, bool *zeroed) {
  void *object = NULL;
  struct hz4_mid_result got = hz4_mid_take(size_class, &object, 1, 1, NULL, *zeroed);
  *zeroed = got.zeroed;
  if (got.spans_opened != 0) hz4_count_here(size_class, HZ4_COUNT_span_opened, got.spans_opened);
  if (got.objects == 0) return NULL;
  hz4_unpoison(object, hz4_class_bytes(size_class));
  return object;
}

// NULL: it is to be none, or can be none.
static void *alloc_guarded(struct hz4_sample *sample, size_t align, bool *zeroed) {
  if (sample->weight[HZ4_SAMPLE_GUARD] == 0) return NULL;
  void *block = hz4_slots_alloc(sample->size, align, next_random() % 2 != 0, sample->stack, sample->stack_depth);
  if (block == NULL) {
    sample->weight[HZ4_SAMPLE_GUARD] = 0;
    return NULL;
  }
  sample->usable = sample->size;
  *zeroed = true;
  return block;
}

static bool is_wanted(const struct hz4_sample *sample) {
  uint64_t sum = 0;
  for (int use = 0; use < HZ4_SAMPLE_USES; ++use) sum += sample->weight[use];
  return sum != 0;
}

void *hz4_sample_alloc(size_t size, size_t mean, size_t align, size_t usable, bool *zeroed, const void *frame) {
  struct hz4_sample *sample = new_record(size, mean, usable, frame);
  if (sample == NULL) return NULL;
  void *block = alloc_guarded(sample, align, zeroed);
  if (block == NULL && is_wanted(sample)) {
    block = usable != 0 ? alloc_object(hz4_class_of_sample(usable > align ? usable : align), zeroed)
                        : hz4_large_alloc(size, align, zeroed);
  }
  if (block != NULL) begin(sample, block);
  else hz4_meta_free(sample, sizeof(*sample));
  return block;
}

const char *hz4_sample_free(struct hz4_span *span, void *ptr, const void *frame) {
  if (!end(span, ptr)) return "double free";
  if (span->kind == HZ4_SPAN_SLOTS) return hz4_slots_free(ptr, frame);
  if (span->kind != HZ4_SPAN_OBJECTS) return NULL;
  uint32_t size_class = span->size_class;
  hz4_poison(ptr, hz4_class_bytes(size_class));
  hz4_transfer_give(size_class, &ptr, 1, NULL, true);
  return NULL;
}

void hz4_sample_resized(struct hz4_span *span, size_t size, const void *frame) {
  if (hz4_load_relaxed(&span->sample) != NULL) end(span, span->base);
  size_t mean = hz4_sample_count(size);
  struct hz4_sample *sample = mean != 0 ? new_record(size, mean, 0, frame) : NULL;
  if (sample == NULL) return;
  sample->weight[HZ4_SAMPLE_GUARD] = 0;  // where it lies it lies
  if (is_wanted(sample)) begin(sample, span->base);
  else hz4_meta_free(sample, sizeof(*sample));
}
