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

// At exit, by the stats option.
void hz4_stats_at_exit(void);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_STATS_H_
