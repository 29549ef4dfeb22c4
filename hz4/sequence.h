// Rank 1. Sequences: the few instructions by which a thread works on the cache of the CPU that it runs on, without a lock.
//
// A cache's bin is an array of pointers with NULL in its first slot. Its state is one word, `top`: how far the newest
// pointer is from the cache. (`limit`, where the last usable slot is, changes only while the bin is claimed.) So each
// operation reads, decides, and commits by one store. Linux's restartable sequences (man 2 rseq) make that safe: a thread
// that is interrupted, moved or signalled before that store begins anew, maybe on another CPU.
//
//   pop    takes the newest object; NULL where the bin is empty
//   pop_counted  the same, and takes a size off `left`; NULL, and nothing is changed, also where that is less. (Who is
//          interrupted between these two stores takes it off twice.)
//   push   puts an object on top; false where the bin is full, or that object is on top already
//   swap   puts an object in the place of one of the newest, and takes that
//   claim  takes the whole bin away: whoever commits HZ4_TOP_CLAIMED has the array for himself, wherever he goes on
//   add    adds to a counter
//
// Which cache it is tells an id in the thread's area, a struct of the kernel's (mm_cid: the kernel hands out numbers
// from 0 to the threads of the process that run at the same time, each to one). A thread with a cache of its own has a
// stand-in for that area, in which the id never changes; the instructions are the same, and nobody interferes.
//
// top's special values lead to zeros, and are no less than any limit: the bin is empty and full at once, so that none of
// them needs a test of its own. Memory that is all zero is a cache whose bins have no arrays.
#ifndef HZ4_SEQUENCE_H_
#define HZ4_SEQUENCE_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

#define HZ4_TOP_NONE ((uintptr_t)0)             // no array; the limit is 0 too
#define HZ4_TOP_CLAIMED ((uintptr_t)-16)        // somebody works on the bin
#define HZ4_TOP_CLAIMED_REMOTE ((uintptr_t)-32)   // somebody does who does not run on this CPU (see bin.h)

// Where a cache's tops and limits begin, and how far caches are from each other: the assembly has them as numbers.
#define HZ4_CACHE_TOP_OFFSET 8
#define HZ4_CACHE_LIMIT_OFFSET 1008
// Its bins, of which each begins with the address of the array, lie so far from each other.
#define HZ4_CACHE_BINS_OFFSET 2008
#define HZ4_CACHE_BIN_BYTES 16
// How many bytes are left until its next sample, a signed word.
#define HZ4_CACHE_LEFT_OFFSET 4008
#define HZ4_CACHE_SHIFT 13
#define HZ4_CACHE_BYTES ((size_t)1 << HZ4_CACHE_SHIFT)
// Zeros before a cache: what HZ4_TOP_CLAIMED and _REMOTE lead to.
#define HZ4_CACHE_ZEROS 64

// The kernel's struct rseq (linux/rseq.h) as far as Linux 6.3 has it.
struct hz4_area {
  uint32_t cpu_id_start, cpu_id;
  uint64_t sequence;  // rseq_cs: the descriptor of the sequence that runs, or ran last
  uint32_t flags, node_id;
  int32_t id;  // mm_cid; HZ4_AREA_NO_ID in a stand-in
} __attribute__((aligned(32)));

// The cache of this id lies just before `caches`.
#define HZ4_AREA_NO_ID (-1)

// What a thread knows of its cache. A signal's handler may attach the thread between the two loads of a sequence: then it
// finds the old area, whose id is HZ4_AREA_NO_ID, and new caches, and before these lies one without arrays.
struct hz4_front {
  struct hz4_area *area;
  char *caches;     // of id 0
  uintptr_t ahead;  // free fetches the line at the object plus this: 0, or HZ4_NOWHERE to fetch nothing
  uint32_t claims;      // bins that this thread has claimed
  uint8_t overflow_run;  // overflows since the last miss, up to HZ4_AHEAD_OVERFLOWS
  bool ended;            // it had a cache of its own, and gets none again
  bool lent;             // a child of vfork has the thread's memory, and gets none either (vfork.c)
  bool starting;         // it makes hz4 ready, and gets none meanwhile
};
extern __thread struct hz4_front hz4_front __attribute__((tls_model("initial-exec")));

// The cache that a sequence would work on, if it ran now.
HZ4_INLINE char *hz4_sequence_cache(void) {
  int32_t id = *(volatile int32_t *)&hz4_front.area->id;
  return hz4_front.caches + (intptr_t)id * (intptr_t)HZ4_CACHE_BYTES;
}

struct hz4_claim {
  char *cache;
  uintptr_t top;  // what it was; HZ4_TOP_CLAIMED and _REMOTE: somebody else has the bin
};

// How far below the newest of so many objects lies what swap takes: each of the newest HZ4_SWAP_OBJECTS is as likely.
HZ4_INLINE uint64_t hz4_sequence_depth(uint64_t objects, uint32_t random) {
  return (objects < HZ4_SWAP_OBJECTS ? objects : HZ4_SWAP_OBJECTS) * random >> 32;
}

// ThreadSanitizer does not see what the assembly does: it is told that an object goes from who frees it to who gets it.
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
HZ4_BEGIN_DECLS
void __tsan_acquire(void *address);
void __tsan_release(void *address);
HZ4_END_DECLS
#define HZ4_SEQUENCE_ACQUIRE(address) __tsan_acquire(address)
#define HZ4_SEQUENCE_RELEASE(address) __tsan_release(address)
#else
#define HZ4_SEQUENCE_ACQUIRE(address) ((void)(address))
#define HZ4_SEQUENCE_RELEASE(address) ((void)(address))
#endif

#if defined(HZ4_SEQUENCE_MODEL)
#include "hz4/weave/sequence_model.h"
#elif defined(__x86_64__)
#include "hz4/sequence_x86_64.h"
#elif defined(__aarch64__)
#include "hz4/sequence_aarch64.h"
#else
#include "hz4/sequence_plain.h"
#endif

#endif  // HZ4_SEQUENCE_H_
