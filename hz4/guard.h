// Rank 3. Guards: pages between others that nobody may touch, with HZ4_HARDEN=2. Who runs into one is ended by the system.
//
// A guard is part of the mapping that it guards, and goes with it. Linux 6.13 and later note guards in the page tables
// (MADV_GUARD_INSTALL); elsewhere each is a mapping of its own, so that there is a bound on them (HZ4_GUARDS_MAX), beyond
// which memory goes without. So do pages that are locked (mlockall). No lock may be held (lock.h), none is taken.
#ifndef HZ4_GUARD_H_
#define HZ4_GUARD_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// Whether there are to be guards. Constant after hz4_guard_begin.
extern bool hz4_guards;

// Guards from now on. pre: before there are threads.
void hz4_guard_begin(void);

// Has the system note a guard in these pages. False: it does not; some say yes to any advice, so that it is looked at too.
bool hz4_guard_note(void *base, size_t bytes);

// Makes a guard of pages that hold nothing.
void hz4_guard_install(void *base, size_t bytes);

// So many guards went with their mappings.
void hz4_guard_gone(size_t count);

// Makes pages inaccessible that held something, and gives their memory back. It may cost two mappings: it is for the caller
// to see that there are few. False: they are as before, or empty.
bool hz4_guard_forbid(void *base, size_t bytes);

// Memory for what is not the program's: as hz4_os_map, but at a place by chance, with guards before and behind. Without
// guards, or where hz4 had mapped anything before hz4_guard_begin, it is hz4_os_map.
void *hz4_guard_map(size_t bytes);
// All of what hz4_guard_map gave. False: as hz4_os_unmap.
bool hz4_guard_unmap(void *base, size_t bytes);

HZ4_END_DECLS

#endif  // HZ4_GUARD_H_
