// Rank 1. How much memory the process's control groups allow (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst).
//
// A group's limit holds for all groups below it: so the least of the group's own and its ancestors' counts. By bare system
// calls, and without an allocation: this is read while hz4 begins, when libc may not have begun.
#ifndef HZ4_CGROUP_H_
#define HZ4_CGROUP_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// Where Linux tells of a process's groups, and where systems mount them.
#define HZ4_CGROUP_OF_PROCESS "/proc/self/cgroup"
#define HZ4_CGROUP_ROOT "/sys/fs/cgroup"

// In bytes; UINT64_MAX: none.
struct hz4_cgroup_limits {
  uint64_t high;  // memory.high: beyond it the system takes memory back, and slows the process down
  uint64_t max;   // memory.max, or version 1's memory.limit_in_bytes: beyond it the process is killed
};

// Of the groups that the file `groups` names, and all above. NULL: of what is the root to this process, as its own group is
// in a container. `root` has at most 200 characters. What cannot be read limits nothing.
struct hz4_cgroup_limits hz4_cgroup_read(const char *groups, const char *root);

HZ4_END_DECLS

#endif  // HZ4_CGROUP_H_
