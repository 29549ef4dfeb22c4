// Rank 0. Atomics whose names carry their memory order. No other file spells a memory order.
//
// A relaxed operation publishes nothing: it is for counters, hints and values that some other synchronisation already
// covers. Where _acquire, _release or _acq_rel stands, a comment at the call names what it publishes and its partner.
#ifndef HZ4_ATOMIC_H_
#define HZ4_ATOMIC_H_

#ifdef __cplusplus
// Tests in C++ see the same layout.
#include <atomic>
#define _Atomic(type) std::atomic<type>
using std::atomic_compare_exchange_strong_explicit;
using std::atomic_compare_exchange_weak_explicit;
using std::atomic_exchange_explicit;
using std::atomic_fetch_add_explicit;
using std::atomic_fetch_sub_explicit;
using std::atomic_load_explicit;
using std::atomic_store_explicit;
using std::memory_order_acq_rel;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;
#else
#include <stdatomic.h>
#endif

#define hz4_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define hz4_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define hz4_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define hz4_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define hz4_exchange_acquire(p, v) atomic_exchange_explicit((p), (v), memory_order_acquire)
#define hz4_exchange_release(p, v) atomic_exchange_explicit((p), (v), memory_order_release)
#define hz4_exchange_acq_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define hz4_fetch_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define hz4_fetch_add_acq_rel(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define hz4_fetch_sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)

// Of what is no atomic, for only its owner reads it but for those who take any value that it had lately.
#define hz4_peek(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define hz4_poke(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

// value += what is at p, loaded acquire. (GCC adds what an atomic load has loaded by a second instruction.)
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define hz4_add_acquire(value, p) __asm__("addq %1, %0" : "+r"(value) : "m"(*(const uintptr_t *)(p)))
#else
#define hz4_add_acquire(value, p) ((value) += hz4_load_acquire(p))
#endif

// Whether value > *p, a size_t, loaded relaxed. (As above.)
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define hz4_is_above_relaxed(value, p)                                                 \
  __extension__({                                                                      \
    bool above_;                                                                       \
    __asm__("cmpq %2, %1" : "=@cca"(above_) : "r"(value), "m"(*(const size_t *)(p))); \
    above_;                                                                            \
  })
#else
#define hz4_is_above_relaxed(value, p) ((value) > hz4_load_relaxed(p))
#endif

// On failure *expected is what was seen, loaded relaxed.
#define hz4_cas_weak_relaxed(p, expected, v) \
  atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_relaxed, memory_order_relaxed)
#define hz4_cas_weak_release(p, expected, v) \
  atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_release, memory_order_relaxed)
#define hz4_cas_strong_acquire(p, expected, v) \
  atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acquire, memory_order_relaxed)
// On failure *expected is what was seen, loaded acquire: the caller goes on to use it.
#define hz4_cas_strong_acq_rel(p, expected, v) \
  atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acq_rel, memory_order_acquire)

#endif  // HZ4_ATOMIC_H_
