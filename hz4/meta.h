// Rank 3. Memory for hz4's own structures, away from user memory: a write after free cannot reach it.
//
// Blocks are multiples of HZ4_META_UNIT bytes and aligned to it. Up to HZ4_META_MAX_BYTES the memory stays readable for
// ever: a freed block may become another block, but its address never leaves the process. Larger blocks are mappings of
// their own. Lock: HZ4_RANK_META.
#ifndef HZ4_META_H_
#define HZ4_META_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/lock.h"

HZ4_BEGIN_DECLS

// pre: 0 < bytes. Zeroed. NULL when the system has no memory. Never waits for fork.
void *hz4_meta_alloc(size_t bytes);

// `bytes` as given to hz4_meta_alloc. Never fails, never waits for fork.
void hz4_meta_free(void *block, size_t bytes);

// Makes what a layer has for a shard, `bytes` of zeros, of which `begin` makes what it is to be. Of several threads at once all get
// what one of them has made. Where there is no memory, or fork is on: what shard 0 has, which is always there. first_lock: the
// first that fork takes of those in `shards`.
void *hz4_meta_make_shard(_Atomic(void *) *shards, uint32_t shard, size_t bytes, void (*begin)(void *made, uint32_t shard),
                          struct hz4_lock *first_lock);

// Bytes mapped for blocks of up to HZ4_META_MAX_BYTES, and of these the bytes in use.
struct hz4_meta_stats {
  uint64_t mapped_bytes, used_bytes;
};
void hz4_meta_stats(struct hz4_meta_stats *out);

// Walks all free lists. Aborts where one is broken.
void hz4_meta_check(void);

void hz4_meta_fork_prepare(void);
void hz4_meta_fork_parent(void);
void hz4_meta_fork_child(void);

HZ4_END_DECLS

#endif  // HZ4_META_H_
