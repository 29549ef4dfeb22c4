// Rank 1. What hz4 asks of the system, each in one function, so that tests can put a hostile kernel beneath
// (test/sys_fake.c). All platform glue of the memory side is sys_linux.c. Results as the kernel gives them; errno
// is kept. None is a cancellation point, or goes through a name that a preloaded library may have taken.
#ifndef HZ4_SYS_H_
#define HZ4_SYS_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// Private anonymous memory, readable and writable, zeroed. `hint` may be NULL. NULL on failure.
void *hz4_sys_mmap(void *hint, size_t bytes);
bool hz4_sys_munmap(void *base, size_t bytes);
// MADV_DONTNEED: true when the pages are gone and read as zero.
bool hz4_sys_purge(void *base, size_t bytes);
// The same for many runs by one call. Returns the bytes of the runs that are gone, from the first on. 0 where the kernel
// has no such call (Linux before 6.14), or has none for this process: then, and for the rest, there is hz4_sys_purge.
struct hz4_sys_run {
  void *base;
  size_t bytes;
};
size_t hz4_sys_purge_runs(const struct hz4_sys_run *runs, size_t count);
// MADV_HUGEPAGE, MADV_NOHUGEPAGE: the memory may come in huge pages, or no more of it may. A wish: nothing depends on the answer.
void hz4_sys_wish_huge(void *base, size_t bytes, bool huge);
// Whether the system makes huge pages of what nobody wished anything for. True also where it does not say.
bool hz4_sys_huge_always(void);
// mincore: how many bytes are in memory. 0 where the system does not say, or not all of it is mapped.
size_t hz4_sys_resident(const void *base, size_t bytes);
// MADV_GUARD_INSTALL: true when the pages are gone, and who touches them is ended. Linux 6.13; not of locked memory.
bool hz4_sys_guard(void *base, size_t bytes);
// MADV_GUARD_REMOVE: true when they can be touched again, and are zero.
bool hz4_sys_unguard(void *base, size_t bytes);
// PROT_NONE; and the end of it.
bool hz4_sys_forbid(void *base, size_t bytes);
bool hz4_sys_allow(void *base, size_t bytes);
// Resizes the mapping where it lies (to == NULL), or moves it over the mapping at `to`. 0; or the error, as in errno.
int hz4_sys_mremap(void *base, size_t old_bytes, size_t new_bytes, void *to);
// Whether the 4 bytes at this address, a multiple of 4, are this value. False also where nothing is.
bool hz4_sys_holds(const void *address, uint32_t value);
// The system's page size in bytes, from the auxiliary vector: no system call.
size_t hz4_sys_page_bytes(void);
// Whether the program runs with rights that who started it has not (set-user-ID, file capabilities; man 3 getauxval).
bool hz4_sys_secure(void);
// A secret of the process's, of the auxiliary vector: no system call.
uint64_t hz4_sys_secret(void);
// How many bytes of addresses the process may have: the lesser of RLIMIT_AS and RLIMIT_DATA. SIZE_MAX: any number.
size_t hz4_sys_address_limit(void);
// A clock that never goes back, in ns. 0: the system has none.
uint64_t hz4_sys_now_ns(void);
// Whether the calling thread is the only one that libc knows of. False also when libc does not say.
bool hz4_sys_single_threaded(void);

HZ4_END_DECLS

#endif  // HZ4_SYS_H_
