// Rank 8. What a report says of a pointer besides its line: where the program was, and what a guarded slot knows.
#ifndef HZ4_REPORT_H_
#define HZ4_REPORT_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// From now on reports have it. Any number of times.
void hz4_report_begin(void);

HZ4_END_DECLS

#endif  // HZ4_REPORT_H_
