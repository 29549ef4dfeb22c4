// fail_every CALLS N START PROGRAM [ARGUMENT...]: runs the program while every N-th of its CALLS fails with ENOMEM.
//
// CALLS: mmap, munmap, madvise, mremap, joined by commas; counted together. Of mmap only what asks for fresh memory
// counts: private, anonymous, and at no fixed place. START: "exec" counts from the first instruction on, the dynamic
// linker's calls included; "yield" from the program's first sched_yield() on.
//
// A seccomp filter hands the calls over (SECCOMP_RET_USER_NOTIF; a filter alone cannot count), those of children too,
// and this process lets each pass or fail. At the end it prints "fail_every: C calls, F failed" as the last line of
// stderr, and exits as the program did: with its code, or with 128 plus the number of the signal that ended it. 99: no such
// filters here.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "hz4/env/sandbox.h"

enum { kUsage = 98, kNoFilters = 99 };

static const struct {
  const char *name;
  int number;
} kCalls[] = {{"mmap", SYS_mmap}, {"munmap", SYS_munmap}, {"madvise", SYS_madvise}, {"mremap", SYS_mremap}};
enum { kCallKinds = sizeof(kCalls) / sizeof(kCalls[0]) };

struct plan {
  bool chosen[kCallKinds];
  uint64_t every;
  bool counting;
};

__attribute__((noreturn)) static void usage(const char *complaint, const char *word) {
  fprintf(stderr, "fail_every: %s: %s; usage: fail_every CALLS N exec|yield PROGRAM [ARGUMENT...]\n", complaint, word);
  exit(kUsage);
}

static struct plan parse(char **argv) {
  struct plan plan = {.counting = strcmp(argv[3], "exec") == 0};
  char *rest = NULL;
  for (char *word = strtok_r(argv[1], ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
    size_t kind = 0;
    while (kind < kCallKinds && strcmp(word, kCalls[kind].name) != 0) ++kind;
    if (kind == kCallKinds) usage("no such call", word);
    plan.chosen[kind] = true;
  }
  char *end;
  plan.every = strtoull(argv[2], &end, 10);
  if (plan.every == 0 || *end != '\0') usage("not a positive number", argv[2]);
  if (!plan.counting && strcmp(argv[3], "yield") != 0) usage("neither exec nor yield", argv[3]);
  return plan;
}

// ---- the program's side ----

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define IF(test, value, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_K, (unsigned)(value), yes, no)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)

// The descriptor that notifications come by; -1 where there are none.
static int install_filter(const struct plan *plan) {
  struct sock_filter filter[16];
  size_t used = 0;
  filter[used++] = (struct sock_filter)LOAD(nr);
  filter[used++] = (struct sock_filter)IF(BPF_JEQ, SYS_sched_yield, 0, 1);
  filter[used++] = (struct sock_filter)RETURN(SECCOMP_RET_USER_NOTIF);
  for (size_t kind = 0; kind < kCallKinds; kind++) {
    if (!plan->chosen[kind] || kCalls[kind].number == SYS_mmap) continue;
    filter[used++] = (struct sock_filter)IF(BPF_JEQ, kCalls[kind].number, 0, 1);
    filter[used++] = (struct sock_filter)RETURN(SECCOMP_RET_USER_NOTIF);
  }
  if (plan->chosen[0]) {
    filter[used++] = (struct sock_filter)IF(BPF_JEQ, SYS_mmap, 0, 4);
    filter[used++] = (struct sock_filter)LOAD(args[3]);  // its lower half: the flags
    filter[used++] = (struct sock_filter)IF(BPF_JSET, MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_SHARED, 2, 0);
    filter[used++] = (struct sock_filter)IF(BPF_JSET, MAP_ANONYMOUS, 0, 1);
    filter[used++] = (struct sock_filter)RETURN(SECCOMP_RET_USER_NOTIF);
  }
  filter[used++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
  CHECK(used <= sizeof(filter) / sizeof(filter[0]));
  struct sock_fprog program = {.len = (unsigned short)used, .filter = filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

__attribute__((noreturn)) static void run_program(const struct plan *plan, int channel, char **command) {
  int listener = install_filter(plan);
  CHECK(write(channel, &listener, sizeof(listener)) == sizeof(listener));
  char taken;
  if (listener < 0 || read(channel, &taken, 1) != 1) _exit(kNoFilters);
  close(listener);
  execvp(command[0], command);
  fprintf(stderr, "fail_every: cannot run %s: %s\n", command[0], strerror(errno));
  _exit(127);
}

// ---- this process's side ----

// A copy of the descriptor that the child has just made; -1 where that cannot be.
static int take_listener(pid_t child, int channel) {
  int theirs = -1;
  if (read(channel, &theirs, sizeof(theirs)) != sizeof(theirs) || theirs < 0) return -1;
  int child_fd = (int)syscall(SYS_pidfd_open, child, 0);
  int listener = child_fd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, child_fd, theirs, 0);
  if (listener >= 0) CHECK(write(channel, "", 1) == 1);
  return listener;
}

// Answers until the last process behind the filter has ended.
static void supervise(struct plan *plan, int listener, uint64_t *calls, uint64_t *failed) {
  for (;;) {
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    if (poll(&ready, 1, -1) < 0) continue;
    if ((ready.revents & POLLIN) == 0) return;
    struct seccomp_notif request = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) continue;  // it was killed meanwhile
    struct seccomp_notif_resp response = {.id = request.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    if (request.data.nr == SYS_sched_yield) {
      plan->counting = true;
    } else if (plan->counting && ++*calls % plan->every == 0) {
      ++*failed;
      response = (struct seccomp_notif_resp){.id = request.id, .error = -ENOMEM};
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
}

int main(int argc, char **argv) {
  if (argc < 5) usage("too few arguments", argc > 1 ? argv[argc - 1] : "none");
  struct plan plan = parse(argv);
  int channel[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) run_program(&plan, channel[1], argv + 4);
  close(channel[1]);
  int listener = take_listener(child, channel[0]);
  close(channel[0]);
  uint64_t calls = 0, failed = 0;
  if (listener >= 0) supervise(&plan, listener, &calls, &failed);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  if (listener < 0) return kNoFilters;
  fprintf(stderr, "fail_every: %lu calls, %lu failed\n", (unsigned long)calls, (unsigned long)failed);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
