#include "hz4/profile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hz4/alloc.h"
#include "hz4/file.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/sample.h"

struct record {
  struct record *next;  // of all records; constant
  _Atomic(uint32_t) is_taken;
  _Atomic(struct hz4_profile_site *) site;
  _Atomic(uint64_t) parts;
  _Atomic(void *) proxy;  // or NULL
};

static _Atomic(struct hz4_profile_site *) chains[HZ4_PROFILE_CHAINS];
static _Atomic(struct record *) records, next_record;  // the newest; where the search for a free one goes on

static _Atomic(size_t) mean_bytes;  // 0: there never was a profile
static _Atomic(uint64_t) allocated_bytes, live_bytes, peak_bytes;

// ---- sites ----

static struct hz4_profile_site *find_in(struct hz4_profile_site *chain, uint64_t hash, const struct hz4_sample *sample) {
  for (; chain != NULL; chain = chain->next) {
    if (chain->hash == hash && chain->depth == sample->stack_depth &&
        memcmp(chain->stack, sample->stack, chain->depth * sizeof(chain->stack[0])) == 0) {
      break;
    }
  }
  return chain;
}

// NULL: no memory.
static struct hz4_profile_site *site_of(const struct hz4_sample *sample) {
  uint64_t hash = sample->stack_depth;
  for (uint32_t i = 0; i < sample->stack_depth; ++i) hash = (hash ^ hash >> 32 ^ sample->stack[i]) * HZ4_HASH_FACTOR;
  _Atomic(struct hz4_profile_site *) *head = &chains[(hash >> 32) % HZ4_PROFILE_CHAINS];
  struct hz4_profile_site *first = hz4_load_acquire(head);  // pairs with the release below: all of a site
  struct hz4_profile_site *site = find_in(first, hash, sample), *fresh = NULL;
  const size_t bytes = sizeof(*site) + sample->stack_depth * sizeof(site->stack[0]);
  while (site == NULL) {
    if (fresh == NULL && (fresh = hz4_meta_alloc(bytes)) == NULL) return NULL;
    fresh->hash = hash;
    fresh->depth = sample->stack_depth;
    memcpy(fresh->stack, sample->stack, sample->stack_depth * sizeof(fresh->stack[0]));
    fresh->next = first;
    // Acq_rel: publishes the site, to the acquire above and in hz4_profile_next; on failure others' sites are read.
    if (hz4_cas_strong_acq_rel(head, &first, fresh)) return fresh;
    site = find_in(first, hash, sample);
  }
  if (fresh != NULL) hz4_meta_free(fresh, bytes);
  return site;
}

static struct hz4_profile_site *first_from(size_t chain) {
  struct hz4_profile_site *site = NULL;
  for (; chain < HZ4_PROFILE_CHAINS && site == NULL; ++chain) site = hz4_load_acquire(&chains[chain]);  // pairs with site_of
  return site;
}

struct hz4_profile_site *hz4_profile_next(const struct hz4_profile_site *site) {
  if (site == NULL) return first_from(0);
  return site->next != NULL ? site->next : first_from((site->hash >> 32) % HZ4_PROFILE_CHAINS + 1);
}

uint64_t hz4_profile_objects(uint64_t parts) {
  return (parts + ((uint64_t)1 << HZ4_PROFILE_PART_SHIFT) / 2) >> HZ4_PROFILE_PART_SHIFT;
}

size_t hz4_profile_mean(void) {
  return hz4_load_relaxed(&mean_bytes);
}

// ---- records ----

static bool take(struct record *record) {
  uint32_t expected = false;
  return hz4_load_relaxed(&record->is_taken) == false && hz4_cas_strong_acquire(&record->is_taken, &expected, true);
}

// Looks at a few that are there, one after the other around all: so while there are many free ones no memory is taken.
// NULL: no memory.
static struct record *take_record(void) {
  struct record *record = hz4_load_acquire(&next_record);  // pairs with the releases below, as the next
  for (int i = 0; i < HZ4_PROFILE_RECORD_TRIES; ++i) {
    if (record == NULL) record = hz4_load_acquire(&records);
    if (record == NULL) break;
    if (take(record)) {
      hz4_store_release(&next_record, record->next);
      return record;
    }
    record = record->next;
  }
  hz4_store_release(&next_record, record);
  if ((record = hz4_meta_alloc(sizeof(*record))) == NULL) return NULL;
  hz4_store_relaxed(&record->is_taken, true);
  record->next = hz4_load_relaxed(&records);
  while (!hz4_cas_weak_release(&records, &record->next, record)) continue;  // publishes the record and its next
  return record;
}

// NULL: there is none, or the object is too large for a second one of it to be nothing.
static void *take_proxy(const struct hz4_sample *sample) {
  bool small = sample->usable <= HZ4_CLASS_MAX_BYTES && sample->usable <= hz4_profile_mean() >> HZ4_PROFILE_STAND_IN_SHIFT;
  return small ? hz4_alloc_unsampled(sample->usable) : NULL;
}

void hz4_profile_look_at_spans(void) {
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) hz4_store_relaxed(&site->held_bytes, 0);
  for (struct record *record = hz4_load_acquire(&records); record != NULL; record = record->next) {  // pairs with take_record
    void *proxy = hz4_load_relaxed(&record->proxy);
    struct hz4_profile_site *site = hz4_load_relaxed(&record->site);
    if (proxy == NULL || site == NULL) continue;
    uint64_t held = hz4_mid_glance_held(proxy) * hz4_load_relaxed(&record->parts) >> HZ4_PROFILE_PART_SHIFT;
    hz4_fetch_add_relaxed(&site->held_bytes, held);
  }
}

// ---- samples ----

static uint64_t parts_of(const struct hz4_sample *sample) {
  return (sample->weight[HZ4_SAMPLE_PROFILE] << HZ4_PROFILE_PART_SHIFT) / (sample->size != 0 ? sample->size : 1);
}

// Whether so many more bytes make a profile due: when they complete another HZ4_PROFILE_EVERY_BYTES, or a peak that is
// higher than the last by a part, and by several samples.
static bool completes(uint64_t before, uint64_t after) {
  uint64_t every = hz4_option.profile_every_bytes;
  return every != 0 && before / every != after / every;
}

static bool is_new_peak(uint64_t live) {
  if (hz4_option.profile_peak == 0) return false;
  uint64_t peak = hz4_load_relaxed(&peak_bytes), step = hz4_profile_mean() * HZ4_PROFILE_PEAK_SAMPLES;
  if (step < peak >> HZ4_PROFILE_PEAK_SHIFT) step = peak >> HZ4_PROFILE_PEAK_SHIFT;
  return live > peak && live - peak >= step && hz4_cas_strong_acquire(&peak_bytes, &peak, live);
}

static void on_alloc(struct hz4_sample *sample) {
  struct hz4_profile_site *site = site_of(sample);
  struct record *record = site != NULL ? take_record() : NULL;
  if (record == NULL) return;
  uint64_t bytes = sample->weight[HZ4_SAMPLE_PROFILE], parts = parts_of(sample);
  hz4_store_relaxed(&record->site, site);
  hz4_store_relaxed(&record->parts, parts);
  hz4_store_relaxed(&record->proxy, take_proxy(sample));
  sample->user[HZ4_SAMPLE_PROFILE] = record;
  hz4_fetch_add_relaxed(&site->allocated_parts, parts);
  hz4_fetch_add_relaxed(&site->allocated_bytes, bytes);
  hz4_fetch_add_relaxed(&site->live_parts, parts);
  hz4_fetch_add_relaxed(&site->live_bytes, bytes);
  uint64_t before = hz4_fetch_add_relaxed(&allocated_bytes, bytes);
  uint64_t live = hz4_fetch_add_relaxed(&live_bytes, bytes) + bytes;
  if (completes(before, before + bytes)) hz4_profile_write_due(HZ4_PROFILE_DUE_NUMBERED);
  if (is_new_peak(live)) hz4_profile_write_due(HZ4_PROFILE_DUE_PEAK);
}

static void on_free(struct hz4_sample *sample) {
  struct record *record = sample->user[HZ4_SAMPLE_PROFILE];
  if (record == NULL) return;
  struct hz4_profile_site *site = hz4_load_relaxed(&record->site);
  uint64_t bytes = sample->weight[HZ4_SAMPLE_PROFILE];
  void *proxy = hz4_load_relaxed(&record->proxy);
  hz4_fetch_sub_relaxed(&site->live_parts, parts_of(sample));
  hz4_fetch_sub_relaxed(&site->live_bytes, bytes);
  hz4_fetch_sub_relaxed(&live_bytes, bytes);
  hz4_store_relaxed(&record->proxy, NULL);
  hz4_store_release(&record->is_taken, false);  // pairs with take
  if (proxy != NULL) hz4_alloc_free_unsampled(proxy);
}

const struct hz4_sample_hooks hz4_profile_hooks = {on_alloc, on_free};

int hz4_profile_begin(size_t mean) {
  if (mean > PTRDIFF_MAX) return EINVAL;
  if (mean == 0) mean = hz4_option.profile_bytes;
  hz4_store_relaxed(&mean_bytes, mean);
  hz4_sample_start(HZ4_SAMPLE_PROFILE, mean, &hz4_profile_hooks);
  return 0;
}

int hz4_profile_end(void) {
  if (hz4_profile_mean() == 0) return EINVAL;
  hz4_sample_stop(HZ4_SAMPLE_PROFILE);
  return 0;
}

// ---- by the options ----

static void on_signal(int signal) {
  (void)signal;
  hz4_profile_write_due(HZ4_PROFILE_DUE_NUMBERED);
}

static bool leaks_are_wanted(void) {
  return (hz4_option.profile_leaks | hz4_option.profile_leaks_exit) != 0;
}

void hz4_profile_at_load(void) {
  bool writes = hz4_option.profile[0] != '\0';
  if (!writes && (hz4_option.profile_peak | hz4_option.profile_signal | hz4_option.profile_every_bytes) != 0) {
    hz4_warn("no heap profile: HZ4_PROFILE, which says where to, is not set", NULL);
  }
  if (!writes && !leaks_are_wanted()) return;
  hz4_profile_begin(0);
  if (writes && hz4_option.profile_signal != 0 && !hz4_file_listen((int)hz4_option.profile_signal, on_signal)) {
    hz4_warn("no profile by HZ4_PROFILE_SIGNAL: the signal is not to be had", NULL);
  }
}

void hz4_profile_at_exit(void) {
  if (hz4_profile_mean() == 0) return;
  if (hz4_option.profile[0] != '\0') hz4_profile_write_due(HZ4_PROFILE_DUE_EXIT);
  if (!leaks_are_wanted() || !hz4_profile_report_leaks(hz4_stderr(true))) return;
  // Exit again: what is left to be done at exit is done, and the streams are flushed.
  if (hz4_option.profile_leaks_exit != 0) exit((int)hz4_option.profile_leaks_exit);
}
