// Rank 11. What is still allocated at exit, by site, as text.
#ifndef HZ4_PROFILE_LEAKS_H_
#define HZ4_PROFILE_LEAKS_H_

#include "hz4/base.h"

#ifdef __cplusplus
extern "C" {
#endif

// Writes the sites that hold the most, and their stacks, to the descriptor (below 0: nowhere). False: nothing is allocated,
// as far as the samples tell. It asks the dynamic linker for names: only where no lock of libc's can be held.
bool hz4_profile_report_leaks(int fd);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_PROFILE_LEAKS_H_
