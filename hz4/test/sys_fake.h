// A hostile kernel for tests, in place of sys_linux.c: real memory, with the failures, limits and places a test asks for.
//
// It keeps a ledger of what hz4 has mapped. A call that is not in whole pages (of page_bytes), or that touches memory
// which hz4 has not mapped, prints "hz4: sys_fake: ..." and aborts: a real kernel would have damaged somebody silently.
//
// Knobs may be set at any time, page_bytes only before the first call. All zero is an obliging kernel.
#ifndef HZ4_TEST_SYS_FAKE_H_
#define HZ4_TEST_SYS_FAKE_H_

#include "hz4/atomic.h"
#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hz4_sys_call { HZ4_SYS_MMAP, HZ4_SYS_MUNMAP, HZ4_SYS_PURGE, HZ4_SYS_MREMAP, HZ4_SYS_CALLS };

struct hz4_sys_fake {
  // knobs
  _Atomic(uint64_t) fail_every[HZ4_SYS_CALLS];  // calls number n, 2n, ... of the kind fail; 0: none
  _Atomic(size_t) limit_bytes;                  // mmap and mremap fail rather than have more mapped; 0: no limit
  _Atomic(size_t) page_bytes;                   // 0: the machine's own
  _Atomic(bool) odd_places;         // mmap takes no hint and never gives a multiple of 64 KiB, where pages are smaller
  _Atomic(bool) purge_keeps;        // purge says yes and does nothing, as qemu's
  _Atomic(bool) no_vectors;         // many runs cannot be purged by one call
  _Atomic(bool) no_guards;          // the system does not note guards
  _Atomic(bool) vain_guards;        // it says that it has noted them, and has not, as qemu
  _Atomic(bool) no_forbidding;      // pages stay accessible
  _Atomic(bool) low_places;         // mmap gives addresses below 2^39, as where there are no others
  _Atomic(uintptr_t) next_place;    // where the next mmap goes, if nothing is there; 0: anywhere
  _Atomic(size_t) high_bytes;       // an mmap of as much or more gives 53 bits of address, not to be touched; 0: none
  _Atomic(uint64_t) now_ns;         // the clock, which stands still; 0: there is none
  _Atomic(uint64_t) huge_ns;        // what a wish for huge pages takes by that clock
  _Atomic(bool) huge_always;        // huge pages come unasked
  _Atomic(bool) single_threaded;    // libc says so
  _Atomic(bool) secure;             // the program has rights that who started it has not
  _Atomic(bool) never_in_place;     // mremap without a target does not grow
  _Atomic(bool) refuses_mremap;     // by EPERM, as a filter of system calls does
  _Atomic(bool) failure_unmaps_to;  // an mremap that fails has unmapped its target before, as Linux may
  _Atomic(bool) several_mappings;   // what is to grow is several mappings: mremap fails as Linux does then, by EFAULT
  _Atomic(size_t) address_limit;    // 0: none
  void (*before_move)(void *base);  // called before a mapping leaves `base`, by one thread; NULL: nothing is
  void (*in_call)(enum hz4_sys_call call, void *base, size_t bytes);  // called within each call; NULL: nothing is
  // counted
  _Atomic(uint64_t) calls[HZ4_SYS_CALLS], failures[HZ4_SYS_CALLS];
  _Atomic(uint64_t) mapped_bytes, mapped_ranges, high_maps;
  _Atomic(uint64_t) most_purged;  // bytes by one call
  _Atomic(uint64_t) guards, forbidden;  // calls that were done
  _Atomic(uint64_t) huge_bytes, small_bytes;  // that were wished to come in huge pages, or in no more of them
  _Atomic(uint64_t) looks;  // at what is resident
};

extern struct hz4_sys_fake hz4_sys_fake;

// All knobs to zero but page_bytes, and what is counted of calls too. What is mapped stays mapped.
void hz4_sys_fake_reset(void);

// The clock now stands long after all that it ever said: nothing that was is recent.
void hz4_sys_fake_later(void);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_TEST_SYS_FAKE_H_
