#include "cmd/figures.h"

#include <stdio.h>

#include "cmd/cmd.h"

enum { SCHEMA = 1 };  // what docs/statistics.md describes

static const char *const names[PARTS] = {
    [PART_LIVE] = "in use",          [PART_CACHES] = "in caches",      [PART_FRAGMENTS] = "between blocks",
    [PART_DEPOTS] = "in depots",     [PART_PAGES] = "free pages",      [PART_LARGE] = "free, large",
    [PART_META] = "hz4's own",
};

const char *figures_part_name(enum part part) { return names[part]; }

double figures_number(const struct figures *figures, const char *name) {
  return json_number(&figures->json, name, 0);
}

static double above_zero(double number) { return number > 0 ? number : 0; }

static void sum_up(struct figures *figures) {
  double *parts = figures->parts;
  parts[PART_LIVE] = figures_number(figures, "allocated_bytes");
  parts[PART_CACHES] = figures_number(figures, "cached_bin_bytes") + figures_number(figures, "cached_inbox_bytes");
  parts[PART_DEPOTS] = figures_number(figures, "cached_depot_bytes");
  // What is purged inside spans is free, and not resident.
  parts[PART_FRAGMENTS] =
      above_zero(figures_number(figures, "free_bytes") - figures_number(figures, "segment_purged_inside_bytes"));
  parts[PART_PAGES] = figures_number(figures, "segment_dirty_bytes");
  parts[PART_LARGE] = figures_number(figures, "large_cached_bytes");
  parts[PART_META] = figures_number(figures, "meta_mapped_bytes");
  for (int part = 0; part < PARTS; ++part) figures->sum += parts[part];
  figures->resident = figures_number(figures, "resident_bytes");
}

bool figures_read(const char *text, struct figures *figures, size_t *at, char *why) {
  *figures = (struct figures){0};
  if (!json_read(text, &figures->json, at)) {
    snprintf(why, FIGURES_WHY, "no JSON: it goes wrong at byte %zu", *at);
    return false;
  }
  double schema = figures_number(figures, "schema");
  if (schema == SCHEMA && json_number(&figures->json, "allocated_bytes", -1) >= 0) {
    sum_up(figures);
    return true;
  }
  if (schema != 0 && schema != SCHEMA)
    snprintf(why, FIGURES_WHY, "statistics of schema %.0f, and this command knows %d", schema, SCHEMA);
  else snprintf(why, FIGURES_WHY, "JSON, and no statistics of hz4's");
  json_free(&figures->json);
  return false;
}

void figures_free(struct figures *figures) { json_free(&figures->json); }

void figures_print(const struct figures *figures) {
  char text[16];
  for (int part = 0; part < PARTS; ++part) {
    if (figures->parts[part] == 0) continue;
    printf("%-16s %10s %4.0f%%\n", names[part], cmd_bytes(figures->parts[part], text),
           100 * figures->parts[part] / figures->sum);
  }
  printf("%-16s %10s\n", "together", cmd_bytes(figures->sum, text));
  if (figures->resident > 0) printf("%-16s %10s\n", "resident", cmd_bytes(figures->resident, text));
}
