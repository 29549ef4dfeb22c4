// Rank 2. The return addresses of the functions that called hz4.
#ifndef HZ4_STACK_H_
#define HZ4_STACK_H_

#include "hz4/base.h"
#include "hz4/writer.h"

HZ4_BEGIN_DECLS

// The frame of this function, which it has for that reason; so where each function of hz4's between the program and this
// one says it, the chain of frame pointers is whole as far as hz4 goes.
#define HZ4_FRAME() __builtin_frame_address(0)

// Writes at most `max` return addresses, innermost first, beginning with that of the function whose frame it is. Returns
// their number. Never faults, takes no lock and allocates nothing, so that it may be called wherever no lock of hz4's is
// held, and in a signal's handler. Frames of code that has unwind tables are found by these (unwind.h), those of other code
// by frame pointers, as far as they lead upwards in small steps through memory that is there; functions without both are
// left out, or end it. A system call for each page beyond the first; errno is kept.
uint32_t hz4_stack_take(const void *frame, uintptr_t *out, uint32_t max);

// A line for each: "hz4:   <what> 0x... (file+0x...)"; the file as the dynamic linker calls it, "program" for the program
// itself; with glibc before 2.35, and with musl, the address alone. As hz4_stack_take, it may be called in a handler.
void hz4_stack_put(struct hz4_writer *w, const char *what, const uintptr_t *stack, uint32_t depth);

// Whether the 8 bytes at this address, a multiple of 8, can be read. A system call; errno is kept.
bool hz4_stack_readable(uintptr_t address);

HZ4_END_DECLS

#endif  // HZ4_STACK_H_
