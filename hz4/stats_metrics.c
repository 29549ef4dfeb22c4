// The text that Prometheus, its node exporter's textfile collector and OpenTelemetry's collector read: OpenMetrics as they
// all have it, where the name of a counter is that of its sample (Prometheus's text format, version 0.0.4).
#include "hz4/hz4.h"
#include "hz4/options.h"
#include "hz4/stats.h"
#include "hz4/syscall.h"

struct metrics {
  struct hz4_writer *w;
  uint64_t pid;  // 0: is no label
};

static void put_family(const struct metrics *m, const char *name, const char *type, const char *help) {
  hz4_put(m->w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

// label: NULL: none.
static void put_sample(const struct metrics *m, const char *name, const char *label, const char *value_of_label,
                       uint64_t value) {
  const char *before = "{";
  hz4_put(m->w, "%s", name);
  if (label != NULL) {
    hz4_put(m->w, "{%s=\"%s\"", label, value_of_label);
    before = ",";
  }
  if (m->pid != 0) hz4_put(m->w, "%spid=\"%lu\"", before, m->pid);
  hz4_put(m->w, "%s %lu\n", label != NULL || m->pid != 0 ? "}" : "", value);
}

static void put(const struct metrics *m, const char *name, const char *type, uint64_t value, const char *help) {
  put_family(m, name, type, help);
  put_sample(m, name, NULL, NULL, value);
}

static void put_limit(const struct metrics *m, const char *kind, uint64_t bytes) {
  if (bytes != 0) put_sample(m, "hz4_limit_bytes", "kind", kind, bytes);
}

// X(name, type, help, member of hz4_stats_class)
#define CLASS_TABLE(X)                                                                                              \
  X("hz4_class_live_objects", "gauge", "Objects of this size that the program has.", live_objects)                  \
  X("hz4_class_cached_objects", "gauge", "Free objects of this size at hand.", cached_objects)                      \
  X("hz4_class_span_bytes", "gauge", "Bytes of the spans of objects of this size.", span_bytes)                     \
  X("hz4_class_refills_total", "counter", "Times that a cache asked the shared layer for objects of this size.", refills) \
  X("hz4_class_purged_bytes_total", "counter", "Bytes given back inside spans of this size.", purged_bytes)

static void put_classes(const struct metrics *m, const struct hz4_stats *s) {
  struct hz4_stats_class class;
  char digits[21];
#define PUT(name, type, help, member)                                          \
  put_family(m, name, type, help);                                             \
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {                            \
    if (!hz4_stats_class(s, c, &class)) continue;                              \
    hz4_format(digits, sizeof(digits), "%lu", class.object_bytes);             \
    put_sample(m, name, "object_bytes", digits, class.member);                 \
  }
  CLASS_TABLE(PUT)
#undef PUT
}

void hz4_stats_put_metrics(struct hz4_writer *w, const struct hz4_stats *s, bool pid) {
  const struct metrics metrics = {w, pid ? (uint64_t)hz4_syscall(SYS_getpid, 0) : 0}, *m = &metrics;
  put_family(m, "hz4_info", "gauge", "The version of hz4, as a label; 1.");
  put_sample(m, "hz4_info", "version", HZ4_VERSION_STRING, 1);
  put(m, "hz4_allocated_bytes", "gauge", s->allocated_bytes, "Bytes of the blocks that the program has.");
  put(m, "hz4_active_bytes", "gauge", s->active_bytes, "Bytes of spans and large blocks in use that hold memory.");
  put(m, "hz4_free_bytes", "gauge", s->free_bytes, "Free bytes inside of these spans, with memory or without.");
  put_family(m, "hz4_cached_bytes", "gauge", "Bytes of free objects and blocks at hand.");
  put_sample(m, "hz4_cached_bytes", "where", "cache", s->bin_bytes);
  put_sample(m, "hz4_cached_bytes", "where", "inbox", s->inbox_bytes);
  put_sample(m, "hz4_cached_bytes", "where", "depot", s->mid.depot_bytes);
  put_sample(m, "hz4_cached_bytes", "where", "pages", s->segment.dirty_bytes);
  put_sample(m, "hz4_cached_bytes", "where", "large", s->large.cached_bytes);
  put(m, "hz4_retained_bytes", "gauge", s->retained_bytes, "Bytes of free addresses that are kept without memory.");
  put(m, "hz4_metadata_bytes", "gauge", s->metadata_bytes, "Bytes mapped for hz4's own structures.");
  put(m, "hz4_mapped_bytes", "gauge", s->os.mapped_bytes, "Bytes that hz4 has mapped.");
  put(m, "hz4_mapped_peak_bytes", "gauge", s->os.peak_bytes, "The most bytes that hz4 had mapped at once.");
  put(m, "hz4_resident_bytes", "gauge", s->resident_bytes, "Bytes of the whole process that are in memory.");
  if (s->limit.soft_bytes + s->limit.hard_bytes + s->limit.container_bytes != 0) {
    put_family(m, "hz4_limit_bytes", "gauge", "What hz4 keeps to, beyond what malloc fails, and what the container may have.");
    put_limit(m, "soft", s->limit.soft_bytes);
    put_limit(m, "hard", s->limit.hard_bytes);
    put_limit(m, "container", s->limit.container_bytes);
  }
  put(m, "hz4_caches", "gauge", s->thread.caches, "Caches, of CPUs or of threads.");
  put(m, "hz4_large_blocks", "gauge", hz4_stats_minus(s->large.allocs, s->large.frees), "Live blocks above 256 KiB.");
  put(m, "hz4_purged_bytes_total", "counter", s->os.purged_bytes, "Bytes given back to the system with their addresses kept.");
  put(m, "hz4_purge_calls_total", "counter", s->os.purge_calls, "System calls for that.");
  put(m, "hz4_map_calls_total", "counter", s->os.map_calls, "Calls of mmap.");
  put(m, "hz4_unmap_calls_total", "counter", s->os.unmap_calls, "Calls of munmap.");
  put(m, "hz4_failed_calls_total", "counter", s->os.failed_calls, "Calls for memory that the system refused.");
  put(m, "hz4_refills_total", "counter", hz4_stats_total(s, HZ4_COUNT_refill_calls), "Mallocs that found their cache empty.");
  put(m, "hz4_flushes_total", "counter", hz4_stats_total(s, HZ4_COUNT_flush_calls), "Frees that found their cache full.");
  if (hz4_option_now(&hz4_option.stats_classes) != 0) put_classes(m, s);
  hz4_put(w, "# EOF\n");
}
