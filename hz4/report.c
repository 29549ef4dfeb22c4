#include "hz4/report.h"

#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#include "hz4/guarded.h"
#include "hz4/pagemap.h"
#include "hz4/sizeclass.h"
#include "hz4/slots.h"
#include "hz4/span.h"
#include "hz4/stack.h"
#include "hz4/syscall.h"
#include "hz4/writer.h"

// ---- blocks between guards ----

static bool find(const void *address, struct hz4_guarded_block *out) {
  if (hz4_slots_find(address, out) || hz4_guarded_find(address, out)) return true;
  if (hz4_pagemap_class_of(address) != HZ4_ZERO_CLASS) return false;
  *out = (struct hz4_guarded_block){.base = (const char *)((uintptr_t)address & -(uintptr_t)hz4_class_bytes(HZ4_ZERO_CLASS))};
  return true;
}

static void write_block(int fd, const struct hz4_guarded_block *block, const char *at) {
  const char *end = block->base + block->bytes;
  size_t far = (size_t)(at < block->base ? block->base - at : at < end ? at - block->base : at - end);
  HZ4_WRITER(w, 512, fd);
  hz4_put(&w, "hz4:   %lu bytes %s a block of %lu bytes at 0x%016lx%s\n", far,
          at < block->base ? "before" : at < end ? "into" : "behind", block->bytes, (uintptr_t)block->base,
          block->is_freed ? ", which is freed" : "");
  hz4_stack_put(&w, "allocated at", block->allocated_at, block->allocated_depth);
  hz4_stack_put(&w, "freed at", block->freed_at, block->freed_depth);
  hz4_writer_flush(&w);
}

bool hz4_report_block(int fd, const void *address) {
  struct hz4_guarded_block block;
  bool is_known = find(address, &block);
  if (is_known) write_block(fd, &block, address);
  return is_known;
}

// ---- reports of wrong use ----

static size_t class_bytes(const void *ptr) {
  const struct hz4_span *span = hz4_pagemap_span(ptr);
  return span != NULL && span->kind == HZ4_SPAN_OBJECTS ? hz4_class_usable(span->size_class) : 0;
}

static void more(int fd, const void *ptr, const void *frame) {
  HZ4_WRITER(w, 512, fd);
  uintptr_t stack[HZ4_REPORT_FRAMES];
  hz4_stack_put(&w, "at", stack, hz4_stack_take(frame, stack, HZ4_REPORT_FRAMES));
  hz4_writer_flush(&w);
  hz4_report_block(fd, ptr);
}

static const struct hz4_reporter reporter = {class_bytes, more};

void hz4_report_begin(void) {
  hz4_reporter = &reporter;
}

// ---- faults at guards ----

static struct sigaction program_action;

// The program counter and the frame pointer of what was interrupted, and whether it wrote; what is not known is 0, or
// "use".
static const char *read_context(const ucontext_t *context, uintptr_t *pc, uintptr_t *frame) {
#if defined(__x86_64__)
  *pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
  *frame = (uintptr_t)context->uc_mcontext.gregs[REG_RBP];
  // Intel SDM, volume 3, "Page-Fault Exception".
  return (context->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? "write" : "read";
#elif defined(__aarch64__)
  *pc = context->uc_mcontext.pc;
  *frame = context->uc_mcontext.regs[29];
  return "use";
#elif defined(__riscv)
  *pc = context->uc_mcontext.__gregs[REG_PC];
  *frame = context->uc_mcontext.__gregs[REG_S0];
  return "use";
#else
  (void)context;
  *pc = *frame = 0;
  return "use";
#endif
}

static void report_fault(const char *at, const struct hz4_guarded_block *block, const ucontext_t *context) {
  uintptr_t stack[HZ4_SLOT_FRAMES], frame;
  const char *verb = read_context(context, &stack[0], &frame);
  uint32_t depth = stack[0] != 0;
  if (depth != 0 && hz4_is_aligned((void *)frame, sizeof(frame)) && hz4_stack_readable(frame)) {
    depth += hz4_stack_take((void *)frame, stack + 1, HZ4_SLOT_FRAMES - 1);
  }
  HZ4_WRITER(w, 512, hz4_stderr(false));
  hz4_put(&w, "hz4: %s %s: 0x%016lx\n", verb,
          block->is_freed ? "after free" : at < block->base ? "before the beginning of a block" : "past the end of a block",
          (uintptr_t)at);
  hz4_stack_put(&w, "used at", stack, depth);
  hz4_writer_flush(&w);
  write_block(w.fd, block, at);
}

// What the program itself forbids of a block that it has is no news to it; nor is a signal that somebody sends.
static void look_at_fault(const siginfo_t *info, const ucontext_t *context) {
  const char *at = info->si_addr;
  struct hz4_guarded_block block;
  if (info->si_code <= 0 || !find(at, &block)) return;
  if (block.is_freed || at < block.base || at >= block.base + block.bytes) report_fault(at, &block, context);
}

// The program's own action has the signal as if there were none of ours: the default, and to ignore it, by a fault anew, or
// sent anew.
static void on_fault(int signal, siginfo_t *info, void *context) {
  int saved = errno;
  look_at_fault(info, context);
  errno = saved;
  if ((program_action.sa_flags & SA_SIGINFO) != 0) {
    program_action.sa_sigaction(signal, info, context);
  } else if (program_action.sa_handler != SIG_DFL && program_action.sa_handler != SIG_IGN) {
    program_action.sa_handler(signal);
  } else {
    sigaction(signal, &program_action, NULL);
    if (info->si_code <= 0) hz4_syscall(SYS_tgkill, hz4_syscall(SYS_getpid, 0), hz4_syscall(SYS_gettid, 0), signal);
  }
}

void hz4_report_faults(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  if (sigaction(SIGSEGV, NULL, &program_action) != 0 || program_action.sa_sigaction == on_fault) return;
  sigaction(SIGSEGV, &action, NULL);
}
