#include "hz4/stats.h"

#include <string.h>

#include "hz4/counter.h"
#include "hz4/large.h"
#include "hz4/limit.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/options.h"
#include "hz4/os.h"
#include "hz4/segment.h"
#include "hz4/thread.h"
#include "hz4/writer.h"

struct snapshot {
  uint64_t count[HZ4_RANGES][HZ4_COUNTERS];
  uint64_t inbox_stash_max;
  struct hz4_thread_stats thread;
  struct hz4_mid_stats mid;
  struct hz4_large_stats large;
  struct hz4_segment_stats segment;
  struct hz4_meta_stats meta;
  struct hz4_os_stats os;
  struct hz4_limit_stats limit;
};

static void add_cache(struct snapshot *s, struct hz4_tcache *cache) {
  for (int range = 0; range < HZ4_RANGES; ++range) {
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      s->count[range][id] += hz4_load_relaxed(&cache->counters.value[range][id]);
    }
  }
  uint64_t stash = hz4_load_relaxed(&cache->inbox_stash_max);
  if (stash > s->inbox_stash_max) s->inbox_stash_max = stash;
}

static void take_snapshot(struct snapshot *s) {
  *s = (struct snapshot){0};
  add_cache(s, &hz4_no_cache.cache);
  for (struct hz4_tcache *cache = hz4_cache_list(); cache != NULL; cache = cache->next_listed) add_cache(s, cache);
  hz4_thread_stats(&s->thread);
  hz4_mid_stats(&s->mid);
  hz4_large_stats(&s->large);
  hz4_segment_stats(&s->segment);
  hz4_meta_stats(&s->meta);
  hz4_os_stats(&s->os);
  hz4_limit_stats(&s->limit);
}

void hz4_stats_heap(struct hz4_stats_heap *out) {
  struct hz4_mid_stats mid;
  struct hz4_large_stats large;
  struct hz4_segment_stats segment;
  struct hz4_os_stats os;
  hz4_mid_stats(&mid);
  hz4_large_stats(&large);
  hz4_segment_stats(&segment);
  hz4_os_stats(&os);
  uint64_t idle = mid.free_bytes + mid.depot_bytes;
  *out = (struct hz4_stats_heap){
      .used_bytes = segment.used_bytes,
      .idle_bytes = idle < segment.used_bytes ? idle : segment.used_bytes,
      .dirty_bytes = segment.dirty_bytes,
      .clean_bytes = segment.clean_bytes,
      .spans = mid.spans,
      .large_blocks = large.allocs - large.frees,
      .large_live_bytes = large.live_mapped_bytes,
      .large_cached_bytes = large.cached_bytes,
      .peak_bytes = os.peak_bytes,
  };
}

// ---- the values that have a name ----

// X(group, name, expression of snapshot s). What is not per size range.
#define GAUGE_TABLE(X)                                    \
  X(inbox, stash_max, s->inbox_stash_max)                 \
  X(thread, attached, s->thread.attached)                 \
  X(thread, caches, s->thread.caches)                     \
  X(thread, by_cpu, s->thread.by_cpu)                     \
  X(heap, spans, s->mid.spans)                            \
  X(heap, span_bytes, s->mid.span_bytes)                  \
  X(heap, free_bytes, s->mid.free_bytes)                  \
  X(heap, depot_objects, s->mid.depot_objects)            \
  X(heap, depot_bytes, s->mid.depot_bytes)                \
  X(large, allocs, s->large.allocs)                       \
  X(large, frees, s->large.frees)                         \
  X(large, cache_hits, s->large.cache_hits)               \
  X(large, live_mapped_bytes, s->large.live_mapped_bytes) \
  X(large, cached_bytes, s->large.cached_bytes)           \
  X(large, retained_bytes, s->large.retained_bytes)       \
  X(large, keep_bytes, s->large.keep_bytes)               \
  X(large, moved, s->large.moved)                         \
  X(large, grown_in_place, s->large.grown_in_place)       \
  X(segment, count, s->segment.segments)                  \
  X(segment, used_bytes, s->segment.used_bytes)           \
  X(segment, peak_used_bytes, s->segment.peak_used_bytes) \
  X(segment, dirty_bytes, s->segment.dirty_bytes)         \
  X(segment, clean_bytes, s->segment.clean_bytes)         \
  X(segment, acquired, s->segment.acquired)               \
  X(segment, released, s->segment.released)               \
  X(segment, purged_runs, s->segment.purged_runs)         \
  X(segment, hollow_bytes, s->segment.hollow_bytes)       \
  X(segment, regretted_bytes, s->segment.regretted_bytes) \
  X(meta, mapped_bytes, s->meta.mapped_bytes)             \
  X(meta, used_bytes, s->meta.used_bytes)                 \
  X(os, mapped_bytes, s->os.mapped_bytes)                 \
  X(os, peak_bytes, s->os.peak_bytes)                     \
  X(os, mmap_calls, s->os.map_calls)                       \
  X(os, munmap_calls, s->os.unmap_calls)                   \
  X(os, mremap_calls, s->os.remap_calls)                   \
  X(os, purge_calls, s->os.purge_calls)                   \
  X(os, purged_bytes, s->os.purged_bytes)                 \
  X(os, failed_calls, s->os.failed_calls)                 \
  X(limit, soft_bytes, s->limit.soft_bytes)               \
  X(limit, hard_bytes, s->limit.hard_bytes)               \
  X(limit, container_bytes, s->limit.container_bytes)     \
  X(limit, used_bytes, s->limit.used_bytes)               \
  X(limit, refused, s->limit.refused)                     \
  X(limit, trims, s->limit.trims)

static const char *const counter_names[] = {
#define NAME(name, meaning) #name,
    HZ4_COUNTER_TABLE(NAME)
#undef NAME
};

static const char *const range_prefixes[] = {"small_", "mid_"};

static uint64_t total(const struct snapshot *s, enum hz4_counter id) {
  return s->count[HZ4_RANGE_SMALL][id] + s->count[HZ4_RANGE_MID][id];
}

uint64_t hz4_stats_value(const char *name) {
  struct snapshot snapshot, *s = &snapshot;
  take_snapshot(s);
  for (int id = 0; id < HZ4_COUNTERS; ++id) {
    if (strcmp(name, counter_names[id]) == 0) return total(s, (enum hz4_counter)id);
    for (int range = 0; range < HZ4_RANGES; ++range) {
      size_t prefix = strlen(range_prefixes[range]);
      if (strncmp(name, range_prefixes[range], prefix) == 0 && strcmp(name + prefix, counter_names[id]) == 0) {
        return s->count[range][id];
      }
    }
  }
#define VALUE(group, key, value) \
  if (strcmp(name, #group "_" #key) == 0) return value;
  GAUGE_TABLE(VALUE)
#undef VALUE
  return UINT64_MAX;
}

// ---- text ----

// What only --config=stats counts is "n/a" elsewhere, never a zero that looks like a count.
static void put_fast(struct hz4_writer *w, const char *name, uint64_t number) {
  hz4_put_text(w, name);
  if (HZ4_STATS_FAST) hz4_put_grouped(w, number);
  else hz4_put_text(w, "n/a");
}

static void put(struct hz4_writer *w, const char *name, uint64_t number) {
  hz4_put_text(w, name);
  hz4_put_grouped(w, number);
}

// " (12.3%)" of `whole`, where mallocs and frees are counted.
static void put_share(struct hz4_writer *w, uint64_t part, uint64_t whole) {
  if (!HZ4_STATS_FAST || whole == 0) return;
  uint64_t hundredths = (part * 10000 + whole / 2) / whole;
  hz4_put_text(w, " (");
  hz4_put_number(w, hundredths / 100);
  hz4_put_text(w, hundredths % 100 < 10 ? ".0" : ".");
  hz4_put_number(w, hundredths % 100);
  hz4_put_text(w, "%)");
}

static uint64_t minus(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;  // while threads run, one of two counters may be older
}

static void put_calls(struct hz4_writer *w, const uint64_t *count) {
  uint64_t mallocs = count[HZ4_COUNT_malloc_calls], frees = count[HZ4_COUNT_free_calls];
  uint64_t served = count[HZ4_COUNT_refill_depot] + count[HZ4_COUNT_refill_span];
  uint64_t hits = minus(mallocs, count[HZ4_COUNT_refill_calls]);
  put_fast(w, " malloc_calls=", mallocs);
  put_fast(w, " malloc_alloc_cache_hit=", hits);
  put_share(w, hits, mallocs);
  put(w, " malloc_lock_path=", count[HZ4_COUNT_refill_lock]);
  put_share(w, count[HZ4_COUNT_refill_lock], mallocs);
  put(w, " malloc_bin_hit=", minus(served, count[HZ4_COUNT_span_opened]));
  put(w, " malloc_bin_miss=", minus(count[HZ4_COUNT_refill_lock], minus(served, count[HZ4_COUNT_span_opened])));
  put(w, " malloc_page_create=", count[HZ4_COUNT_span_opened]);
  put_fast(w, " free_calls=", frees);
  put_fast(w, " free_batch_enq=", minus(frees, count[HZ4_COUNT_direct_free]));
  put(w, " free_batch_flush=", count[HZ4_COUNT_flush_lock] + count[HZ4_COUNT_inbox_push]);
  hz4_put_text(w, "\n");
}

static void put_seed_lines(struct hz4_writer *w, const struct snapshot *s) {
  hz4_put_text(w, "[HZ4_MID_STATS_B1]");
  put_calls(w, s->count[HZ4_RANGE_MID]);
  hz4_put_text(w, "[HZ4_SMALL_STATS]");
  put_calls(w, s->count[HZ4_RANGE_SMALL]);
  hz4_put_text(w, "[HZ4_OS_STATS]");
  put(w, " remote_flush_calls=", total(s, HZ4_COUNT_flush_calls));
  put(w, " inbox_push_list=", total(s, HZ4_COUNT_inbox_push));
  put(w, " rlen_ge_th=", total(s, HZ4_COUNT_inbox_refused));
  put(w, " inbox_consume=", total(s, HZ4_COUNT_inbox_batches));
  put(w, " inbox_stash_max=", s->inbox_stash_max);
  put(w, " carry_miss=", total(s, HZ4_COUNT_inbox_spill));
  put(w, " seg_acq=", s->segment.acquired);
  put(w, " large_acq=", s->large.allocs);
  put(w, " large_rel=", s->large.frees);
  hz4_put_text(w, "\n[HZ4_OS_STATS_B9]");
  put(w, " ls_acq_self=", total(s, HZ4_COUNT_refill_inbox));
  put(w, " ls_acq_steal=", total(s, HZ4_COUNT_refill_steal));
  put(w, " ls_acq_miss=", total(s, HZ4_COUNT_refill_lock));
  put(w, " ls_rel_self=", total(s, HZ4_COUNT_flush_lock));
  put(w, " ls_rel_steal=", total(s, HZ4_COUNT_inbox_push));
  put(w, " ls_rel_miss=", total(s, HZ4_COUNT_inbox_refused));
  put(w, " p2_acq_self=", total(s, HZ4_COUNT_span_opened));
  put(w, " p2_rel_self=", total(s, HZ4_COUNT_span_closed));
  hz4_put_text(w, "\n");
}

void hz4_stats_write_text(int fd) {
  char buffer[512];
  struct hz4_writer writer = {buffer, sizeof(buffer), 0, 0, fd}, *w = &writer;
  struct snapshot snapshot, *s = &snapshot;
  take_snapshot(s);
  put_seed_lines(w, s);
  for (int range = 0; range < HZ4_RANGES; ++range) {
    hz4_put_text(w, range == HZ4_RANGE_SMALL ? "[HZ4_COUNTERS_SMALL]" : "[HZ4_COUNTERS_MID]");
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      hz4_put_text(w, " ");
      hz4_put_text(w, counter_names[id]);
      bool fast = id == HZ4_COUNT_malloc_calls || id == HZ4_COUNT_free_calls;
      if (fast) put_fast(w, "=", s->count[range][id]);
      else put(w, "=", s->count[range][id]);
    }
    hz4_put_text(w, "\n");
  }
  hz4_put_text(w, "[HZ4_HEAP]");
#define LINE(group, key, value) put(w, " " #group "_" #key "=", value);
  GAUGE_TABLE(LINE)
#undef LINE
  hz4_put_text(w, "\n");
  hz4_writer_flush(w);
}

static void put_json(struct hz4_writer *w) {
  struct snapshot snapshot, *s = &snapshot;
  take_snapshot(s);
  hz4_put_text(w, "{\"fast_path_counters\": ");
  hz4_put_text(w, HZ4_STATS_FAST ? "true" : "false");
  for (int range = 0; range < HZ4_RANGES; ++range) {
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      hz4_put_text(w, ", \"");
      hz4_put_text(w, range_prefixes[range]);
      hz4_put_text(w, counter_names[id]);
      hz4_put_text(w, "\": ");
      hz4_put_number(w, s->count[range][id]);
    }
  }
#define MEMBER(group, key, value)                  \
  hz4_put_text(w, ", \"" #group "_" #key "\": ");      \
  hz4_put_number(w, value);
  GAUGE_TABLE(MEMBER)
#undef MEMBER
  hz4_put_text(w, "}\n");
}

size_t hz4_stats_format_json(char *buffer, size_t size) {
  struct hz4_writer w = {buffer, size != 0 ? size - 1 : 0, 0, 0, -1};
  put_json(&w);
  if (size != 0) buffer[w.used] = '\0';
  return w.total;
}

void hz4_stats_write_options(int fd) {
  char buffer[512];
  struct hz4_writer w = {buffer, sizeof(buffer), 0, 0, fd};
  hz4_options_put_table(&w);
  hz4_writer_flush(&w);
}

void hz4_stats_at_exit(void) {
  int fd = hz4_option_now(&hz4_option.stats) != 0 ? hz4_stderr(true) : -1;
  if (fd < 0) return;
  if (hz4_option_now(&hz4_option.stats) == 1) {
    hz4_stats_write_text(fd);
  } else {
    char buffer[512];
    struct hz4_writer w = {buffer, sizeof(buffer), 0, 0, fd};
    put_json(&w);
    hz4_writer_flush(&w);
  }
}
