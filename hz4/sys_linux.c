// The real kernel.
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

#include "hz4/atomic.h"
#include "hz4/sys.h"
#include "hz4/syscall.h"

// Of <linux/pidfd.h>, <asm/unistd.h> and <asm/mman.h>, for older headers.
#define PIDFD_OF_THIS_THREAD (-10000)
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

_Static_assert(sizeof(struct hz4_sys_run) == sizeof(struct iovec) &&
                   offsetof(struct hz4_sys_run, base) == offsetof(struct iovec, iov_base) &&
                   offsetof(struct hz4_sys_run, bytes) == offsetof(struct iovec, iov_len),
               "an iovec by another name");

#if __has_include(<sys/single_threaded.h>)  // glibc 2.32
#include <sys/single_threaded.h>
#else
enum { __libc_single_threaded = 0 };
#endif

// A call about mappings, with the result of hz4_syscall. A sanitizer's runtime learns of mappings by libc's names, which it
// has taken.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CALL(name, ...)                     \
  __extension__({                           \
    int saved_ = errno;                     \
    long result_ = (long)name(__VA_ARGS__); \
    if (result_ == -1) result_ = -errno;    \
    errno = saved_;                         \
    result_;                                \
  })
#else
#define CALL(name, ...) hz4_syscall(SYS_##name, __VA_ARGS__)
#endif

static bool is_error(long result) {
  return result < 0 && result > -4096;
}

static bool advise(void *base, size_t bytes, int advice) {
  return CALL(madvise, base, bytes, advice) == 0;
}

// Linux 6.7 and later begin a mapping of whole huge pages at a huge page, and so leave holes between our mappings, unless
// there is a hint. One that is taken already is as good as none otherwise. (valgrind wants it at a page's beginning.)
static void *taken_hint(void) {
  static char taken;
  return (void *)((uintptr_t)&taken & -hz4_sys_page_bytes());
}

void *hz4_sys_mmap(void *hint, size_t bytes) {
  if (hint == NULL) hint = taken_hint();
  long base = CALL(mmap, hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return is_error(base) ? NULL : (void *)base;
}

bool hz4_sys_munmap(void *base, size_t bytes) {
  return CALL(munmap, base, bytes) == 0;
}

bool hz4_sys_purge(void *base, size_t bytes) {
  return advise(base, bytes, MADV_DONTNEED);
}

size_t hz4_sys_purge_runs(const struct hz4_sys_run *runs, size_t count) {
  static _Atomic(bool) refused;
  if (hz4_load_relaxed(&refused)) return 0;
  long bytes = hz4_syscall(SYS_process_madvise, PIDFD_OF_THIS_THREAD, runs, count, MADV_DONTNEED, 0);
  if (bytes >= 0) return (size_t)bytes;
  // Not where the memory may be the reason (it is locked): that is EINVAL.
  if (bytes == -ENOSYS || bytes == -EPERM || bytes == -EBADF) hz4_store_relaxed(&refused, true);
  return 0;
}

void hz4_sys_wish_huge(void *base, size_t bytes, bool huge) {
  advise(base, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

bool hz4_sys_huge_always(void) {
  char text[64] = {0};  // "[always] madvise never", or "always [madvise] never"
  hz4_read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text));
  return text[0] != 'a';
}

size_t hz4_sys_resident(const void *base, size_t bytes) {
  size_t page = hz4_sys_page_bytes(), pages = bytes / page, resident = 0;
  unsigned char in_memory[256] = {0};
  for (size_t at = 0; at < pages; at += sizeof(in_memory)) {
    size_t count = pages - at < sizeof(in_memory) ? pages - at : sizeof(in_memory);
    if (hz4_syscall(SYS_mincore, (const char *)base + at * page, count * page, in_memory) != 0) return 0;
    for (size_t i = 0; i < count; ++i) resident += in_memory[i] & 1;
  }
  return resident * page;
}

bool hz4_sys_guard(void *base, size_t bytes) {
  return advise(base, bytes, MADV_GUARD_INSTALL);
}

bool hz4_sys_unguard(void *base, size_t bytes) {
  return advise(base, bytes, MADV_GUARD_REMOVE);
}

bool hz4_sys_forbid(void *base, size_t bytes) {
  return hz4_syscall(SYS_mprotect, base, bytes, PROT_NONE) == 0;
}

bool hz4_sys_allow(void *base, size_t bytes) {
  return hz4_syscall(SYS_mprotect, base, bytes, PROT_READ | PROT_WRITE) == 0;
}

int hz4_sys_mremap(void *base, size_t old_bytes, size_t new_bytes, void *to) {
  long result = CALL(mremap, base, old_bytes, new_bytes, to == NULL ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED, to);
  return is_error(result) ? (int)-result : 0;
}

// The kernel compares before it would wait, and looks at what may not be there as no load of ours could.
bool hz4_sys_holds(const void *address, uint32_t value) {
  const struct timespec not_at_all = {0};
  return hz4_syscall(SYS_futex, address, HZ4_FUTEX_WAIT, value, &not_at_all) == -ETIMEDOUT;
}

// libc is asked once.
size_t hz4_sys_page_bytes(void) {
  HZ4_IN_DATA static _Atomic(size_t) known;
  size_t bytes = hz4_load_relaxed(&known);
  if (HZ4_LIKELY(bytes != 0)) return bytes;
  bytes = getauxval(AT_PAGESZ);
  if (bytes == 0) bytes = 4096;
  hz4_store_relaxed(&known, bytes);
  return bytes;
}

static size_t limit_of(int resource) {
  struct rlimit64 limit = {0};
  if (hz4_syscall(SYS_prlimit64, 0, resource, NULL, &limit) != 0) return SIZE_MAX;
  return limit.rlim_cur < SIZE_MAX ? (size_t)limit.rlim_cur : SIZE_MAX;
}

size_t hz4_sys_address_limit(void) {
  size_t addresses = limit_of(RLIMIT_AS), data = limit_of(RLIMIT_DATA);
  return addresses < data ? addresses : data;
}

// Of AT_RANDOM's 16 bytes libc makes guards of its own: so no part of them may be found out by ours.
uint64_t hz4_sys_secret(void) {
  uint64_t bytes[2] = {0};
  const void *random = (const void *)getauxval(AT_RANDOM);
  if (random != NULL) memcpy(bytes, random, sizeof(bytes));
  return (bytes[0] ^ bytes[1] >> 32 ^ bytes[1] << 32) * HZ4_HASH_FACTOR;
}

bool hz4_sys_secure(void) {
  return getauxval(AT_SECURE) != 0;
}

// A system call: it is asked for seldom, beside calls that cost more.
uint64_t hz4_sys_now_ns(void) {
  return hz4_clock_ns(CLOCK_MONOTONIC);
}

bool hz4_sys_single_threaded(void) {
  return __libc_single_threaded != 0;
}
