// The report for people, of at most 80 columns; and behind it the counters, a line for each layer.
#include "hz4/hz4.h"
#include "hz4/lock.h"
#include "hz4/sizeclass.h"
#include "hz4/stats.h"
#include "hz4/syscall.h"

// ---- the report ----

// part / whole in percent.
static uint64_t percent(uint64_t part, uint64_t whole) {
  return whole != 0 ? (uint64_t)((double)part * 100 / (double)whole + 0.5) : 0;
}

static void put(struct hz4_writer *w, const char *before, uint64_t number) {
  hz4_put_text(w, before);
  hz4_put_grouped(w, number);
}

static void put_row(struct hz4_writer *w, const struct hz4_stats *s, const char *name, uint64_t bytes, const char *what) {
  hz4_put_text(w, name);
  hz4_put_column(w, bytes, 20);
  hz4_put_column(w, percent(bytes, s->os.mapped_bytes), 5);
  hz4_put_text(w, "%  ");
  hz4_put_text(w, what);
}

static void put_memory(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put_text(w, "hz4 " HZ4_VERSION_STRING ", process ");
  hz4_put_number(w, (uint64_t)hz4_syscall(SYS_getpid, 0));
  put(w, s->thread.by_cpu != 0 ? ", caches of CPUs: " : ", caches of threads: ", s->thread.caches);
  hz4_put_text(w, "\n                        bytes  share\n");
  put_row(w, s, "allocated", s->allocated_bytes, "blocks that the program has\n");
  put_row(w, s, "cached   ", s->cached_bytes, "free objects at hand: in caches\n");
  put(w, "                                     ", s->bin_bytes);
  put(w, ", sent ", s->inbox_bytes);
  put(w, ", shared ", s->mid.depot_bytes);
  hz4_put_text(w, "\n");
  put_row(w, s, "free     ", s->free_bytes, "inside spans; without memory ");
  put(w, "", s->segment.purged_inside_bytes);
  hz4_put_text(w, "\n");
  put_row(w, s, "dirty    ", s->dirty_bytes, "free pages and large blocks that are kept\n");
  put_row(w, s, "retained ", s->retained_bytes, "free addresses, without memory\n");
  put_row(w, s, "metadata ", s->metadata_bytes, "hz4's own, touched where it is used\n");
  put_row(w, s, "mapped   ", s->os.mapped_bytes, "the sum; at most ");
  put(w, "", s->os.peak_bytes);
  hz4_put_text(w, "\nresident ");
  hz4_put_column(w, s->resident_bytes, 20);
  hz4_put_text(w, "        the whole process\npurged   ");
  hz4_put_column(w, s->os.purged_bytes, 20);
  put(w, "        so far, by so many calls: ", s->os.purge_calls);
  hz4_put_text(w, "\n");
  hz4_put_number(w, percent(hz4_stats_minus(s->active_bytes, s->allocated_bytes), s->active_bytes));
  put(w, "% of the ", s->active_bytes);
  hz4_put_text(w, " bytes in use that hold memory are not allocated: fragmentation.\n\n");
}

static void put_class(struct hz4_writer *w, const struct hz4_stats_class *class, uint64_t live_bytes, uint64_t cached_bytes) {
  hz4_put_column(w, class->live_objects, 13);
  hz4_put_column(w, live_bytes, 16);
  hz4_put_column(w, percent(live_bytes, class->span_bytes), 4);
  hz4_put_text(w, "%");
  hz4_put_column(w, cached_bytes, 13);
  hz4_put_column(w, class->refills, 11);
  hz4_put_column(w, class->purged_bytes, 15);
  hz4_put_text(w, "\n");
}

// Those that have a good share of the memory in spans, by size, and the sum of the others.
static void put_classes(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put_text(w, "  size live objects      live bytes used       cached    refills         purged\n");
  struct hz4_stats_class others = {0}, class;
  uint64_t live_bytes = 0, cached_bytes = 0, count = 0;
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    if (!hz4_stats_class(s, c, &class)) continue;
    uint64_t live = class.live_objects * class.object_bytes, cached = class.cached_objects * class.object_bytes;
    if (class.span_bytes != 0 && class.span_bytes >= s->mid.span_bytes / HZ4_STATS_CLASSES_SHOWN) {
      hz4_put_column(w, class.object_bytes, 7);
      put_class(w, &class, live, cached);
      continue;
    }
    ++count;
    live_bytes += live;
    cached_bytes += cached;
    others.live_objects += class.live_objects;
    others.span_bytes += class.span_bytes;
    others.refills += class.refills;
    others.purged_bytes += class.purged_bytes;
  }
  if (count != 0) {
    hz4_put_text(w, "others ");
    put_class(w, &others, live_bytes, cached_bytes);
  }
  hz4_put_text(w, " large ");
  hz4_put_column(w, hz4_stats_minus(s->large.allocs, s->large.frees), 13);
  hz4_put_column(w, s->large.live_mapped_bytes, 16);
  hz4_put_text(w, "     ");
  hz4_put_column(w, s->large.cached_bytes, 13);
  hz4_put_text(w, "\n\n");
}

// ---- the counters ----

// What only --config=stats counts is "n/a" elsewhere, never a zero that looks like a count.
static void put_fast(struct hz4_writer *w, const char *name, uint64_t number) {
  hz4_put_text(w, name);
  if (HZ4_STATS_FAST) hz4_put_grouped(w, number);
  else hz4_put_text(w, "n/a");
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

static void put_calls(struct hz4_writer *w, const uint64_t *count) {
  uint64_t mallocs = count[HZ4_COUNT_malloc_calls], frees = count[HZ4_COUNT_free_calls];
  uint64_t served = count[HZ4_COUNT_refill_depot] + count[HZ4_COUNT_refill_span];
  uint64_t hits = hz4_stats_minus(mallocs, count[HZ4_COUNT_refill_calls]);
  put_fast(w, " malloc_calls=", mallocs);
  put_fast(w, " malloc_alloc_cache_hit=", hits);
  put_share(w, hits, mallocs);
  put(w, " malloc_lock_path=", count[HZ4_COUNT_refill_lock]);
  put_share(w, count[HZ4_COUNT_refill_lock], mallocs);
  put(w, " malloc_bin_hit=", hz4_stats_minus(served, count[HZ4_COUNT_span_opened]));
  put(w, " malloc_bin_miss=", hz4_stats_minus(count[HZ4_COUNT_refill_lock], hz4_stats_minus(served, count[HZ4_COUNT_span_opened])));
  put(w, " malloc_page_create=", count[HZ4_COUNT_span_opened]);
  put_fast(w, " free_calls=", frees);
  put_fast(w, " free_batch_enq=", hz4_stats_minus(frees, count[HZ4_COUNT_direct_free]));
  put(w, " free_batch_flush=", count[HZ4_COUNT_flush_lock] + count[HZ4_COUNT_inbox_push]);
  hz4_put_text(w, "\n");
}

static void put_seed_lines(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put_text(w, "[HZ4_MID_STATS_B1]");
  put_calls(w, s->count[HZ4_RANGE_MID]);
  hz4_put_text(w, "[HZ4_SMALL_STATS]");
  put_calls(w, s->count[HZ4_RANGE_SMALL]);
  hz4_put_text(w, "[HZ4_OS_STATS]");
  put(w, " remote_flush_calls=", hz4_stats_total(s, HZ4_COUNT_flush_calls));
  put(w, " inbox_push_list=", hz4_stats_total(s, HZ4_COUNT_inbox_push));
  put(w, " rlen_ge_th=", hz4_stats_total(s, HZ4_COUNT_inbox_refused));
  put(w, " inbox_consume=", hz4_stats_total(s, HZ4_COUNT_inbox_batches));
  put(w, " inbox_stash_max=", s->inbox_stash_max);
  put(w, " carry_miss=", hz4_stats_total(s, HZ4_COUNT_inbox_spill));
  put(w, " seg_acq=", s->segment.acquired);
  put(w, " large_acq=", s->large.allocs);
  put(w, " large_rel=", s->large.frees);
  hz4_put_text(w, "\n[HZ4_OS_STATS_B9]");
  put(w, " ls_acq_self=", hz4_stats_total(s, HZ4_COUNT_refill_inbox));
  put(w, " ls_acq_steal=", hz4_stats_total(s, HZ4_COUNT_refill_steal));
  put(w, " ls_acq_miss=", hz4_stats_total(s, HZ4_COUNT_refill_lock));
  put(w, " ls_rel_self=", hz4_stats_total(s, HZ4_COUNT_flush_lock));
  put(w, " ls_rel_steal=", hz4_stats_total(s, HZ4_COUNT_inbox_push));
  put(w, " ls_rel_miss=", hz4_stats_total(s, HZ4_COUNT_inbox_refused));
  put(w, " p2_acq_self=", hz4_stats_total(s, HZ4_COUNT_span_opened));
  put(w, " p2_rel_self=", hz4_stats_total(s, HZ4_COUNT_span_closed));
  hz4_put_text(w, "\n");
}

// The longest times, by the locks' ranks: those that are not 0.
static void put_locks(struct hz4_writer *w) {
  if (!HZ4_STATS_FAST) return;
  hz4_put_text(w, "[HZ4_LOCKS]");
#define PUT(rank, name)                                              \
  struct hz4_lock_times name = hz4_lock_longest(HZ4_RANK_##rank);    \
  if (name.held_ns != 0) put(w, " " #name "_held_ns=", name.held_ns); \
  if (name.waited_ns != 0) put(w, " " #name "_waited_ns=", name.waited_ns);
  HZ4_LOCK_RANKS(PUT)
#undef PUT
  hz4_put_text(w, "\n");
}

void hz4_stats_put_report(struct hz4_writer *w, const struct hz4_stats *s) {
  put_memory(w, s);
  put_classes(w, s);
  put_seed_lines(w, s);
  for (int range = 0; range < HZ4_RANGES; ++range) {
    hz4_put_text(w, range == HZ4_RANGE_SMALL ? "[HZ4_COUNTERS_SMALL]" : "[HZ4_COUNTERS_MID]");
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      hz4_put_text(w, " ");
      hz4_put_text(w, hz4_stats_counter_names[id]);
      bool fast = id == HZ4_COUNT_malloc_calls || id == HZ4_COUNT_free_calls;
      if (fast) put_fast(w, "=", s->count[range][id]);
      else put(w, "=", s->count[range][id]);
    }
    hz4_put_text(w, "\n");
  }
  put_locks(w);
  hz4_put_text(w, "[HZ4_HEAP]");
#define PUT(group, key, value) put(w, " " #group "_" #key "=", value);
  HZ4_STATS_TABLE(PUT)
#undef PUT
  hz4_put_text(w, "\n");
}
