// The report for people, of at most 80 columns; and behind it the counters, a line for each layer.
#include "hz4/hz4.h"
#include "hz4/lock.h"
#include "hz4/stats.h"
#include "hz4/syscall.h"

// ---- the report ----

// part / whole in percent.
static uint64_t percent(uint64_t part, uint64_t whole) {
  return whole != 0 ? (uint64_t)((double)part * 100 / (double)whole + 0.5) : 0;
}

static void put_row(struct hz4_writer *w, const struct hz4_stats *s, const char *name, uint64_t bytes, const char *what) {
  hz4_put(w, "%s%'20lu%'5lu%%  %s", name, bytes, percent(bytes, s->os.mapped_bytes), what);
}

static void put_memory(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put(w, "hz4 " HZ4_VERSION_STRING ", process %u, caches of %s: %'lu\n", (unsigned)hz4_syscall(SYS_getpid, 0),
          s->thread.by_cpu != 0 ? "CPUs" : "threads", s->thread.caches);
  hz4_put(w, "                        bytes  share\n");
  put_row(w, s, "allocated", s->allocated_bytes, "blocks that the program has\n");
  put_row(w, s, "cached   ", s->cached_bytes, "free objects at hand: in caches\n");
  hz4_put(w, "                                     %'lu, sent %'lu, shared %'lu\n", s->bin_bytes, s->inbox_bytes,
          s->mid.depot_bytes);
  put_row(w, s, "free     ", s->free_bytes, "inside spans; without memory ");
  hz4_put(w, "%'lu\n", s->segment.purged_inside_bytes);
  put_row(w, s, "dirty    ", s->dirty_bytes, "free pages and large blocks that are kept\n");
  put_row(w, s, "retained ", s->retained_bytes, "free addresses, without memory\n");
  put_row(w, s, "metadata ", s->metadata_bytes, "hz4's own, touched where it is used\n");
  put_row(w, s, "mapped   ", s->os.mapped_bytes, "the sum; at most ");
  hz4_put(w, "%'lu\n", s->os.peak_bytes);
  hz4_put(w, "resident %'20lu        the whole process\n", s->resident_bytes);
  hz4_put(w, "purged   %'20lu        so far, by so many calls: %'lu\n", s->os.purged_bytes, s->os.purge_calls);
  hz4_put(w, "Fragmentation: %lu%% of %'lu resident bytes in use are not allocated.\n\n",
          percent(hz4_stats_minus(s->active_bytes, s->allocated_bytes), s->active_bytes), s->active_bytes);
}

static void put_class(struct hz4_writer *w, const struct hz4_stats_class *class, uint64_t live_bytes, uint64_t cached_bytes) {
  hz4_put(w, "%'13lu%'16lu%'4lu%%%'13lu%'11lu%'15lu\n", class->live_objects, live_bytes,
          percent(live_bytes, class->span_bytes), cached_bytes, class->refills, class->purged_bytes);
}

// Those that have a good share of the memory in spans, by size, and the sum of the others.
static void put_classes(struct hz4_writer *w, const struct hz4_stats *s) {
  hz4_put(w, "  size live objects      live bytes used       cached    refills         purged\n");
  struct hz4_stats_class others = {0}, class;
  uint64_t live_bytes = 0, cached_bytes = 0, count = 0;
  for (uint32_t c = 1; c <= HZ4_CLASS_COUNT; ++c) {
    if (!hz4_stats_class(s, c, &class)) continue;
    uint64_t live = class.live_objects * class.object_bytes, cached = class.cached_objects * class.object_bytes;
    if (class.span_bytes != 0 && class.span_bytes >= s->mid.span_bytes / HZ4_STATS_CLASSES_SHOWN) {
      hz4_put(w, "%'7lu", class.object_bytes);
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
    hz4_put(w, "others ");
    put_class(w, &others, live_bytes, cached_bytes);
  }
  hz4_put(w, " large %'13lu%'16lu     %'13lu\n\n", hz4_stats_minus(s->large.allocs, s->large.frees),
          s->large.live_mapped_bytes, s->large.cached_bytes);
}

// ---- the counters ----

// What only --config=stats counts is "n/a" elsewhere, never a zero that looks like a count.
static void put_fast(struct hz4_writer *w, const char *name, uint64_t number) {
  if (HZ4_STATS_FAST) hz4_put(w, " %s=%'lu", name, number);
  else hz4_put(w, " %s=n/a", name);
}

// " (12.3%)" of `whole`, where mallocs and frees are counted.
static void put_share(struct hz4_writer *w, uint64_t part, uint64_t whole) {
  if (!HZ4_STATS_FAST || whole == 0) return;
  uint64_t hundredths = (part * 10000 + whole / 2) / whole;
  hz4_put(w, " (%lu.%02lu%%)", hundredths / 100, hundredths % 100);
}

static void put_calls(struct hz4_writer *w, const uint64_t *count) {
  uint64_t mallocs = count[HZ4_COUNT_malloc_calls], frees = count[HZ4_COUNT_free_calls];
  uint64_t locked = count[HZ4_COUNT_refill_lock], opened = count[HZ4_COUNT_span_opened];
  uint64_t bin_hits = hz4_stats_minus(count[HZ4_COUNT_refill_depot] + count[HZ4_COUNT_refill_span], opened);
  uint64_t hits = hz4_stats_minus(mallocs, count[HZ4_COUNT_refill_calls]);
  put_fast(w, "malloc_calls", mallocs);
  put_fast(w, "malloc_alloc_cache_hit", hits);
  put_share(w, hits, mallocs);
  hz4_put(w, " malloc_lock_path=%'lu", locked);
  put_share(w, locked, mallocs);
  hz4_put(w, " malloc_bin_hit=%'lu malloc_bin_miss=%'lu malloc_page_create=%'lu", bin_hits, hz4_stats_minus(locked, bin_hits),
          opened);
  put_fast(w, "free_calls", frees);
  put_fast(w, "free_batch_enq", hz4_stats_minus(frees, count[HZ4_COUNT_direct_free]));
  hz4_put(w, " free_batch_flush=%'lu\n", count[HZ4_COUNT_flush_lock] + count[HZ4_COUNT_inbox_push]);
}

static void put_seed_lines(struct hz4_writer *w, const struct hz4_stats *s) {
#define TOTAL(name) hz4_stats_total(s, HZ4_COUNT_##name)
  hz4_put(w, "[HZ4_MID_STATS_B1]");
  put_calls(w, s->count[HZ4_RANGE_MID]);
  hz4_put(w, "[HZ4_SMALL_STATS]");
  put_calls(w, s->count[HZ4_RANGE_SMALL]);
  hz4_put(w, "[HZ4_OS_STATS] remote_flush_calls=%'lu inbox_push_list=%'lu rlen_ge_th=%'lu", TOTAL(flush_calls),
          TOTAL(inbox_push), TOTAL(inbox_refused));
  hz4_put(w, " inbox_consume=%'lu inbox_stash_max=%'lu carry_miss=%'lu", TOTAL(inbox_batches), s->inbox_stash_max,
          TOTAL(inbox_spill));
  hz4_put(w, " seg_acq=%'lu large_acq=%'lu large_rel=%'lu\n", s->segment.acquired, s->large.allocs, s->large.frees);
  hz4_put(w, "[HZ4_OS_STATS_B9] ls_acq_self=%'lu ls_acq_steal=%'lu ls_acq_miss=%'lu", TOTAL(refill_inbox),
          TOTAL(refill_steal), TOTAL(refill_lock));
  hz4_put(w, " ls_rel_self=%'lu ls_rel_steal=%'lu ls_rel_miss=%'lu", TOTAL(flush_lock), TOTAL(inbox_push),
          TOTAL(inbox_refused));
  hz4_put(w, " p2_acq_self=%'lu p2_rel_self=%'lu\n", TOTAL(span_opened), TOTAL(span_closed));
#undef TOTAL
}

// The longest times, by the locks' ranks: those that are not 0.
static void put_locks(struct hz4_writer *w) {
  if (!HZ4_STATS_FAST) return;
  static const char *const names[] = {"threads", "remote", "mid", "large", "segment", "meta"};
  hz4_put(w, "[HZ4_LOCKS]");
  for (int rank = HZ4_RANK_THREADS; rank <= HZ4_RANK_META; ++rank) {
    struct hz4_lock_times times = hz4_lock_longest((enum hz4_lock_rank)rank);
    const char *name = names[rank - HZ4_RANK_THREADS];
    if (times.held_ns != 0) hz4_put(w, " %s_held_ns=%'lu", name, times.held_ns);
    if (times.waited_ns != 0) hz4_put(w, " %s_waited_ns=%'lu", name, times.waited_ns);
  }
  hz4_put(w, "\n");
}

void hz4_stats_put_report(struct hz4_writer *w, const struct hz4_stats *s) {
  put_memory(w, s);
  put_classes(w, s);
  put_seed_lines(w, s);
  for (int range = 0; range < HZ4_RANGES; ++range) {
    hz4_put(w, range == HZ4_RANGE_SMALL ? "[HZ4_COUNTERS_SMALL]" : "[HZ4_COUNTERS_MID]");
    for (int id = 0; id < HZ4_COUNTERS; ++id) {
      bool fast = id == HZ4_COUNT_malloc_calls || id == HZ4_COUNT_free_calls;
      if (fast) put_fast(w, hz4_stats_counter_names[id], s->count[range][id]);
      else hz4_put(w, " %s=%'lu", hz4_stats_counter_names[id], s->count[range][id]);
    }
    hz4_put(w, "\n");
  }
  put_locks(w);
  hz4_put(w, "[HZ4_HEAP]");
#define PUT(group, key, value) hz4_put(w, " " #group "_" #key "=%'lu", value);
  HZ4_STATS_TABLE(PUT)
#undef PUT
  hz4_put(w, "\n");
}
