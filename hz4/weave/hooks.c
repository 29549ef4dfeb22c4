// What instrumented code calls: the compiler's hooks for ThreadSanitizer, the blocking calls of libc that hz4 uses, and
// the ways in which hz4 gives up. A fence, or another operation that is not modelled, does not link.
#include <linux/futex.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>

#include "hz4/base.h"
#include "hz4/self.h"
#include "hz4/weave/model.h"

#define PC __builtin_return_address(0)

// A function and, since no header has it, its declaration.
#define HOOK(type, name, parameters) \
  type name parameters;              \
  type name parameters

// ---- plain accesses ----

#define PLAIN(bytes)                                                                                        \
  HOOK(void, __tsan_read##bytes, (void *p)) { weave_access(p, bytes, WEAVE_PLAIN_READ); }                   \
  HOOK(void, __tsan_write##bytes, (void *p)) { weave_access(p, bytes, WEAVE_PLAIN_WRITE); }                 \
  HOOK(void, __tsan_unaligned_read##bytes, (void *p)) { weave_access(p, bytes, WEAVE_PLAIN_READ); }         \
  HOOK(void, __tsan_unaligned_write##bytes, (void *p)) { weave_access(p, bytes, WEAVE_PLAIN_WRITE); }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

HOOK(void, __tsan_read_range, (void *p, size_t bytes)) { weave_access(p, bytes, WEAVE_PLAIN_READ); }
HOOK(void, __tsan_write_range, (void *p, size_t bytes)) { weave_access(p, bytes, WEAVE_PLAIN_WRITE); }
HOOK(void, __tsan_init, (void)) {}
HOOK(void, __tsan_func_entry, (void *pc)) { (void)pc; }
HOOK(void, __tsan_func_exit, (void)) {}

// What ThreadSanitizer must be told of sequences, the model of them does.
HOOK(void, __tsan_acquire, (void *p)) { (void)p; }
HOOK(void, __tsan_release, (void *p)) { (void)p; }

HOOK(void *, __tsan_memcpy, (void *to, const void *from, size_t bytes)) {
  weave_access(from, bytes, WEAVE_PLAIN_READ);
  weave_access(to, bytes, WEAVE_PLAIN_WRITE);
  return memcpy(to, from, bytes);
}

HOOK(void *, __tsan_memmove, (void *to, const void *from, size_t bytes)) {
  weave_access(from, bytes, WEAVE_PLAIN_READ);
  weave_access(to, bytes, WEAVE_PLAIN_WRITE);
  return memmove(to, from, bytes);
}

HOOK(void *, __tsan_memset, (void *to, int value, size_t bytes)) {
  weave_access(to, bytes, WEAVE_PLAIN_WRITE);
  return memset(to, value, bytes);
}

// ---- atomics ----

#define EXCHANGE(type, bytes, name, change)                           \
  HOOK(type, name, (volatile type * p, type value, int order)) {      \
    weave_step(WEAVE_EXCHANGE, p, PC);                                \
    return (type)weave_exchange(p, bytes, change, value, order);      \
  }

// The expected value is plain memory, and may be anybody's.
#define CAS(type, bytes, name, weak)                                                                       \
  HOOK(bool, name, (volatile type * p, type * expected, type value, int order, int failure_order)) {       \
    weave_access(expected, bytes, WEAVE_PLAIN_READ);                                                       \
    uint64_t seen = *expected;                                                                             \
    weave_step(WEAVE_CAS, p, PC);                                                                          \
    if (weave_cas(p, bytes, &seen, value, order, failure_order, weak)) return true;                        \
    weave_access(expected, bytes, WEAVE_PLAIN_WRITE);                                                      \
    *expected = (type)seen;                                                                                \
    return false;                                                                                          \
  }

// clang's hook, for a weak and a strong one.
#define CAS_VALUE(type, bytes, name)                                                                       \
  HOOK(type, name, (volatile type * p, type expected, type value, int order, int failure_order)) {         \
    uint64_t seen = expected;                                                                              \
    weave_step(WEAVE_CAS, p, PC);                                                                          \
    weave_cas(p, bytes, &seen, value, order, failure_order, false);                                        \
    return (type)seen;                                                                                     \
  }

#define ATOMICS(type, bytes, prefix)                                        \
  HOOK(type, prefix##_load, (const volatile type *p, int order)) {          \
    weave_step(WEAVE_LOAD, p, PC);                                          \
    return (type)weave_load(p, bytes, order);                               \
  }                                                                         \
  HOOK(void, prefix##_store, (volatile type * p, type value, int order)) {  \
    weave_step(WEAVE_STORE, p, PC);                                         \
    weave_store(p, bytes, value, order);                                    \
  }                                                                         \
  EXCHANGE(type, bytes, prefix##_exchange, WEAVE_SET)                       \
  EXCHANGE(type, bytes, prefix##_fetch_add, WEAVE_ADD)                      \
  EXCHANGE(type, bytes, prefix##_fetch_sub, WEAVE_SUB)                      \
  CAS(type, bytes, prefix##_compare_exchange_strong, false)                 \
  CAS(type, bytes, prefix##_compare_exchange_weak, true)                    \
  CAS_VALUE(type, bytes, prefix##_compare_exchange_val)

ATOMICS(uint8_t, 1, __tsan_atomic8)
ATOMICS(uint16_t, 2, __tsan_atomic16)
ATOMICS(uint32_t, 4, __tsan_atomic32)
ATOMICS(uint64_t, 8, __tsan_atomic64)

// ---- libc ----

HOOK(int, sched_yield, (void)) {
  weave_yield(PC);
  return 0;
}

HOOK(long, syscall, (long number, ...)) {
  if (number == SYS_sched_yield) {
    weave_yield(PC);
    return 0;
  }
  if (number != SYS_futex) weave_fail("weave: system call %ld", number);
  va_list arguments;
  va_start(arguments, number);
  const uint32_t *word = va_arg(arguments, const uint32_t *);
  int operation = va_arg(arguments, int) & ~FUTEX_PRIVATE_FLAG;
  uint32_t value = va_arg(arguments, uint32_t);
  bool timed = va_arg(arguments, const void *) != NULL;
  va_end(arguments);
  if (operation == FUTEX_WAIT) weave_futex_wait(word, value, timed, PC);
  else weave_futex_wake(word, (int)value, PC);
  return 0;
}

// ---- hz4 ----

__thread struct hz4_self hz4_self __attribute__((tls_model("initial-exec")));

void hz4_panic(const char *what) {
  weave_fail("panic: %s", what);
}

void hz4_panic_pointer(const char *what, const void *ptr) {
  weave_fail("panic: %s: %p", what, ptr);
}

void hz4_report_pointer(const char *what, const void *ptr, const void *frame) {
  weave_fail("report: %s: %p, %p", what, ptr, frame);
}

void hz4_assertion_failed(const char *what) {
  weave_fail("assertion: %s", what);
}

void hz4_stderr_remember(void) {}

void hz4_report_misuse(const char *what, const void *ptr, const void *frame) {
  (void)frame;
  hz4_panic_pointer(what, ptr);
}

void hz4_report_configure(bool warn) {
  (void)warn;
}

void hz4_warn(const char *what, const char *detail) {
  (void)what;
  (void)detail;
}
