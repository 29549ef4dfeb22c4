// Rank 4. Huge pages where they pay: for segments of a heap whose memory is touched densely.
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

HZ4_END_DECLS

#endif  // HZ4_HUGE_H_
