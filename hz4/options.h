// Rank 3. What a user may set, from the environment, read once before the first cache is used.
//
// One table makes the parser, the listing and the defaults. A value out of range, a value that is no number and a
// variable that begins with HZ4_ but is in no table are reported on stderr, once, and otherwise ignored.
#ifndef HZ4_OPTIONS_H_
#define HZ4_OPTIONS_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

// X(field, environment variable, default, least, greatest, meaning)
#define HZ4_OPTION_TABLE(X)                                                                                       \
  X(stats, "HZ4_STATS", 0, 0, 2, "print statistics on stderr at exit: 1 as lines, 2 as JSON")                       \
  X(tcache_kib, "HZ4_TCACHE_KIB", 524288, 0, 16777216, "KiB that all caches together may hold")               \
  X(dirty_kib, "HZ4_DIRTY_KIB", 4096, 0, 16777216, "KiB of free pages kept from the system, whatever is in use")    \
  X(dirty_shift, "HZ4_DIRTY_SHIFT", 4, 0, 63, "free pages kept besides: bytes in use / 2^this")                     \
  X(regret_ms, "HZ4_REGRET_MS", 100, 0, 10000, "memory wanted again so soon after it went back is kept the next time")    \
  X(huge_pages, "HZ4_HUGE_PAGES", 0, 0, 1, "ask the system for huge pages, for speed at the price of memory: 1 yes")     \
  X(harden, "HZ4_HARDEN", 0, 0, 1, "check every free at once, at the price of a lock for each malloc and free: 1 yes") \
  X(front, "HZ4_FRONT", 0, 0, 1, "caches belong to CPUs (0, or cpu), where the system allows it, or to threads (1, or thread)") \
  X(inbox, "HZ4_INBOX", 1, 0, 1, "return batches of freed objects to the cache that allocates them: 1 yes, 0 no")

enum { HZ4_FRONT_CPU, HZ4_FRONT_THREAD };

#define HZ4_OPTION_FIELD(field, name, initial, least, greatest, meaning) uint64_t field;
struct hz4_option_values {
  HZ4_OPTION_TABLE(HZ4_OPTION_FIELD)
};
#undef HZ4_OPTION_FIELD

// Constant after hz4_options_parse.
extern struct hz4_option_values hz4_option;

// Reads `environment` (NULL-terminated, as environ; NULL: nothing is set). Calls warn(what, detail) for each complaint.
void hz4_options_parse(char *const *environment, void (*warn)(const char *what, const char *detail));

// The table as text, one option a line, through `write(context, text)`.
void hz4_options_list(void (*write)(void *context, const char *text), void *context);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_OPTIONS_H_
