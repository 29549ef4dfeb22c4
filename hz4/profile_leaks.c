#include "hz4/profile_leaks.h"

#include <dlfcn.h>

#include "hz4/profile.h"
#include "hz4/writer.h"

// A static program has none.
#pragma weak dladdr

static uint64_t live(const struct hz4_profile_site *site) {
  return hz4_load_relaxed(&site->live_bytes);
}

// Keeps the largest, in falling order; the last may drop out.
static void insert(struct hz4_profile_site **largest, struct hz4_profile_site *site) {
  for (int i = 0; i < HZ4_PROFILE_LEAK_SITES; ++i) {
    struct hz4_profile_site *there = largest[i];
    if (there != NULL && live(there) >= live(site)) continue;
    largest[i] = site;
    if (there == NULL) return;
    site = there;
  }
}

static void put_hex(struct hz4_writer *w, uintptr_t number) {
  char digits[2 * sizeof(number) + 1], *start = digits + sizeof(digits) - 1;
  *start = '\0';
  do *--start = "0123456789abcdef"[number % 16];
  while ((number /= 16) != 0);
  hz4_put_text(w, "0x");
  hz4_put_text(w, start);
}

// As sanitizers have it, which tools read: "    #0 0x1234 in function+0x12 (file+0x234)".
static void put_frame(struct hz4_writer *w, uint32_t i, uintptr_t pc) {
  Dl_info info = {0};
  hz4_put_text(w, "    #");
  hz4_put_number(w, i);
  hz4_put_text(w, " ");
  put_hex(w, pc);
  if (dladdr != NULL && dladdr((void *)pc, &info) != 0) {
    if (info.dli_sname != NULL) {
      hz4_put_text(w, " in ");
      hz4_put_text(w, info.dli_sname);
      hz4_put_text(w, "+");
      put_hex(w, pc - (uintptr_t)info.dli_saddr);
    }
    if (info.dli_fname != NULL) {
      hz4_put_text(w, " (");
      hz4_put_text(w, info.dli_fname);
      hz4_put_text(w, "+");
      put_hex(w, pc - (uintptr_t)info.dli_fbase);
      hz4_put_text(w, ")");
    }
  }
  hz4_put_text(w, "\n");
}

static void put_amount(struct hz4_writer *w, uint64_t bytes, uint64_t parts) {
  hz4_put_text(w, "about ");
  hz4_put_grouped(w, bytes);
  hz4_put_text(w, " bytes in ");
  hz4_put_grouped(w, hz4_profile_objects(parts));
  hz4_put_text(w, " objects");
}

bool hz4_profile_report_leaks(int fd) {
  struct hz4_profile_site *largest[HZ4_PROFILE_LEAK_SITES] = {NULL};
  uint64_t sites = 0, bytes = 0, parts = 0;
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) {
    if (live(site) == 0) continue;
    ++sites;
    bytes += live(site);
    parts += hz4_load_relaxed(&site->live_parts);
    insert(largest, site);
  }
  if (sites == 0 || fd < 0) return sites != 0;
  char buffer[512];
  struct hz4_writer w = {buffer, sizeof(buffer), 0, 0, fd};
  hz4_put_text(&w, "hz4: still allocated: ");
  put_amount(&w, bytes, parts);
  hz4_put_text(&w, ", from ");
  hz4_put_grouped(&w, sites);
  hz4_put_text(&w, " call sites\n");
  for (int i = 0; i < HZ4_PROFILE_LEAK_SITES && largest[i] != NULL; ++i) {
    hz4_put_text(&w, "hz4: ");
    put_amount(&w, live(largest[i]), hz4_load_relaxed(&largest[i]->live_parts));
    hz4_put_text(&w, " from\n");
    for (uint32_t n = 0; n < largest[i]->depth && n < HZ4_PROFILE_LEAK_FRAMES; ++n) put_frame(&w, n, largest[i]->stack[n]);
  }
  hz4_writer_flush(&w);
  return true;
}
