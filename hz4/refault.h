// Rank 4. Refaults and thrashing: memory was given back to the system, and wanted again soon after.
//
// To purge and to fault in again costs more than most programs do with the memory in between. So where use swings, as that
// of a queue between threads does, or of a garbage collector, what falls free is better kept for the next swing; where use
// has fallen for good it is not. Who purges to stay within a bound says so, and so does who takes purged memory into use.
// What is wanted within HZ4_REFAULT_MS of a purge is added up; when it comes to more than a quarter of what was ever in use
// at once, in at least HZ4_THRASHING_SWINGS swings (a swing: purges, and then wants), there is thrashing: the bounds are
// wider, and nothing is a decline. It is over, and the sums too, when nothing was wanted so soon for ten times as long. With
// HZ4_REFAULT_MS=0 there never is any.
//
// The clock is read when memory is purged, when purged memory is used, and, once enough was wanted, when a bound is passed
// or a class has declined: not otherwise. What is kept stays until hz4 is next called: there is no background thread. Any
// thread, no lock; two threads may interleave as they like, for the answers are hints.
#ifndef HZ4_REFAULT_H_
#define HZ4_REFAULT_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

// Memory was purged just now, and not because the program asked for it.
void hz4_refault_purged(void);

// Memory that was purged once is taken into use. True: and it is thrashing.
bool hz4_refault_wanted(size_t bytes);

// So much was in use at once, more than ever before. What is wanted again is measured by it.
void hz4_refault_peak(size_t bytes);

// Whether there is thrashing now.
bool hz4_refault_is_thrashing(void);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_REFAULT_H_
