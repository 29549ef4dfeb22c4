#include "hz4/rseq.h"

#include <errno.h>
#include <sys/auxv.h>

#include "hz4/sequence.h"
#include "hz4/syscall.h"

// Not in the headers of every libc and kernel that this is built with.
#ifndef SYS_rseq
#define SYS_rseq (-1)
#endif
#ifndef SYS_membarrier
#define SYS_membarrier (-1)
#endif
enum { AUXV_FEATURE_BYTES = 27, AUXV_ALIGN = 28 };                       // AT_RSEQ_FEATURE_SIZE, AT_RSEQ_ALIGN
enum { MEMBARRIER_RESTART = 1 << 7, MEMBARRIER_REGISTER_RESTART = 1 << 8 };  // ..._PRIVATE_EXPEDITED_RSEQ

// Of the area, as rseq has always been registered with it.
enum { AREA_BYTES = 32 };
_Static_assert(sizeof(struct hz4_area) == AREA_BYTES && offsetof(struct hz4_area, id) == 24, "as the kernel has it");

// glibc's, where it has them.
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

// 0: the kernel does not know the entry, which getauxval tells by errno too.
static unsigned long auxiliary(unsigned long entry) {
  int saved = errno;
  unsigned long value = getauxval(entry);
  errno = saved;
  return value;
}

// Whether the kernel keeps ids.
static bool has_ids(void) {
  unsigned long feature_bytes = HZ4_SEQUENCE_RESTARTS ? auxiliary(AUXV_FEATURE_BYTES) : 0;
  return feature_bytes >= offsetof(struct hz4_area, id) + sizeof(int32_t);
}

size_t hz4_rseq_ids(void) {
  if (!has_ids()) return 0;
  // The kernel refuses a mask that is too small for all CPUs which there may ever be.
  static const size_t most_bytes = 1024;
  unsigned long mask[1024 / sizeof(unsigned long)];
  size_t ids = 0;
  for (size_t bytes = sizeof(mask[0]); bytes <= most_bytes && ids == 0; bytes *= 2) {
    long result = hz4_syscall(SYS_sched_getaffinity, 0, bytes, mask);
    if (result > 0) ids = bytes * 8;
    else if (result != -EINVAL) break;
  }
  return ids;
}

// Whether the area is this thread's: it is now, or had been registered with the same size.
static bool is_registered(struct hz4_area *area, unsigned long bytes) {
  long result = hz4_syscall(SYS_rseq, area, bytes, 0, HZ4_SEQUENCE_SIGNATURE);
  return result == 0 || result == -EBUSY;
}

struct hz4_area *hz4_rseq_area(void) {
  if (&__rseq_size == NULL || __rseq_size == 0) return NULL;
  struct hz4_area *area = (struct hz4_area *)((char *)__builtin_thread_pointer() + __rseq_offset);
  bool registered = is_registered(area, AREA_BYTES);
  unsigned long feature_bytes = auxiliary(AUXV_FEATURE_BYTES), align = auxiliary(AUXV_ALIGN);
  // glibc 2.41 and later register all that the kernel knows of.
  if (!registered && feature_bytes > AREA_BYTES && hz4_is_power_of_two(align)) {
    registered = is_registered(area, hz4_round_up(feature_bytes, align));
  }
  return registered ? area : NULL;
}

bool hz4_rseq_restart_all(void) {
  long result = hz4_syscall(SYS_membarrier, MEMBARRIER_RESTART);
  if (result == -EPERM && hz4_syscall(SYS_membarrier, MEMBARRIER_REGISTER_RESTART) == 0) {
    result = hz4_syscall(SYS_membarrier, MEMBARRIER_RESTART);
  }
  return result == 0;
}
