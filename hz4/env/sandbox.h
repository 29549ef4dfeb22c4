// A seccomp filter that is a table: the calls that are allowed, and what all others return.
#ifndef HZ4_ENV_SANDBOX_H_
#define HZ4_ENV_SANDBOX_H_

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "hz4/env/check.h"

// For all threads of the process. allow: calls in the list pass and others fail; else calls in the list fail and
// others pass. False: the kernel has no seccomp filters for us.
__attribute__((unused)) static bool sandbox_install(const int *calls, size_t count, bool allow, int error) {
  struct sock_filter filter[64];
  size_t used = 0;
  const unsigned listed = allow ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | (unsigned)error;
  const unsigned others = allow ? SECCOMP_RET_ERRNO | (unsigned)error : SECCOMP_RET_ALLOW;
  CHECK(count < 60);
  filter[used++] =
      (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < count; i++) {
    filter[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i],
                                                  (unsigned char)(count - i), 0);
  }
  filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
  filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
  struct sock_fprog program = {.len = (unsigned short)used, .filter = filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

#endif  // HZ4_ENV_SANDBOX_H_
