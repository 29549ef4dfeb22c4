#include "hz4/slots.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "hz4/meta.h"
#include "hz4/os.h"
#include "hz4/pagemap.h"
#include "hz4/span.h"
#include "hz4/stack.h"
#include "hz4/sys.h"
#include "hz4/writer.h"

struct event {
  uint32_t depth;
  uintptr_t stack[HZ4_SLOT_FRAMES];
};

// By who has the slot. (A report reads them without: of a program that goes on it may be wrong.)
struct slot {
  _Atomic(struct hz4_sample *) sample;  // NULL: it is not live
  char *block;
  size_t size;  // 0: it never was
  struct event allocated, freed;
};

static struct hz4_span pool = {.kind = HZ4_SPAN_SLOTS};
static size_t slot_bytes, stride;  // without, and with, the page behind it
static struct slot *slots;         // NULL: there is no pool
static bool by_marks;              // MADV_GUARD_INSTALL
static _Atomic(uint64_t) order[HZ4_SLOTS];
static _Atomic(uint64_t) last_order;

// ---- pages ----

static bool forbid(char *base, size_t bytes) {
  if (by_marks) return hz4_sys_guard(base, bytes);
  hz4_sys_purge(base, bytes);
  return hz4_sys_forbid(base, bytes);
}

// Afterwards they are zero. (Of what was purged that is not sure.)
static bool allow(char *base, size_t bytes) {
  if (by_marks) return hz4_sys_unguard(base, bytes);
  if (!hz4_sys_allow(base, bytes)) return false;
  memset(base, 0, bytes);
  return true;
}

bool hz4_slots_begin(void) {
  if (slots != NULL) return true;
  size_t page = hz4_sys_page_bytes();
  slot_bytes = hz4_round_up(HZ4_SLOT_BYTES_MAX, page);
  stride = slot_bytes + page;
  size_t bytes = hz4_round_up(page + HZ4_SLOTS * stride, HZ4_PAGE_BYTES);
  pool.base = hz4_os_map(bytes, HZ4_PAGE_BYTES);
  if (pool.base == NULL) return false;
  pool.bytes = bytes;
  struct slot *memory = hz4_meta_alloc(HZ4_SLOTS * sizeof(struct slot));
  // Some systems say yes to any advice.
  by_marks = hz4_sys_guard(pool.base, bytes) && !hz4_stack_readable((uintptr_t)pool.base);
  bool is_ready = memory != NULL && hz4_pagemap_reserve(pool.base, bytes >> HZ4_PAGE_SHIFT);
  if (!is_ready || !(by_marks || forbid(pool.base, bytes))) {
    if (memory != NULL) hz4_meta_free(memory, HZ4_SLOTS * sizeof(struct slot));
    hz4_os_unmap(pool.base, bytes);
    return false;
  }
  hz4_pagemap_set(pool.base, bytes >> HZ4_PAGE_SHIFT, &pool, 0);
  for (uint64_t i = 0; i < HZ4_SLOTS; ++i) hz4_store_relaxed(&order[i], i + 1);
  hz4_store_relaxed(&last_order, HZ4_SLOTS);
  slots = memory;
  return true;
}

static char *base_of(size_t index) {
  return pool.base + hz4_sys_page_bytes() + index * stride;
}

// The slot that the address is in; that before it where it is in the first half of a page between two.
static size_t index_of(const void *address) {
  size_t page = hz4_sys_page_bytes(), offset = (size_t)((const char *)address - pool.base);
  size_t index = offset < page ? 0 : (offset - page / 2) / stride;
  return index < HZ4_SLOTS ? index : HZ4_SLOTS - 1;
}

// The pages that an object lies in.
static char *pages_of(const struct slot *slot, size_t *bytes) {
  uintptr_t page = hz4_sys_page_bytes(), first = (uintptr_t)slot->block & -page;
  *bytes = hz4_round_up((uintptr_t)slot->block + slot->size, page) - first;
  return (char *)first;
}

// ---- objects ----

// The slot that has been free for longest. False: there is none.
static bool take_slot(size_t *out) {
  for (;;) {
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < HZ4_SLOTS; ++i) {
      uint64_t when = hz4_load_relaxed(&order[i]);
      if (when == 0 || when >= least) continue;
      least = when;
      *out = i;
    }
    if (least == UINT64_MAX) return false;
    if (hz4_cas_strong_acquire(&order[*out], &least, 0)) return true;  // pairs with give_slot: all of it
  }
}

static void give_slot(size_t index) {
  hz4_store_release(&order[index], hz4_fetch_add_relaxed(&last_order, 1) + 1);
}

void *hz4_slots_alloc(size_t size, size_t align, bool at_end, const uintptr_t *stack, uint32_t depth) {
  size_t index = 0, bytes;
  if (slots == NULL || size > HZ4_SLOT_BYTES_MAX || align > hz4_sys_page_bytes() || !take_slot(&index)) return NULL;
  struct slot *slot = &slots[index];
  slot->block = base_of(index);
  if (at_end) slot->block = (char *)(((uintptr_t)slot->block + slot_bytes - size) & -(uintptr_t)align);
  slot->size = size;
  slot->freed.depth = 0;
  slot->allocated.depth = depth < HZ4_SLOT_FRAMES ? depth : HZ4_SLOT_FRAMES;
  for (uint32_t i = 0; i < slot->allocated.depth; ++i) slot->allocated.stack[i] = stack[i];
  char *first = pages_of(slot, &bytes);
  if (allow(first, bytes)) return slot->block;
  slot->size = 0;
  give_slot(index);
  return NULL;
}

_Atomic(struct hz4_sample *) *hz4_slots_sample(const void *ptr) {
  struct slot *slot = &slots[index_of(ptr)];
  return slot->size != 0 && slot->block == ptr ? &slot->sample : NULL;
}

const char *hz4_slots_wrong_free(const void *ptr) {
  const struct slot *slot = &slots[index_of(ptr)];
  const char *at = ptr;
  bool is_in_object = slot->size != 0 && at >= slot->block && at < slot->block + slot->size;
  if (!is_in_object) return "free of a pointer that is not allocated";
  if (at != slot->block) return "free of a pointer into the middle of an object";
  return "double free";
}

static bool is_zero(const char *from, const char *to) {
  for (; from < to; ++from) {
    if (*from != 0) return false;
  }
  return true;
}

const char *hz4_slots_free(void *ptr, const void *frame) {
  size_t index = index_of(ptr), bytes;
  struct slot *slot = &slots[index];
  char *first = pages_of(slot, &bytes), *end = slot->block + slot->size;
  const char *wrong = NULL;
  if (!is_zero(first, slot->block)) wrong = "write before the beginning of a block";
  if (!is_zero(end, first + bytes)) wrong = "write past the end of a block";
  slot->freed.depth = hz4_stack_take(frame, slot->freed.stack, HZ4_SLOT_FRAMES);
  // Where it fails the slot is not used again: the object could be touched still, but hurts nobody.
  if (forbid(first, bytes)) give_slot(index);
  return wrong;
}

// ---- reports ----

static void put_place(struct hz4_writer *w, const struct slot *slot, const char *at) {
  const char *end = slot->block + slot->size;
  size_t far = (size_t)(at < slot->block ? slot->block - at : at < end ? at - slot->block : at - end);
  hz4_put(w, "hz4:   %lu bytes %s a block of %lu bytes at 0x%016lx%s\n", far,
          at < slot->block ? "before" : at < end ? "into" : "behind", slot->size, (uintptr_t)slot->block,
          slot->freed.depth != 0 ? ", which is freed" : "");
}

static bool holds(const void *address) {
  return slots != NULL && (uintptr_t)address - (uintptr_t)pool.base < pool.bytes;
}

bool hz4_slots_write(int fd, const void *address) {
  if (!holds(address)) return false;
  const struct slot *slot = &slots[index_of(address)];
  if (slot->size == 0) return false;
  HZ4_WRITER(w, 512, fd);
  put_place(&w, slot, address);
  hz4_stack_put(&w, "allocated at", slot->allocated.stack, slot->allocated.depth);
  hz4_stack_put(&w, "freed at", slot->freed.stack, slot->freed.depth);
  hz4_writer_flush(&w);
  return true;
}

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

static void report(const char *at, const ucontext_t *context) {
  const struct slot *slot = &slots[index_of(at)];
  struct event here = {.depth = 0};
  uintptr_t frame;
  const char *verb = read_context(context, &here.stack[0], &frame);
  here.depth = here.stack[0] != 0;
  if (here.depth != 0 && hz4_is_aligned((void *)frame, sizeof(frame)) && hz4_stack_readable(frame)) {
    here.depth += hz4_stack_take((void *)frame, here.stack + 1, HZ4_SLOT_FRAMES - 1);
  }
  HZ4_WRITER(w, 512, hz4_stderr(false));
  bool is_freed = slot->freed.depth != 0, is_before = at < slot->block;
  hz4_put(&w, "hz4: %s %s: 0x%016lx\n", verb,
          is_freed ? "after free" : is_before ? "before the beginning of a block" : "past the end of a block", (uintptr_t)at);
  hz4_stack_put(&w, "used at", here.stack, here.depth);
  hz4_writer_flush(&w);
  hz4_slots_write(w.fd, at);
}

// The program's own action has the signal as if there were none of ours: the default, and to ignore it, by a fault anew.
static void on_fault(int signal, siginfo_t *info, void *context) {
  int saved = errno;
  if (holds(info->si_addr) && slots[index_of(info->si_addr)].size != 0) report(info->si_addr, context);
  errno = saved;
  if ((program_action.sa_flags & SA_SIGINFO) != 0) program_action.sa_sigaction(signal, info, context);
  else if (program_action.sa_handler != SIG_DFL && program_action.sa_handler != SIG_IGN) program_action.sa_handler(signal);
  else sigaction(signal, &program_action, NULL);
}

void hz4_slots_handle_faults(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  if (sigaction(SIGSEGV, NULL, &program_action) != 0 || program_action.sa_sigaction == on_fault) return;
  sigaction(SIGSEGV, &action, NULL);
}
