// Rank 0. What hz4 knows of the running thread, besides where its caches are. In one place, for a library that is loaded
// late gets 48 bytes of thread-local storage at most, often: with hz4_front these are all.
#ifndef HZ4_SELF_H_
#define HZ4_SELF_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_away;

struct hz4_self {
  struct hz4_away *left;  // locks that it has left (lock.h), the highest rank first; changes with that lock held
  uint32_t refusals;      // times that hz4_lock_enter was false
  bool forking;           // it is the thread that forks
  bool hurried;           // it is in a signal's handler that must not wait; meanwhile refusals counts what it went past
  bool noted;             // the note of misuse (misuse.h) is its own
};
extern __thread struct hz4_self hz4_self __attribute__((tls_model("initial-exec")));

HZ4_END_DECLS

#endif  // HZ4_SELF_H_
