// Rank 9. OpenTelemetry's probes: while a tracer listens, sampled blocks are told of.
#ifndef HZ4_PROBES_H_
#define HZ4_PROBES_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

HZ4_BEGIN_DECLS

// How many listen: the kernel, or a debugger, writes them.
extern volatile uint16_t hz4_probe_alloc_semaphore, hz4_probe_free_semaphore;

extern _Atomic(bool) hz4_probes_on;

// Whether to call hz4_probes_follow.
HZ4_INLINE bool hz4_probes_are_due(void) {
  return (hz4_probe_alloc_semaphore != 0) != hz4_load_relaxed(&hz4_probes_on);
}

// Sampling begins, or ends, as tracers come and go. pre: no lock is held.
void hz4_probes_follow(void);

HZ4_END_DECLS

#endif  // HZ4_PROBES_H_
