// Statistics of a process that runs, which it writes itself: HZ4_STATS_FILE, now and then or at a signal.
#ifndef HZ4_CMD_LIVE_H_
#define HZ4_CMD_LIVE_H_

#include <stdbool.h>
#include <sys/types.h>

enum { LIVE_WHY = 512 };

struct live {
  pid_t pid;
  int signal;  // which asks for them; 0: they come by themselves, every so many seconds
  char file[4096];
};

// Where they are: the file and the signal (NULL: by the process's environment). False, with a reason.
bool live_find(pid_t pid, const char *file, const char *signal, struct live *live, char *why);

// The newest document; after a signal, what it wrote then. The caller frees it. NULL, with a reason.
char *live_read(const struct live *live, char *why);

// It is not there any more, or a zombie.
bool live_has_ended(pid_t pid);

#endif  // HZ4_CMD_LIVE_H_
