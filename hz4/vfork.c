// Rank 12. vfork, for its children may allocate, though POSIX forbids it.
//
// A child of vfork runs in its parent's memory, while the thread that made it waits; other threads of the parent go on.
// The kernel keeps no id for it, so that what stands in the waiting thread's area is old: another thread may have it now.
// So for as long as the child lives, the thread has no cache: the child's mallocs and frees go to Mid. (What calls clone for
// itself, with CLONE_VM, is not helped; posix_spawn and system do not allocate in the child.)
//
// In assembly, for the child returns through a frame that the parent needs again.
#include "hz4/sequence.h"

_Static_assert(offsetof(struct hz4_front, area) == 0 && offsetof(struct hz4_front, lent) == 30, "as the code has it");

// Where the compiler protects branches (-fcf-protection, -mbranch-protection), what is called by a pointer begins with a mark.
// And with a shadow stack the child must leave vfork by a jump: it shares that stack, whose entry for this call the parent
// needs again.
#if defined(__CET__) && (__CET__ & 1)
#define ENTRY "endbr64\n\t"
#elif defined(__ARM_FEATURE_BTI_DEFAULT)
#define ENTRY "hint #34\n\t"  // bti c
#else
#define ENTRY
#endif
#if defined(__CET__) && (__CET__ & 2)
#define RETURN_OF_CHILD          \
  "xorl %edx, %edx\n\t"          \
  "rdsspq %rdx\n\t" /* stays 0 where there is no such stack */ \
  "testq %rdx, %rdx\n\t"         \
  "jz 3f\n\t"                    \
  "popq %rdi\n\t"                \
  "notrack jmp *%rdi\n"          \
  "3:\n\t"
#else
#define RETURN_OF_CHILD
#endif

#if defined(__x86_64__)
__asm__(
    ".pushsection .text\n\t"
    ".globl vfork\n\t"
    ".type vfork, @function\n"
    "vfork:\n\t" ENTRY
    "movq hz4_front@gottpoff(%rip), %rdx\n\t"
    "movq %fs:(%rdx), %r8\n\t"       // area, and
    "movzbl %fs:30(%rdx), %r9d\n\t"  // lent, as they were: in the parent's registers
    "leaq hz4_no_area(%rip), %rcx\n\t"
    "movq %rcx, %fs:(%rdx)\n\t"
    "movb $1, %fs:30(%rdx)\n\t"
    "popq %rdi\n\t"  // the child will overwrite the stack below
    "movl $58, %eax\n\t"
    "syscall\n\t"
    "pushq %rdi\n\t"
    "testq %rax, %rax\n\t"
    "jz 1f\n\t"
    "movq %r8, %fs:(%rdx)\n\t"
    "movb %r9b, %fs:30(%rdx)\n\t"
    "js 2f\n\t"
    "ret\n"
    "1:\n\t" RETURN_OF_CHILD
    "ret\n"
    "2:\n\t"
    "pushq %rax\n\t"
    "call __errno_location@PLT\n\t"
    "popq %rcx\n\t"
    "negl %ecx\n\t"
    "movl %ecx, (%rax)\n\t"
    "movq $-1, %rax\n\t"
    "ret\n\t"
    ".size vfork, . - vfork\n\t"
    ".popsection\n");
#elif defined(__aarch64__)
__asm__(
    ".pushsection .text\n\t"
    ".globl vfork\n\t"
    ".type vfork, %function\n"
    "vfork:\n\t" ENTRY
    "mrs x9, tpidr_el0\n\t"
    "adrp x10, :gottprel:hz4_front\n\t"
    "ldr x10, [x10, :gottprel_lo12:hz4_front]\n\t"
    "add x9, x9, x10\n\t"
    "ldr x10, [x9]\n\t"         // area, and
    "ldrb w11, [x9, #30]\n\t"   // lent, as they were: in the parent's registers
    "adrp x12, hz4_no_area\n\t"
    "add x12, x12, :lo12:hz4_no_area\n\t"
    "str x12, [x9]\n\t"
    "mov w12, #1\n\t"
    "strb w12, [x9, #30]\n\t"
    "mov x0, #0x4111\n\t"  // CLONE_VM | CLONE_VFORK | SIGCHLD
    "mov x1, xzr\n\t"
    "mov x8, #220\n\t"  // clone
    "svc #0\n\t"
    "cbz x0, 1f\n\t"
    "str x10, [x9]\n\t"
    "strb w11, [x9, #30]\n\t"
    "tbnz x0, #63, 2f\n"
    "1:\n\t"
    "ret\n"
    "2:\n\t"
    "stp x29, x30, [sp, #-32]!\n\t"
    "str x0, [sp, #16]\n\t"
    "bl __errno_location\n\t"
    "ldr x1, [sp, #16]\n\t"
    "neg w1, w1\n\t"
    "str w1, [x0]\n\t"
    "mov x0, #-1\n\t"
    "ldp x29, x30, [sp], #32\n\t"
    "ret\n\t"
    ".size vfork, . - vfork\n\t"
    ".popsection\n");
#endif
