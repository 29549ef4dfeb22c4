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

#ifdef __cplusplus
extern "C" {
#endif

// An address: one of these plus the offset.
enum hz4_unwind_base { HZ4_UNWIND_CFA, HZ4_UNWIND_SP, HZ4_UNWIND_FP };
struct hz4_unwind_place {
  int32_t offset;
  uint8_t base;
};

struct hz4_unwind_rule {
  struct hz4_unwind_place cfa;  // the canonical frame address (CFA), which is the caller's stack pointer; never of itself
  struct hz4_unwind_place fp, ra;  // where they are saved
  bool cfa_is_loaded;              // the CFA is what lies at that place
  bool fp_is_kept;                 // it still is in its register
  bool is_outermost;               // there is no caller
  bool is_signal;                  // of a signal: the caller was interrupted at its address, and did not call
};

// The rule for the instruction at pc. False: there is none.
bool hz4_unwind_find(uintptr_t pc, struct hz4_unwind_rule *rule);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_UNWIND_H_
