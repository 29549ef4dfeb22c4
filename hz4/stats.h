// Rank 11. Sums what the layers count, and tells it: as a report for people, as JSON, as OpenMetrics, and by name.
// docs/statistics.md says what each name means. No stdio, no allocation.
//
// Live bytes cost the fast path nothing: they are what spans gave out, less what waits in bins, inboxes and depots. Exact
// where no thread is inside hz4; else off by what moves meanwhile.
#ifndef HZ4_STATS_H_
#define HZ4_STATS_H_

#include "hz4/base.h"
#include "hz4/counter.h"
#include "hz4/large.h"
#include "hz4/limit.h"
#include "hz4/meta.h"
#include "hz4/mid.h"
#include "hz4/os.h"
#include "hz4/segment.h"
#include "hz4/sizeclass.h"
#include "hz4/thread.h"
#include "hz4/writer.h"

HZ4_BEGIN_DECLS

// ---- what there is (stats.c) ----

struct hz4_stats {
  uint64_t count[HZ4_RANGES][HZ4_COUNTERS];
  uint64_t inbox_stash_max;
  struct hz4_thread_stats thread;
  struct hz4_mid_stats mid;
  struct hz4_large_stats large;
  struct hz4_segment_stats segment;
  struct hz4_meta_stats meta;
  struct hz4_os_stats os;
  struct hz4_limit_stats limit;
  // allocated + cached + free = active + purged inside; and with dirty, retained and metadata, mapped.
  uint64_t allocated_bytes, bin_bytes, inbox_bytes, cached_bytes, free_bytes, active_bytes, dirty_bytes, retained_bytes,
      metadata_bytes, resident_bytes;
  uint32_t waiting[HZ4_ZERO_CLASS + 1];  // objects in bins and inboxes, by size
};
void hz4_stats_gather(struct hz4_stats *s);
// What Mid, large blocks, segments and the system say of themselves, and nothing else. While other threads allocate they may
// differ by what these did.
void hz4_stats_gather_layers(struct hz4_stats *s);

// Of the size classes that differ only by home or use, together. False: nobody ever asked for that size.
struct hz4_stats_class {
  uint64_t object_bytes, live_objects, cached_objects, spans, span_bytes, refills, purged_bytes;
};
bool hz4_stats_class(const struct hz4_stats *s, uint32_t by_size, struct hz4_stats_class *out);

// X(group, name, expression of hz4_stats s). What is not per size range.
#define HZ4_STATS_TABLE(X)                                \
  X(allocated, bytes, s->allocated_bytes)                 \
  X(cached, bytes, s->cached_bytes)                       \
  X(cached, bin_bytes, s->bin_bytes)                      \
  X(cached, inbox_bytes, s->inbox_bytes)                  \
  X(cached, depot_bytes, s->mid.depot_bytes)              \
  X(free, bytes, s->free_bytes)                           \
  X(active, bytes, s->active_bytes)                       \
  X(dirty, bytes, s->dirty_bytes)                         \
  X(retained, bytes, s->retained_bytes)                   \
  X(metadata, bytes, s->metadata_bytes)                   \
  X(mapped, bytes, s->os.mapped_bytes)                    \
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
  X(segment, purged_inside_bytes, s->segment.purged_inside_bytes)       \
  X(segment, refaulted_bytes, s->segment.refaulted_bytes) \
  X(meta, mapped_bytes, s->meta.mapped_bytes)             \
  X(meta, used_bytes, s->meta.used_bytes)                 \
  X(os, mapped_bytes, s->os.mapped_bytes)                 \
  X(os, peak_bytes, s->os.peak_bytes)                     \
  X(os, mmap_calls, s->os.map_calls)                      \
  X(os, munmap_calls, s->os.unmap_calls)                  \
  X(os, mremap_calls, s->os.remap_calls)                  \
  X(os, purge_calls, s->os.purge_calls)                   \
  X(os, purged_bytes, s->os.purged_bytes)                 \
  X(os, failed_calls, s->os.failed_calls)                 \
  X(os, huge_bytes, s->os.huge_bytes)                     \
  X(limit, soft_bytes, s->limit.soft_bytes)               \
  X(limit, hard_bytes, s->limit.hard_bytes)               \
  X(limit, container_bytes, s->limit.container_bytes)     \
  X(limit, used_bytes, s->limit.used_bytes)               \
  X(limit, refused, s->limit.refused)                     \
  X(limit, trims, s->limit.trims)                         \
  X(resident, bytes, s->resident_bytes)

// Names of what is counted per size range.
extern const char *const hz4_stats_counter_names[HZ4_COUNTERS];
extern const char *const hz4_stats_range_prefixes[HZ4_RANGES];

HZ4_INLINE uint64_t hz4_stats_total(const struct hz4_stats *s, enum hz4_counter id) {
  return s->count[HZ4_RANGE_SMALL][id] + s->count[HZ4_RANGE_MID][id];
}

// While threads run, one of two counters may be older.
HZ4_INLINE uint64_t hz4_stats_minus(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

// ---- how it is told: stats_report.c, stats_json.c, stats_metrics.c ----

void hz4_stats_put_report(struct hz4_writer *w, const struct hz4_stats *s);
void hz4_stats_put_json(struct hz4_writer *w, const struct hz4_stats *s);
void hz4_stats_put_metrics(struct hz4_writer *w, const struct hz4_stats *s, bool pid);  // pid: is a label of all

// ---- where to (stats_file.c) ----

// At load, and at exit, by the options.
void hz4_stats_begin(void);
void hz4_stats_at_exit(void);

HZ4_END_DECLS

#endif  // HZ4_STATS_H_
