// Rank 1. Wrong use that comes to light where it must not be reported: under a lock, beside a claim, with objects in hand.
// It is noted there, and reported by the same thread when it leaves hz4: the handler of SIGABRT may use hz4, and not return.
//
// There is room for one note. Who finds another's there goes on without: of two threads that find something at the same
// instant one is heard. So it is a lock that nobody waits for, and its acquire and release publish the note.
#ifndef HZ4_MISUSE_H_
#define HZ4_MISUSE_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// As hz4_panic_pointer has them. Kept is the first of what a thread notes.
__attribute__((cold)) void hz4_misuse_note(const char *what, const void *ptr);

// What this thread has noted, once. False: nothing.
bool hz4_misuse_take(const char **what, const void **ptr);

// Nobody is left to report what other threads had noted.
void hz4_misuse_fork_child(void);

// frame: of the function that the program called, as far as who reports knows. pre: as hz4_panic.
HZ4_INLINE void hz4_misuse_report(const void *frame) {
  const char *what;
  const void *ptr;
  if (HZ4_UNLIKELY(hz4_misuse_take(&what, &ptr))) hz4_report_misuse(what, ptr, frame);
}

HZ4_END_DECLS

#endif  // HZ4_MISUSE_H_
