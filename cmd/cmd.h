// What the subcommands of hz4 share. Each is one file, and a function that returns the exit status: 0 fine, 1 no, 2 bad
// usage. Every failure is one line on stderr.
#ifndef HZ4_CMD_CMD_H_
#define HZ4_CMD_CMD_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { FINE, NO, USAGE };

int run_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int stats_main(int argc, char **argv);
int top_main(int argc, char **argv);
int report_main(int argc, char **argv);
int profile_main(int argc, char **argv);

// ---- messages ----

// Of the subcommand that runs; "" before there is one.
extern const char *cmd_name;

// "hz4 run: ..." on stderr. Returns NO.
int cmd_no(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void cmd_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The next option, as getopt_long has it (`letters` begins with a colon), or -1. -h prints `help`, and ends; what is unknown
// ends with a message.
struct option;
int cmd_option(int argc, char **argv, const char *letters, const struct option *longs, const char *help);

// A process's number; what is none is bad usage, who is none a "no" (0).
pid_t cmd_process(const char *text);

// "1.5 GiB"; in a buffer of the caller's, of 16 bytes at least. Returns it.
const char *cmd_bytes(double bytes, char *buffer);

// ENOENT: hz4 has no option of that name, HZ4_ included; EINVAL: it does not take that value; else 0. (Of text any is taken.)
int cmd_option_error(const char *name, const char *value);

// ---- files ----

// The whole of a file, with a NUL behind it; NULL: errno says why. The caller frees it. At most 256 MiB.
char *cmd_read(const char *path, size_t *size);

// /proc/PID/NAME; pid 0: of this process.
char *cmd_read_proc(pid_t pid, const char *name, size_t *size);

// Bytes that are resident of a process; 0: not known.
double cmd_resident(pid_t pid);

// A number behind "NAME:" in a text of such lines; -1: there is none.
long long cmd_field(const char *text, const char *name);

// The value of a variable among NUL-ended entries; NULL: it is not there.
const char *cmd_variable(const char *environment, size_t size, const char *name);

#endif  // HZ4_CMD_CMD_H_
