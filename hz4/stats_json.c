// One object of JSON (RFC 8259). docs/statistics.md is its schema.
#include "hz4/hz4.h"
#include "hz4/stats.h"
#include "hz4/syscall.h"

static void put_classes(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put(w, ",\n \"classes\": [");
  struct hz4_stats_class class;
  const char *comma = "";
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    if (!hz4_stats_class(s, c, &class)) continue;
    hz4_put(w, "%s\n  {\"object_bytes\": %lu, \"live_objects\": %lu, \"cached_objects\": %lu, ", comma, class.object_bytes,
            class.live_objects, class.cached_objects);
    hz4_put(w, "\"spans\": %lu, \"span_bytes\": %lu, \"refills\": %lu, \"purged_bytes\": %lu}", class.spans, class.span_bytes,
            class.refills, class.purged_bytes);
    comma = ",";
  }
  hz4_put(w, "]");
}

void hz4_stats_put_json(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put(w, "{\"schema\": %u, \"version\": \"" HZ4_VERSION_STRING "\", \"pid\": %u, \"fast_path_counters\": %s",
          HZ4_STATS_SCHEMA, (unsigned)hz4_syscall(SYS_getpid, 0), HZ4_STATS_FAST ? "true" : "false");
  for (int range = 0; range < HZ4_RANGES; ++range) {
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      hz4_put(w, ",\n \"%s%s\": %lu", hz4_stats_range_prefixes[range], hz4_stats_counter_names[id], s->count[range][id]);
    }
  }
  put_classes(w, s);
#define PUT(group, key, value) hz4_put(w, ",\n \"" #group "_" #key "\": %lu", value);
  HZ4_STATS_TABLE(PUT)
#undef PUT
  hz4_put(w, "}\n");
}
