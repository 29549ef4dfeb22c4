// What is still allocated at exit, by site, as text.
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

// As sanitizers have it, which tools read: "    #0 0x1234 in function+0x12 (file+0x234)".
static void put_frame(struct hz4_writer *w, uint32_t i, uintptr_t pc) {
  Dl_info info = {0};
  hz4_put(w, "    #%u 0x%lx", i, pc);
  if (dladdr != NULL && dladdr((void *)pc, &info) != 0) {
    if (info.dli_sname != NULL) hz4_put(w, " in %s+0x%lx", info.dli_sname, pc - (uintptr_t)info.dli_saddr);
    if (info.dli_fname != NULL) hz4_put(w, " (%s+0x%lx)", info.dli_fname, pc - (uintptr_t)info.dli_fbase);
  }
  hz4_put(w, "\n");
}

#define AMOUNT "about %'lu bytes in %'lu objects"

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
  struct hz4_writer w = {.buffer = hz4_exit_text, .size = sizeof(hz4_exit_text), .fd = fd};
  hz4_put(&w, "hz4: still allocated: " AMOUNT ", from %'lu call sites\n", bytes, hz4_profile_objects(parts), sites);
  for (int i = 0; i < HZ4_PROFILE_LEAK_SITES && largest[i] != NULL; ++i) {
    hz4_put(&w, "hz4: " AMOUNT " from\n", live(largest[i]), hz4_profile_objects(hz4_load_relaxed(&largest[i]->live_parts)));
    for (uint32_t n = 0; n < largest[i]->depth && n < HZ4_PROFILE_LEAK_FRAMES; ++n) put_frame(&w, n, largest[i]->stack[n]);
  }
  hz4_writer_flush(&w);
  return true;
}
