// What no machine has is refused, as by glibc's malloc: hz4 does not turn the kernel's own judgement off by
// MAP_NORESERVE. And it needs no flag of mmap's but two: a filter that admits no others leaves it its memory.
#include <stddef.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "hz4/env/sandbox.h"
#include "hz4/hz4.h"

static bool overcommits_always(void) {
  char text[8] = "";
  int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0) return true;
  close(fd);
  return text[0] == '1';
}

static void refuse_the_absurd(void) {
  if (overcommits_always()) {
    puts("vm.overcommit_memory is 1: everything is granted");
    return;
  }
  struct sysinfo machine;
  CHECK(sysinfo(&machine) == 0);
  size_t all = ((size_t)machine.totalram + machine.totalswap) * machine.mem_unit;
  for (size_t bytes = all * 2; bytes <= all * 1024; bytes *= 8) {
    errno = 0;
    CHECK(hz4_malloc(bytes) == NULL && errno == ENOMEM);
    CHECK(hz4_calloc(1, bytes) == NULL && hz4_aligned_alloc(1 << 21, bytes) == NULL);
    char *block = hz4_malloc(3 << 20);
    touch(block, 3 << 20);
    CHECK(hz4_realloc(block, bytes) == NULL);
    touch(block, 3 << 20);
    hz4_free(block);
  }
}

static bool admit_two_flags(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, args[3])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAP_PRIVATE | MAP_ANONYMOUS, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int main(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (!admit_two_flags()) _exit(2);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED);
    for (size_t bytes = 16; bytes <= 64 << 20; bytes *= 4) {
      char *block = hz4_malloc(bytes);
      CHECK(block != NULL);
      touch(block, bytes);
      CHECK((block = hz4_realloc(block, bytes * 3)) != NULL);
      hz4_free(block);
    }
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2);
  if (WEXITSTATUS(status) == 2) puts("no seccomp filters here");
  refuse_the_absurd();
  puts("PASSED");
  return 0;
}
