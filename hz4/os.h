// Rank 2. Memory from and to the system, in whole system pages.
//
// Preconditions of every function: sizes are positive multiples of hz4_sys_page_bytes(), addresses come from
// hz4_os_map. No lock is needed or taken, and none may be held (lock.h): debug builds abort. errno is kept, whatever
// fails. Counters are in bytes and calls.
#ifndef HZ4_OS_H_
#define HZ4_OS_H_

#include "hz4/base.h"
#include "hz4/sys.h"

HZ4_BEGIN_DECLS

// What the system is told of huge pages (HZ4_HUGE_PAGES):
//   NEVER  nothing.
//   ALL    to make them of each mapping that can hold one.
//   AUTO   to make none of mappings below HZ4_HUGE_LEFT_BYTES, for nobody knows yet whether all of them will be used (huge.h).
//          It is told so where its own setting is "always", and while that is not known.
// That setting is asked for once HZ4_GROWN_BYTES are mapped. Then `grown` is called too, if it is not NULL: by the thread that
// maps, which may hold locks that are held over system calls. Called before there are threads.
enum hz4_os_huge { HZ4_OS_HUGE_NEVER, HZ4_OS_HUGE_ALL, HZ4_OS_HUGE_AUTO };
void hz4_os_configure(enum hz4_os_huge huge_pages, void (*grown)(void));

// Zeroed memory aligned to `align` (a power of two, at least a page). NULL when the system has none.
void *hz4_os_map(size_t bytes, size_t align);

// The same at this address, if nothing is there yet, and else anywhere, as with NULL; aligned to a page.
void *hz4_os_map_at(void *address, size_t bytes);

// Whether this memory is to come in huge pages, or in no more of them: a wish.
void hz4_os_wish_huge(void *base, size_t bytes, bool huge);

// How many bytes of this are in memory. 0: the system does not say, or not all of it is mapped.
size_t hz4_os_resident(const void *base, size_t bytes);

// False: the system refused (max_map_count), and the memory is still mapped. The caller keeps it or forgets it.
bool hz4_os_unmap(void *base, size_t bytes);

// Gives the pages back and keeps the addresses. False: the content may be unchanged (mlocked pages). Never to be
// trusted to have zeroed anything.
bool hz4_os_purge(void *base, size_t bytes);

// The same for many runs, in as few calls as the system allows. True when one of them went back.
bool hz4_os_purge_runs(const struct hz4_sys_run *runs, size_t count);

// Grows a mapping where it lies. NO_ROOM: it has not grown, but may be moved. REFUSED: the system neither grows nor moves it: to
// the kernel it is several mappings (the program has advised it of a part), or a filter forbids the call.
enum hz4_os_resized { HZ4_OS_RESIZED, HZ4_OS_NO_ROOM, HZ4_OS_REFUSED };
enum hz4_os_resized hz4_os_resize(void *base, size_t old_bytes, size_t new_bytes);

// How many bytes of addresses the process may have, as it was when hz4 began. SIZE_MAX: any number.
size_t hz4_os_address_limit(void);

// Moves a mapping's pages, without copying them, over the mapping [to, to + to_bytes), to_bytes >= bytes; what exceeds
// the old size reads as zero. True: the old addresses are gone. False: the block has not changed, and the target is gone.
bool hz4_os_move(void *base, size_t bytes, void *to, size_t to_bytes);

// Bytes mapped now and at most, and calls made so far.
struct hz4_os_stats {
  uint64_t mapped_bytes, peak_bytes, map_calls, unmap_calls, purge_calls, remap_calls, purged_bytes, failed_calls,
      huge_bytes;  // asked for in huge pages
};
void hz4_os_stats(struct hz4_os_stats *out);

HZ4_END_DECLS

#endif  // HZ4_OS_H_
