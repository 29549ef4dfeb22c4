// Rank 1. Places that tracers can attach to (USDT), without cost where none does but for an instruction that does nothing:
// hz4 keeps a note of each in the file (section .note.stapsdt, as SystemTap has defined it), which bpftrace, perf, gdb and
// OpenTelemetry's profiler read.
//
//   hz4:map(address, bytes)          memory came from the system
//   hz4:purge(address, bytes)        memory went back to it, and the addresses are kept
//   otel_memory:alloc(block, size, weight), otel_memory:free(block)
//                                    sampled blocks, as OpenTelemetry's design document 00003 of its eBPF profiler has them
//
// Who attaches to one of OpenTelemetry's adds one to its semaphore: so hz4 samples only while somebody listens (probes.h).
#ifndef HZ4_PROBE_H_
#define HZ4_PROBE_H_

#include "hz4/base.h"

// Not under weave, which would take its arguments for memory that is shared.
#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__) || defined(__riscv)) && !defined(HZ4_SEQUENCE_MODEL)

// The note of one place: the version of its format (3); the addresses of the place, of a base by which readers find out how
// far the file was moved, and of the semaphore, or 0; provider, name, and where each argument lies: its bytes @ a register.
#define HZ4_PROBE_NOTE(provider, name, semaphore, arguments)                     \
  "990: nop\n"                                                                   \
  ".pushsection .note.stapsdt, \"?\", \"note\"\n"                                \
  ".balign 4\n"                                                                  \
  ".4byte 992f - 991f, 994f - 993f, 3\n"                                         \
  "991: .asciz \"stapsdt\"\n"                                                    \
  "992: .balign 4\n"                                                             \
  "993: .8byte 990b, _.stapsdt.base, " semaphore "\n"                            \
  ".asciz \"" provider "\"\n"                                                    \
  ".asciz \"" name "\"\n"                                                        \
  ".asciz \"" arguments "\"\n"                                                   \
  "994: .balign 4\n"                                                             \
  ".popsection\n"                                                                \
  ".ifndef _.stapsdt.base\n"                                                     \
  ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"    \
  ".weak _.stapsdt.base\n"                                                       \
  ".hidden _.stapsdt.base\n"                                                     \
  "_.stapsdt.base: .space 1\n"                                                   \
  ".size _.stapsdt.base, 1\n"                                                    \
  ".popsection\n"                                                                \
  ".endif\n"

// Of a function that has one: a linker that drops functions would drop it, and refuse its note (gold).
#ifdef __has_attribute
#if __has_attribute(retain)
#define HZ4_PROBED __attribute__((noinline, used, retain))
#endif
#endif
#ifndef HZ4_PROBED
#define HZ4_PROBED __attribute__((noinline, used))
#endif

#define HZ4_PROBE1(provider, name, semaphore, a) \
  __asm__ volatile(HZ4_PROBE_NOTE(provider, name, semaphore, "8@%0") : : "r"((uint64_t)(uintptr_t)(a)))
#define HZ4_PROBE2(provider, name, semaphore, a, b)                         \
  __asm__ volatile(HZ4_PROBE_NOTE(provider, name, semaphore, "8@%0 8@%1")   \
                   :                                                       \
                   : "r"((uint64_t)(uintptr_t)(a)), "r"((uint64_t)(b)))
#define HZ4_PROBE3(provider, name, semaphore, a, b, c)                           \
  __asm__ volatile(HZ4_PROBE_NOTE(provider, name, semaphore, "8@%0 8@%1 8@%2")   \
                   :                                                            \
                   : "r"((uint64_t)(uintptr_t)(a)), "r"((uint64_t)(b)), "r"((uint64_t)(c)))

#else
#define HZ4_PROBED
#define HZ4_PROBE1(provider, name, semaphore, a) ((void)(a))
#define HZ4_PROBE2(provider, name, semaphore, a, b) ((void)(a), (void)(b))
#define HZ4_PROBE3(provider, name, semaphore, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif  // HZ4_PROBE_H_
