// Rank 1. Files that are there as a whole or not at all: written under another name, and then renamed. Only a regular file is
// replaced: a link, a device, a folder stays. Only system calls: it may be done in a signal's handler.
#ifndef HZ4_FILE_H_
#define HZ4_FILE_H_

#include "hz4/atomic.h"
#include "hz4/base.h"
#include "hz4/writer.h"

HZ4_BEGIN_DECLS

// Opens a new file for the writer, in place of what is there by new_path, which a process left that was killed meanwhile.
// 0; or the error, as errno has it; EEXIST: at `path`, which it is to be called later, is something else than a regular file.
int hz4_file_begin(struct hz4_writer *w, const char *new_path, const char *path, int mode);

// Flushes and closes it, and gives it its name; or removes it where anything failed. Returns as above.
int hz4_file_end(struct hz4_writer *w, const char *new_path, const char *path);

// A file is wanted whenever the signal comes. False: it is not to be had, for the program was started with another action, or
// for it tells of a fault, which would come again and again as soon as the handler returns.
bool hz4_file_listen(int signal, void (*handler)(int));

HZ4_END_DECLS

// Who writes, by his process; 0: nobody. Another process than this one: nobody, for that was before fork. False: somebody
// else does, who may be below this handler.
HZ4_INLINE bool hz4_turn_begin(_Atomic(uint32_t) *writing, uint32_t pid) {
  uint32_t seen = hz4_load_relaxed(writing);
  return seen != pid && hz4_cas_strong_acquire(writing, &seen, pid);  // pairs with hz4_turn_end: what writers have
}

HZ4_INLINE void hz4_turn_end(_Atomic(uint32_t) *writing) {
  hz4_store_release(writing, 0);  // pairs with hz4_turn_begin
}

#endif  // HZ4_FILE_H_
