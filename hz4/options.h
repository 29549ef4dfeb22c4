// Rank 3. What a user may set: by the program itself, in a string named hz4_options, or by the environment, which wins. Read
// once before the first cache is used; some may be set later, by hz4_option_set.
//
// Two tables make the parser, the listing and the defaults. A value out of range, a value that is no number and a variable
// that begins with HZ4_ but is in no table are reported on stderr, once, and otherwise ignored.
//
// A number may be a word: yes, on, true, no, off, false where it is 0 or 1, and those of HZ4_OPTION_WORDS. Where the name
// ends in _KIB or _BYTES it is a size, and may have a suffix: K, M, G or T, or KiB, MiB, GiB, TiB, powers of 1,024 bytes.
#ifndef HZ4_OPTIONS_H_
#define HZ4_OPTIONS_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/writer.h"

HZ4_BEGIN_DECLS

// X(field, environment variable, default, least, greatest, meaning)
#define HZ4_OPTION_TABLE(X)                                                                                       \
  X(stats, "HZ4_STATS", 0, 0, 2, "print statistics on stderr at exit: 1 as text, 2 as JSON")                       \
  X(stats_seconds, "HZ4_STATS_SECONDS", 0, 0, 86400, "write them to HZ4_STATS_FILE, or to stderr, so often as well, while memory is used")    \
  X(stats_signal, "HZ4_STATS_SIGNAL", 0, 0, 64, "and when this signal comes: a number, or HUP, USR1 or USR2")        \
  X(stats_classes, "HZ4_STATS_CLASSES", 0, 0, 1, "a .prom file has figures of each object size too: 1 yes")         \
  X(verbose, "HZ4_VERBOSE", 0, 0, 1, "say on stderr at the start that hz4 is there, and what is set: 1 yes")       \
  X(tcache_kib, "HZ4_TCACHE_KIB", 524288, 0, 16777216, "KiB that all caches together may hold")               \
  X(dirty_kib, "HZ4_DIRTY_KIB", 4096, 0, 16777216, "KiB of free pages kept from the system, whatever is in use")    \
  X(dirty_shift, "HZ4_DIRTY_SHIFT", 4, 0, 63, "free pages kept besides: bytes in use / 2^this")                     \
  X(refault_ms, "HZ4_REFAULT_MS", 100, 0, 10000, "memory wanted again so soon after it went back is kept the next time")    \
  X(huge_pages, "HZ4_HUGE_PAGES", 2, 0, 2, "ask the system for huge pages where memory is used densely (2, or auto), for all of it (1, or all), or leave it alone (0, or never)") \
  X(harden, "HZ4_HARDEN", 0, 0, 2, "find wrong frees at once, delay reuse, order at random: 1; and wrong writes: 2") \
  X(guard_bytes, "HZ4_GUARD_BYTES", 0, 0, UINT64_C(1) << 50, "mean bytes between objects that lie between guard pages: 0 none, 100M or 8M") \
  X(guard_handler, "HZ4_GUARD_HANDLER", 0, 0, 1, "report faults at guards on stderr (HZ4_GUARD_BYTES, HZ4_HARDEN=2), by a handler of SIGSEGV: 1 yes") \
  X(report, "HZ4_REPORT", 0, 0, 1, "wrong use is the end (0, or abort), or, where that is safe, reported once for each place (1, or warn)") \
  X(front, "HZ4_FRONT", 0, 0, 1, "caches belong to CPUs (0, or cpu), where the system allows it, or to threads (1, or thread)") \
  X(shards, "HZ4_SHARDS", 0, 0, HZ4_SHARDS_MAX, "depots and segments by last-level cache (0), or as many, by the CPU's number modulo: for tests, and where the system does not tell") \
  X(inbox, "HZ4_INBOX", 1, 0, 1, "return batches of freed objects to the cache that allocates them: 1 yes, 0 no") \
  X(profile_bytes, "HZ4_PROFILE_BYTES", 524288, 1, UINT64_C(1) << 40, "bytes between samples of the heap profile, in the mean") \
  X(profile_every_bytes, "HZ4_PROFILE_EVERY_BYTES", 0, 0, UINT64_C(1) << 60, "write a heap profile each time so many bytes were allocated; 0 never") \
  X(profile_peak, "HZ4_PROFILE_PEAK", 0, 0, 1, "write a heap profile at each new peak of live memory: 1 yes") \
  X(profile_signal, "HZ4_PROFILE_SIGNAL", 0, 0, 64, "write a heap profile when this signal comes: a number, or HUP, USR1 or USR2") \
  X(profile_text, "HZ4_PROFILE_TEXT", 0, 0, 1, "write heap profiles as gperftools' text (1), or as pprof's profile.proto (0)") \
  X(profile_leaks, "HZ4_PROFILE_LEAKS", 0, 0, 1, "say on stderr at exit what is still allocated, by call site: 1 yes") \
  X(profile_leaks_exit, "HZ4_PROFILE_LEAKS_EXIT", 0, 0, 255, "say it, and if anything is, exit with this code; 0 leave it alone")

// X(field, environment variable, meaning). Text of fewer than HZ4_OPTION_TEXT_BYTES bytes; empty: not set.
#define HZ4_OPTION_TEXT_TABLE(X) \
  X(limit, "HZ4_LIMIT", "SOFT[:HARD], as 2G:3G or 80%, or cgroup[:90%]: what hz4 keeps to, and beyond what malloc fails") \
  X(stats_file, "HZ4_STATS_FILE", "write statistics there at exit: .json and .prom (Prometheus) by the name, %p is the process") \
  X(profile, "HZ4_PROFILE", "write heap profiles to files whose names begin so")

// X(field, word, number)
#define HZ4_OPTION_WORDS(X)           \
  X(front, "cpu", HZ4_FRONT_CPU)       \
  X(front, "thread", HZ4_FRONT_THREAD) \
  X(huge_pages, "never", 0)            \
  X(huge_pages, "all", 1)              \
  X(huge_pages, "auto", 2)             \
  X(harden, "off", 0)                  \
  X(harden, "on", 1)                   \
  X(report, "abort", 0)                \
  X(report, "warn", 1)                 \
  X(stats, "text", 1)                  \
  X(stats, "json", 2)                  \
  X(stats_signal, "HUP", SIGHUP)       \
  X(stats_signal, "USR1", SIGUSR1)     \
  X(stats_signal, "USR2", SIGUSR2)     \
  X(profile_signal, "HUP", SIGHUP)     \
  X(profile_signal, "USR1", SIGUSR1)   \
  X(profile_signal, "USR2", SIGUSR2)

enum { HZ4_FRONT_CPU, HZ4_FRONT_THREAD };

// X(field). What hz4_option_set may change: who reads one of these does so by hz4_option_now.
#define HZ4_OPTION_LATER(X) X(stats) X(tcache_kib) X(dirty_kib) X(refault_ms) X(inbox)

#define HZ4_OPTION_FIELD(field, name, initial, least, greatest, meaning) uint64_t field;
#define HZ4_OPTION_TEXT_FIELD(field, name, meaning) char field[HZ4_OPTION_TEXT_BYTES];
struct hz4_option_values {
  HZ4_OPTION_TABLE(HZ4_OPTION_FIELD)
  HZ4_OPTION_TEXT_TABLE(HZ4_OPTION_TEXT_FIELD)
};
#undef HZ4_OPTION_FIELD
#undef HZ4_OPTION_TEXT_FIELD

// Constant after hz4_options_parse, but for those of HZ4_OPTION_LATER.
extern struct hz4_option_values hz4_option;

// Not before hz4_options_parse: what comes first of all, before libc has begun, finds defaults that may not stay.
extern bool hz4_options_are_read;

HZ4_INLINE uint64_t hz4_option_now(const uint64_t *number) {
  return hz4_peek(number);
}

HZ4_INLINE void hz4_option_change(uint64_t *number, uint64_t value) {
  hz4_poke(number, value);
}

// Reads `own`, entries as those of the environment with blanks between them, and then `environment` (NULL-terminated, as
// environ). NULL: nothing is set. Calls warn(what, detail) for each complaint. pre: there is one thread.
void hz4_options_parse(const char *own, char *const *environment, void (*warn)(const char *what, const char *detail));

// What the program has set by a string of that name; or NULL.
const char *hz4_options_of_program(void);

// Bytes of a size at `text`: a number and maybe a suffix. Returns where it ends. NULL: it is none, or too large.
const char *hz4_options_parse_bytes(const char *text, uint64_t *bytes);

// 0; ENOENT: there is no such option; EINVAL: no value of it; EPERM: it is read at the start only. Any thread.
int hz4_options_set(const char *name, const char *value);

// The value. False: there is no such option.
bool hz4_options_put(const char *name, struct hz4_writer *w);

// The table, one option a line; and " NAME=value" for each that is not at its default.
void hz4_options_put_table(struct hz4_writer *w);
void hz4_options_put_changed(struct hz4_writer *w);

HZ4_END_DECLS

#endif  // HZ4_OPTIONS_H_
