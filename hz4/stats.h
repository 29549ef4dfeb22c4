// Rank 11. Sums the counters and prints them: the lines that the research hz4 printed, by the same names, and one line
// for each layer. docs/statistics.md says what each name means. No stdio, no allocation.
#ifndef HZ4_STATS_H_
#define HZ4_STATS_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

void hz4_stats_write_text(int fd);
// As snprintf: at most `size` bytes, NUL included; returns the length of the whole.
size_t hz4_stats_format_json(char *buffer, size_t size);
// UINT64_MAX for an unknown name.
uint64_t hz4_stats_value(const char *name);
void hz4_stats_write_options(int fd);

// What mallinfo2 tells, in bytes where nothing else is said. Each layer is looked at once and no cache at all, so that
// it takes the same time however many threads there are. While other threads allocate the layers may differ by what
// they did.
struct hz4_stats_heap {
  uint64_t used_bytes;   // of pages in spans
  uint64_t idle_bytes;   // of objects in them that nobody has, and no cache
  uint64_t dirty_bytes, clean_bytes;  // of free pages
  uint64_t spans;
  uint64_t large_blocks;  // a number
  uint64_t large_live_bytes, large_cached_bytes;
  uint64_t peak_bytes;  // the most that was ever mapped
};
void hz4_stats_heap(struct hz4_stats_heap *out);

// At exit, by the stats option.
void hz4_stats_at_exit(void);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_STATS_H_
