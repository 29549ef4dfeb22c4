// Where statistics go: to who asks, to stderr at exit, and to a file from time to time.
//
// The file is written by whoever comes to a slow path when it is due, or by the signal's handler: under another name first,
// so that who reads it finds the whole of one. No lock of hz4's is held while it is written. There is one writer at a time;
// who finds one at it, who may be the one that his handler has interrupted, leaves it to him or to the next slow path.
//
// The handler may have interrupted a thread that has a lock, and so it waits for none (hz4_lock_hurry_begin). Where one is
// not free the figures are not whole, and the file is due at the next slow path: mostly at the end of the interrupted one.
// Nothing else that it calls is more than loads, stores and system calls.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hz4/alloc.h"
#include "hz4/file.h"
#include "hz4/hz4.h"
#include "hz4/lock.h"
#include "hz4/options.h"
#include "hz4/stats.h"
#include "hz4/sys.h"
#include "hz4/syscall.h"

// ---- for who asks ----

void hz4_stats_print(int fd) {
  HZ4_WRITER(w, 512, fd);
  struct hz4_stats stats;
  hz4_stats_gather(&stats);
  hz4_stats_put_report(&w, &stats);
  hz4_writer_flush(&w);
}

size_t hz4_stats_json(char *buffer, size_t size) {
  struct hz4_writer w = {.buffer = buffer, .size = size != 0 ? size - 1 : 0, .fd = -1};
  struct hz4_stats stats;
  hz4_stats_gather(&stats);
  hz4_stats_put_json(&w, &stats);
  if (size != 0) buffer[w.used] = '\0';
  return w.total;
}

// ---- the file ----

// By who has made himself the writer.
static struct hz4_stats stats;
static char text[HZ4_EXIT_TEXT_BYTES];  // for stderr: one write, so that what several processes say is not mixed
static char path[HZ4_OPTION_TEXT_BYTES + 32], new_path[sizeof(path) + 32];
static bool has_pid;  // the path
static bool warned;
static bool hurries;    // in the handler,
static uint32_t begun;  // since then (lock.h)

static _Atomic(uint32_t) writing;  // file.h
static _Atomic(bool) due;          // it was asked for, and nobody has begun since
static _Atomic(uint64_t) due_ns;

// %p is the process. The new one is another for each process: those that a process starts have its options.
static void name_files(uint32_t pid) {
  struct hz4_writer w = {.buffer = path, .size = sizeof(path) - 1, .fd = -1};
  for (const char *at = hz4_option.stats_file; *at != '\0'; ++at) {
    if (strncmp(at, "%p", 2) == 0) {
      hz4_put(&w, "%u", pid);
      has_pid = true;
      ++at;
    } else {
      hz4_put_bytes(&w, at, 1);
    }
  }
  path[w.used] = '\0';
  hz4_format(new_path, sizeof(new_path), "%s.%u~", path, pid);
}

// Whether no lock was in the way so far: those that sizes' figures are behind are taken while they are written.
static bool is_whole(void) {
  return !hurries || hz4_lock_refusals() == begun;
}

// Writes `stats`. 0; or the error, and an older file is as it was; EBUSY: it would not be whole.
static int write_file(uint32_t pid) {
  name_files(pid);
  HZ4_WRITER(w, 512, -1);
  int error = hz4_file_begin(&w, new_path, path, 0644);
  if (error != 0) return error;
  if (hz4_ends_in(path, ".json")) hz4_stats_put_json(&w, &stats);
  else if (hz4_ends_in(path, ".prom")) hz4_stats_put_metrics(&w, &stats, has_pid);
  else hz4_stats_put_report(&w, &stats);
  if (!is_whole()) w.error = EBUSY;
  return hz4_file_end(&w, new_path, path);
}

// To the file, or where there is none to stderr.
static void write_out(uint32_t pid) {
  if (*hz4_option.stats_file == '\0') {
    struct hz4_writer w = {.buffer = text, .size = sizeof(text), .fd = hz4_stderr(true)};
    hz4_stats_put_report(&w, &stats);
    if (is_whole()) hz4_writer_flush(&w);
    return;
  }
  int error = write_file(pid);
  if (error == 0 || error == EBUSY || warned) return;
  warned = true;
  hz4_warn_of_file("statistics cannot be written", error, path);
}

static void write_due(bool in_handler) {
  uint32_t pid = (uint32_t)hz4_syscall(SYS_getpid, 0);
  bool whole = true;
  while (whole && hz4_load_relaxed(&due) && hz4_turn_begin(&writing, pid)) {
    hz4_store_relaxed(&due, false);
    hurries = in_handler;
    if (in_handler) begun = hz4_lock_hurry_begin();
    hz4_stats_gather(&stats);
    if (is_whole()) write_out(pid);
    if (in_handler) whole = hz4_lock_hurry_end(begun);
    if (!whole) hz4_store_relaxed(&due, true);
    hz4_turn_end(&writing);
  }
}

static bool is_time(void) {
  uint64_t every_ns = hz4_option.stats_seconds * 1000000000, then = hz4_load_relaxed(&due_ns);
  if (every_ns == 0) return false;
  uint64_t now = hz4_sys_now_ns();
  return now >= then && hz4_cas_weak_relaxed(&due_ns, &then, now + every_ns);
}

// At each slow path.
static void look(void) {
  if (hz4_front.lent) return;  // a child of vfork: the memory is its parent's
  if (is_time()) hz4_store_relaxed(&due, true);
  if (HZ4_UNLIKELY(hz4_load_relaxed(&due))) write_due(false);
}

static void on_signal(int number) {
  (void)number;
  hz4_store_relaxed(&due, true);
  if (!hz4_front.lent) write_due(true);
}

// ---- by the options ----

void hz4_stats_begin(void) {
  if (hz4_sys_secure()) *hz4_option.stats_file = '\0';
  if (hz4_option.stats_seconds != 0 || hz4_option.stats_signal != 0) hz4_alloc_chores = look;
  if (hz4_option.stats_signal != 0 && !hz4_file_listen((int)hz4_option.stats_signal, on_signal)) {
    hz4_warn("no statistics by HZ4_STATS_SIGNAL: the signal is not to be had", NULL);
  }
}

void hz4_stats_at_exit(void) {
  if (*hz4_option.stats_file != '\0') {
    hz4_store_relaxed(&due, true);
    write_due(false);
  }
  uint64_t form = hz4_option_now(&hz4_option.stats);
  int fd = form != 0 ? hz4_stderr(true) : -1;
  if (fd < 0) return;
  static struct hz4_stats last;  // another thread may be the writer still
  struct hz4_writer w = {.buffer = hz4_exit_text, .size = sizeof(hz4_exit_text), .fd = fd};
  hz4_stats_gather(&last);
  if (form == 1) hz4_stats_put_report(&w, &last);
  else hz4_stats_put_json(&w, &last);
  hz4_writer_flush(&w);
}
