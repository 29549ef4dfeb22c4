// Rank 4. Huge pages where they pay: for segments of a heap, and for large blocks, whose memory is touched densely.
//
// A huge page is one page fault instead of 512, and one entry of the TLB; but who touches a part of it has all of it. Only
// the program knows what it touches, so it is looked at: one segment in eight is of small pages. When of the last but one
// of these at least 7/8 is resident, the next segments come in huge pages at once: the system is asked, they are touched,
// and the system is told that it is to make no more of them (os.h). So what is purged out of a huge
// page comes back in small ones, and khugepaged does not fill what was thinned out; also where the system makes huge pages
// for everybody ("always"). Where what was looked at is sparse, or where the system takes long for huge pages (memory that is
// fragmented, or that a hypervisor has taken back), nobody looks or asks for a while.
//
// Any thread, no lock: all that is remembered are hints.
#ifndef HZ4_HUGE_H_
#define HZ4_HUGE_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// Memory for a segment, as hz4_os_map has it, aligned to a page of hz4's. Asks only with HZ4_HUGE_PAGES=auto, which is the
// default. pre: no lock is held.
void *hz4_huge_map(size_t bytes);

// Who was asking as the process was forked is not in the child.
void hz4_huge_fork_child(void);

// ---- large blocks ----
//
// What is empty comes in huge pages, as soon as it is touched, when the blocks before were touched all over: these are
// looked at as they are freed, and had no memory at first. Of what has huge pages nothing is to be seen: so now and then a
// block is of small ones. While a limit is given there are none, for what a block's neighbours have of its huge pages
// nobody counts.

// Bytes of the pages in which empty memory is to come now: of hz4's or huge ones.
size_t hz4_huge_unit(void);

// And in which some may have come.
size_t hz4_huge_used_unit(void);

// There is no memory here any more, or yet.
void hz4_huge_empty(void *base, size_t bytes);

// A block begins where there is no memory. True: it is of small pages, and hz4_huge_end is to be told before it is freed.
bool hz4_huge_begin(void *base, size_t bytes);
void hz4_huge_end(void *base, size_t bytes);

HZ4_END_DECLS

#endif  // HZ4_HUGE_H_
