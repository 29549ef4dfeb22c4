// Rank 1. What sequences need of the kernel (man 2 rseq, man 2 membarrier). Each may fail, and then threads have caches
// of their own. errno is kept.
#ifndef HZ4_RSEQ_H_
#define HZ4_RSEQ_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_area;

// How many ids there are: the kernel keeps no id in an area that is as large or larger. 0: it keeps none (before Linux
// 6.3), or does not say.
size_t hz4_rseq_ids(void);

// The calling thread's area, in which the kernel keeps its id: that of libc (glibc 2.35 and later). NULL: libc has none, or
// the kernel has not this one of this thread. One system call. (An area of our own would take static TLS, of which a library
// that is loaded late gets little, and would be in the way of a program that registers one.)
struct hz4_area *hz4_rseq_area(void);

// Restarts what sequences are running in this process: when it returns, none is that had begun before. All that the caller
// wrote before is seen by those that begin after. False: the kernel will not, and nothing is known.
bool hz4_rseq_restart_all(void);

HZ4_END_DECLS

#endif  // HZ4_RSEQ_H_
