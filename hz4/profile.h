// Rank 11. The heap profile: what is allocated, and what was, by the stack that allocated it, estimated from samples
// (sample.h). docs/profiling.md is for users.
//
// A site is a stack, and sums of its samples, weighted so that they are unbiased; once there, it stays. A record is one
// live sample: its site, and for small objects a proxy. The sampled block itself lies apart from others of its size; the
// proxy, an object of the same class that nobody uses, was taken when it was and is freed when it is: so it keeps a span
// from its segment as the block would have. What it keeps says which sites fragment the heap.
//
// No lock: sites are found in chains that only grow, at their heads; records are never given back, but used again; sums are
// added to by single operations. So a sample may come and go on any thread, a fork copies nothing half done that matters
// (what another thread had begun is lost to the child), and a profile can be written in a signal's handler. It is exact for
// threads that are quiet, and at most a little stale for others.
#ifndef HZ4_PROFILE_H_
#define HZ4_PROFILE_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_profile_site {
  struct hz4_profile_site *next;  // in its chain; constant from here on
  uint64_t hash;
  uint32_t depth;
  // Estimates. Objects are counted in parts, 2^HZ4_PROFILE_PART_SHIFT to one.
  _Atomic(uint64_t) allocated_parts, allocated_bytes, live_parts, live_bytes;
  _Atomic(uint64_t) held_bytes;  // as hz4_profile_look_at_spans found it
  uintptr_t stack[];             // return addresses, innermost first
};

// The sites, one after the other: NULL begins, and NULL is the end. Those that come meanwhile may be left out.
struct hz4_profile_site *hz4_profile_next(const struct hz4_profile_site *site);

// How many objects so many parts are.
uint64_t hz4_profile_objects(uint64_t parts);

// The mean in bytes between samples.
size_t hz4_profile_mean(void);

// Finds out what each site's live objects hold: of the free memory in a span each of its objects that is out holds the
// same share. For small objects, up to 1/32 of the mean.
void hz4_profile_look_at_spans(void);

// What is told of samples.
struct hz4_sample_hooks;
extern const struct hz4_sample_hooks hz4_profile_hooks;

// 0, or the error as in errno. mean 0: HZ4_PROFILE_BYTES.
int hz4_profile_begin(size_t mean);
int hz4_profile_end(void);

enum hz4_profile_format { HZ4_PROFILE_FORMAT_PPROF, HZ4_PROFILE_FORMAT_TEXT };

// ---- as a file: profile_write.c ----
//
// A file is whole, or not there (file.h), and has mode 0600. None is written by a program with rights that who started it has
// not (AT_SECURE). It may be done in a signal's handler. One at a time: who finds another at it gives up.

// path NULL: to a new one, by HZ4_PROFILE.
int hz4_profile_save(const char *path, enum hz4_profile_format format);

// PREFIX is HZ4_PROFILE; the names are PREFIX.PID.NUMBER.pb, PREFIX.PID.peak.pb and PREFIX.PID.exit.pb; text has .heap in
// place of .pb. A failure is reported on stderr, the first one only.
enum hz4_profile_due { HZ4_PROFILE_DUE_NUMBERED, HZ4_PROFILE_DUE_PEAK, HZ4_PROFILE_DUE_EXIT };
void hz4_profile_write_due(enum hz4_profile_due due);

// ---- what is still allocated at exit, as text: profile_leaks.c ----

// Writes the sites that hold the most, and their stacks, to the descriptor (below 0: nowhere). False: nothing is allocated,
// as far as the samples tell. It asks the dynamic linker for names: only where no lock of libc's can be held.
// By one thread at a time.
bool hz4_profile_report_leaks(int fd);

// ---- when ----

// By the options, when all else has begun and before all else ends.
void hz4_profile_at_load(void);
void hz4_profile_at_exit(void);

HZ4_END_DECLS

#endif  // HZ4_PROFILE_H_
