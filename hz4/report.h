// Rank 8. What a report says of a pointer besides its line: where the program was, and which block between guards it is of;
// and reports of faults at guards.
#ifndef HZ4_REPORT_H_
#define HZ4_REPORT_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// From now on reports have it. Any number of times.
void hz4_report_begin(void);

// Writes what is known of the block between guards at, next to or, in a slot, nearest to this address; one of no bytes is
// too. False: there is none. Async-signal-safe.
bool hz4_report_block(int fd, const void *address);

// From now on SIGSEGV at such a block is reported, before the program's own handler has it.
void hz4_report_faults(void);

HZ4_END_DECLS

#endif  // HZ4_REPORT_H_
