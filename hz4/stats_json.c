// One object of JSON (RFC 8259). docs/statistics.md is its schema.
#include "hz4/hz4.h"
#include "hz4/stats.h"
#include "hz4/syscall.h"

static void put(struct hz4_writer *w, const char *name, uint64_t number) {
  hz4_put_text(w, name);
  hz4_put_number(w, number);
}

static void put_classes(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put_text(w, ",\n \"classes\": [");
  struct hz4_stats_class class;
  const char *comma = "\n";
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    if (!hz4_stats_class(s, c, &class)) continue;
    hz4_put_text(w, comma);
    put(w, "  {\"object_bytes\": ", class.object_bytes);
    put(w, ", \"live_objects\": ", class.live_objects);
    put(w, ", \"cached_objects\": ", class.cached_objects);
    put(w, ", \"spans\": ", class.spans);
    put(w, ", \"span_bytes\": ", class.span_bytes);
    put(w, ", \"refills\": ", class.refills);
    put(w, ", \"purged_bytes\": ", class.purged_bytes);
    hz4_put_text(w, "}");
    comma = ",\n";
  }
  hz4_put_text(w, "]");
}

void hz4_stats_put_json(struct hz4_writer *w, const struct hz4_stats *s) {
  put(w, "{\"schema\": ", HZ4_STATS_SCHEMA);
  hz4_put_text(w, ", \"version\": \"" HZ4_VERSION_STRING "\"");
  put(w, ", \"pid\": ", (uint64_t)hz4_syscall(SYS_getpid, 0));
  hz4_put_text(w, HZ4_STATS_FAST ? ", \"fast_path_counters\": true" : ", \"fast_path_counters\": false");
  for (int range = 0; range < HZ4_RANGES; ++range) {
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      hz4_put_text(w, ",\n \"");
      hz4_put_text(w, hz4_stats_range_prefixes[range]);
      hz4_put_text(w, hz4_stats_counter_names[id]);
      put(w, "\": ", s->count[range][id]);
    }
  }
  put_classes(w, s);
#define PUT(group, key, value) put(w, ",\n \"" #group "_" #key "\": ", value);
  HZ4_STATS_TABLE(PUT)
#undef PUT
  hz4_put_text(w, "}\n");
}
