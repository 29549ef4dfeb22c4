// Rank 4. What HZ4_LIMIT says: SOFT[:HARD], each bytes with a suffix, or percent of the machine's memory, as 512M, 2G:3G,
// 80%:90%, 0:3G (0: none); or cgroup[:SHARE], SHARE percent (HZ4_LIMIT_CGROUP_PERCENT) of what the process's control groups and all
// above them allow: SOFT is that of the lesser of memory.high and memory.max, HARD that of memory.max.
#ifndef HZ4_LIMIT_OPTION_H_
#define HZ4_LIMIT_OPTION_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// Sets the limits that the text says; "": leaves them alone. False: it is no such text, and the limits are left alone. Any
// thread, any number of times.
bool hz4_limit_option_read(const char *text);

// Whether it is such a text, or "".
bool hz4_limit_option_holds(const char *text);

// Reads what the container has, for the caches. Likewise.
void hz4_limit_option_read_container(void);

HZ4_END_DECLS

#endif  // HZ4_LIMIT_OPTION_H_
