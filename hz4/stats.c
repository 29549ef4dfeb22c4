#include "hz4/stats.h"

#include <string.h>

#include "hz4/hz4.h"
#include "hz4/inbox.h"
#include "hz4/os.h"
#include "hz4/sizeclass.h"
#include "hz4/transfer.h"

// ---- gathering ----

static void add_counters(struct hz4_stats *s, struct hz4_tcache *cache) {
  for (int range = 0; range < HZ4_RANGES; ++range) {
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      s->count[range][id] += hz4_load_relaxed(&cache->counters.value[range][id]);
    }
  }
  uint64_t stash = hz4_load_relaxed(&cache->inbox_stash_max);
  if (stash > s->inbox_stash_max) s->inbox_stash_max = stash;
}

// Objects that wait where no span knows of them. Few of thousands of caches were sent anything.
static void add_waiting(struct hz4_stats *s, struct hz4_tcache *cache) {
  bool sent_to = hz4_load_relaxed(&cache->sent_to);
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) {
    uint64_t in_bin = hz4_bin_objects_lately(cache, c), in_inbox = sent_to ? hz4_inbox_objects(&cache->inbox[c]) : 0;
    if (in_bin + in_inbox == 0) continue;
    s->waiting[hz4_class_by_size(c)] += (uint32_t)(in_bin + in_inbox);
    s->bin_bytes += in_bin * hz4_class_usable(c);
    s->inbox_bytes += in_inbox * hz4_class_usable(c);
  }
}

// Of the process, as the kernel has it: the second number of statm, in pages. 0: it does not say.
static uint64_t resident_bytes(void) {
  char text[64] = "";
  hz4_read_file("/proc/self/statm", text, sizeof(text) - 1);
  const char *at = strchr(text, ' ');
  if (at == NULL) return 0;
  ++at;
  return hz4_parse_digits(&at) * hz4_sys_page_bytes();
}

// Sums of what the layers said.
static void sum_up(struct hz4_stats *s) {
  s->cached_bytes = s->bin_bytes + s->inbox_bytes + s->mid.depot_bytes;
  s->allocated_bytes = hz4_stats_minus(s->mid.out_bytes, s->cached_bytes) + s->large.live_mapped_bytes;
  uint64_t in_use = s->segment.used_bytes + s->large.live_mapped_bytes;
  s->active_bytes = hz4_stats_minus(in_use, s->segment.purged_inside_bytes);
  s->free_bytes = hz4_stats_minus(in_use, s->allocated_bytes + s->cached_bytes);
  s->dirty_bytes = s->segment.dirty_bytes + s->large.cached_bytes;
  s->retained_bytes = s->segment.clean_bytes + s->large.retained_bytes + s->mid.nothing_bytes;
  s->metadata_bytes = hz4_stats_minus(s->os.mapped_bytes, in_use + s->dirty_bytes + s->retained_bytes);
}

void hz4_stats_gather_layers(struct hz4_stats *s) {
  *s = (struct hz4_stats){0};
  hz4_mid_stats(&s->mid);
  hz4_large_stats(&s->large);
  hz4_segment_stats(&s->segment);
  hz4_os_stats(&s->os);
}

void hz4_stats_gather(struct hz4_stats *s) {
  hz4_stats_gather_layers(s);
  add_counters(s, &hz4_no_cache.cache);
  for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) {
    add_counters(s, cache);
    add_waiting(s, cache);
  }
  for (uint32_t c = 1; c < HZ4_CLASS_SLOTS; ++c) {
    uint64_t held_back = hz4_transfer_waiting(c);
    s->waiting[hz4_class_by_size(c)] += (uint32_t)held_back;
    s->inbox_bytes += held_back * hz4_class_usable(c);
  }
  hz4_thread_stats(&s->thread);
  hz4_meta_stats(&s->meta);
  hz4_limit_stats(&s->limit);
  s->resident_bytes = resident_bytes();
  sum_up(s);
}

bool hz4_stats_class(const struct hz4_stats *s, uint32_t by_size, struct hz4_stats_class *out) {
  struct hz4_mid_stats mid = {0};
  for (uint32_t c = 1; c < HZ4_MID_CLASSES; ++c) {
    if (hz4_class_by_size(c) == by_size) hz4_mid_add_stats(c, &mid);
  }
  uint64_t object_bytes = hz4_class_bytes(by_size), cached = mid.depot_objects + s->waiting[by_size];
  *out = (struct hz4_stats_class){
      .object_bytes = object_bytes,
      .live_objects = hz4_stats_minus(hz4_stats_minus(mid.span_objects, mid.free_objects), cached),
      .cached_objects = cached,
      .span_bytes = mid.span_bytes,
      .spans = mid.spans,
      .refills = mid.takes,
      .purged_bytes = mid.purged_bytes,
  };
  return mid.takes != 0;
}

// ---- the values that have a name ----

const char *const hz4_stats_counter_names[] = {
#define NAME(name, meaning) #name,
    HZ4_COUNTER_TABLE(NAME)
#undef NAME
};

const char *const hz4_stats_range_prefixes[] = {"small_", "mid_"};

uint64_t hz4_stats_get(const char *name) {
  struct hz4_stats stats, *s = &stats;
  hz4_stats_gather(s);
  for (int id = 0; id < HZ4_COUNTERS; ++id) {
    if (strcmp(name, hz4_stats_counter_names[id]) == 0) return hz4_stats_total(s, (enum hz4_counter)id);
    for (int range = 0; range < HZ4_RANGES; ++range) {
      size_t prefix = strlen(hz4_stats_range_prefixes[range]);
      if (strncmp(name, hz4_stats_range_prefixes[range], prefix) == 0 && strcmp(name + prefix, hz4_stats_counter_names[id]) == 0) {
        return s->count[range][id];
      }
    }
  }
#define VALUE(group, key, value) \
  if (strcmp(name, #group "_" #key) == 0) return value;
  HZ4_STATS_TABLE(VALUE)
#undef VALUE
  return UINT64_MAX;
}
