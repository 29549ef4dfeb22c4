// Rank 2. Shards: CPUs that share a last-level cache, up to HZ4_SHARD_CPUS of them, share depots, spans and segments, and
// share them with no others.
//
// A thread's shard is that of the CPU which it runs on, as its area says (sequence.h). It is a hint: the thread may be on another
// one a moment later, and then works on what is farther away. There is one shard, 0, until it is known that there are more;
// threads whose CPU is not known are at shard 0.
#ifndef HZ4_SHARD_H_
#define HZ4_SHARD_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/sequence.h"

HZ4_BEGIN_DECLS

extern struct hz4_shards {
  _Atomic(uint32_t) count;                     // 0: not known yet
  _Atomic(uint8_t) of_cpu[HZ4_SHARD_CPUS_MAX];  // by the CPU's number, modulo
} hz4_shards;

// Where Linux tells of CPUs (Documentation/ABI/stable/sysfs-devices-system-cpu).
#define HZ4_SHARD_ROOT "/sys/devices/system/cpu"

// Finds out, once: `split` shards by the CPU's number, modulo; or, where it is 0, as `root` tells, of at most 200 characters,
// by three system calls for each last-level cache and three more. Any thread; two at once find the same.
void hz4_shard_find(uint32_t split, const char *root);

// For a stand-in of an area: the CPU that the thread runs on now.
uint32_t hz4_shard_cpu(void);

HZ4_END_DECLS

HZ4_INLINE bool hz4_shard_is_known(void) {
  return hz4_load_relaxed(&hz4_shards.count) != 0;
}

HZ4_INLINE uint32_t hz4_shard_count(void) {
  uint32_t count = hz4_load_acquire(&hz4_shards.count);  // pairs with hz4_shard_find: the table
  return count != 0 ? count : 1;
}

// Where the thread is.
HZ4_INLINE uint32_t hz4_shard_here(void) {
  if (HZ4_LIKELY(hz4_shard_count() == 1)) return 0;
  uint32_t cpu = *(volatile uint32_t *)&hz4_front.area->cpu_id;
  return hz4_load_relaxed(&hz4_shards.of_cpu[cpu % HZ4_SHARD_CPUS_MAX]);
}

#endif  // HZ4_SHARD_H_
