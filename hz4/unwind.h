// Rank 1. How to go from a function's frame to its caller's, by the tables that compilers write for C++'s exceptions
// (.eh_frame: Linux Standard Base, "Exception Frames"; DWARF 5, 6.4), which stand in memory in every program and library.
//
// As much of them as a stack trace needs: where the stack pointer was before the call, and where the frame pointer and
// the return address are saved. glibc's _dl_find_object (2.35) names the tables of an address; it takes no lock and
// allocates nothing, as this does not: so it may be used inside malloc, and in a signal's handler. Elsewhere, and of code
// that has no tables, there is no rule. Nor on other machines than x86-64: their compilers keep frame pointers (aarch64).
#ifndef HZ4_UNWIND_H_
#define HZ4_UNWIND_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

// An address is one of these and an offset: the canonical frame address (CFA), which is the caller's stack pointer, or a
// register of the function.
enum hz4_unwind_base { HZ4_UNWIND_CFA, HZ4_UNWIND_SP, HZ4_UNWIND_FP };

// In one word, so that a table of them needs no lock. What does not fit is no rule.
struct hz4_unwind_rule {
  int64_t cfa_offset : 28;
  int64_t fp_offset : 14, ra_offset : 11;  // where they are saved
  uint64_t cfa_base : 2, fp_base : 2, ra_base : 2;
  uint64_t cfa_is_loaded : 1;  // the CFA is what lies at that place
  uint64_t fp_is_kept : 1;     // it still is in its register
  uint64_t is_outermost : 1;   // there is no caller
  uint64_t is_signal : 1;      // of a signal: the caller was interrupted at its address, and did not call
  uint64_t is_known : 1;       // it is a rule
};

// The rule for the instruction at pc. False: there is none.
bool hz4_unwind_find(uintptr_t pc, struct hz4_unwind_rule *rule);

HZ4_END_DECLS

#endif  // HZ4_UNWIND_H_
