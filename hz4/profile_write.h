// Rank 11. Profiles as files: pprof's profile.proto, not compressed, and the text of gperftools ("heap_v2").
//
// A file is whole, or not there (file.h), and has mode 0600. None is written by a program with rights that who started it has
// not (AT_SECURE). It may be done in a signal's handler. One at a time: who finds another at it gives up.
#ifndef HZ4_PROFILE_WRITE_H_
#define HZ4_PROFILE_WRITE_H_

#include "hz4/base.h"
#include "hz4/profile.h"

#ifdef __cplusplus
extern "C" {
#endif

// PREFIX is HZ4_PROFILE; the names are PREFIX.PID.NUMBER.pb, PREFIX.PID.peak.pb and PREFIX.PID.exit.pb; text has .heap in
// place of .pb. A failure is reported on stderr, the first one only.
enum hz4_profile_due { HZ4_PROFILE_DUE_NUMBERED, HZ4_PROFILE_DUE_PEAK, HZ4_PROFILE_DUE_EXIT };
void hz4_profile_write_due(enum hz4_profile_due due);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_PROFILE_WRITE_H_
