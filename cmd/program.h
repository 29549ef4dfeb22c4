// Whose malloc a program would have, and a process has. Files are read, nothing is run and nobody is stopped.
#ifndef HZ4_CMD_PROGRAM_H_
#define HZ4_CMD_PROGRAM_H_

#include <stdbool.h>
#include <sys/types.h>

#include "cmd/elf.h"

enum { PROGRAM_WHY = 1024 };

// Where the library is, absolute: `asked`, or (NULL) beside this command. False, with a reason: it is none of hz4's.
bool program_library(const char *asked, char *path, size_t size, char *why);

// The file that a shell would run. False, with a reason.
bool program_find(const char *name, char *path, size_t size, char *why);

// Whether the library, preloaded, is the program's malloc; or hz4 is linked in. Why (not), in words, in any case.
bool program_takes(const char *path, const struct elf *library, char *why);

// Whether a process's malloc is hz4. Why (not), in words, in any case.
bool program_has(pid_t pid, char *why);

#endif  // HZ4_CMD_PROGRAM_H_
