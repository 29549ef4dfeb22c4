#include "hz4/stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>

#include "hz4/sys.h"
#include "hz4/syscall.h"
#include "hz4/unwind.h"

// What is no address but a mark that the kernel or the compiler put beside it (pointer authentication).
#define ADDRESS_MASK (((uintptr_t)1 << HZ4_ADDRESS_BITS) - 1)

// A frame pointer leads to the caller's frame pointer and the return address, and beside them is where the stack was
// before the call. (riscv64 has them below it; on aarch64 the stack may have been anywhere above, but is only used by rules.)
#ifdef __riscv
enum { FP_AT = -16, RA_AT = -8, SP_AT = 0 };
#else
enum { FP_AT = 0, RA_AT = 8, SP_AT = 16 };
#endif

struct walk {
  uintptr_t pc, sp, fp;  // the registers, in a function that called
  bool was_interrupted;  // no: by a signal, before the instruction at pc
  uintptr_t known;       // a page that is there
};

// The kernel reads the set of signals before it looks at what is to be done with it, which is nothing that there is. A
// filter of system calls knows this one.
bool hz4_stack_readable(uintptr_t address) {
  return hz4_syscall(SYS_rt_sigprocmask, -1, address, NULL, 8) != -EFAULT;
}

// What it reads need be no variable of anybody's.
__attribute__((no_sanitize("address"))) static bool load(struct walk *w, uintptr_t address, uintptr_t *value) {
  if (address % sizeof(*value) != 0) return false;
  uintptr_t page = address & -hz4_sys_page_bytes();
  if (page != w->known && !hz4_stack_readable(address)) return false;
  w->known = page;
  *value = *(const uintptr_t *)address;
  return true;
}

static uintptr_t at_place(const struct walk *w, unsigned base, intptr_t offset, uintptr_t cfa) {
  return (base == HZ4_UNWIND_CFA ? cfa : base == HZ4_UNWIND_SP ? w->sp : w->fp) + (uintptr_t)offset;
}

// False: there is no caller, or none that can be found.
static bool step_by_rule(struct walk *w, const struct hz4_unwind_rule *rule) {
  uintptr_t cfa = at_place(w, rule->cfa_base, rule->cfa_offset, 0), fp = w->fp, ra;
  if (rule->is_outermost || (rule->cfa_is_loaded && !load(w, cfa, &cfa))) return false;
  if (!load(w, at_place(w, rule->ra_base, rule->ra_offset, cfa), &ra)) return false;
  if (!rule->fp_is_kept && !load(w, at_place(w, rule->fp_base, rule->fp_offset, cfa), &fp)) return false;
  if (!rule->is_signal && cfa <= w->sp) return false;  // stacks grow downwards; a signal's handler may have one of its own
  *w = (struct walk){ra, cfa, fp, rule->is_signal, w->known};
  return true;
}

static bool step_by_frame_pointer(struct walk *w) {
  uintptr_t fp = w->fp, pair = fp + (uintptr_t)FP_AT, next, ra;
  if (pair < w->sp || pair - w->sp > HZ4_STACK_STEP_MAX) return false;
  if (!load(w, pair, &next) || !load(w, fp + (uintptr_t)RA_AT, &ra)) return false;
  *w = (struct walk){ra & ADDRESS_MASK, fp + SP_AT, next, false, w->known};
  return true;
}

static bool step(struct walk *w) {
  struct hz4_unwind_rule rule;
  // The address behind a call may be the next function's.
  if (hz4_unwind_find(w->was_interrupted ? w->pc : w->pc - 1, &rule)) return step_by_rule(w, &rule);
  return step_by_frame_pointer(w);
}

uint32_t hz4_stack_take(const void *frame, uintptr_t *out, uint32_t max) {
  uintptr_t at = (uintptr_t)frame;
  // The frame that it begins with is there.
  struct walk w = {.sp = at + (uintptr_t)FP_AT, .fp = at, .known = at & -hz4_sys_page_bytes()};
  uint32_t n = 0;
  // Where there is no code: the outermost frame, or none.
  for (bool any = step_by_frame_pointer(&w); n < max && any && w.pc >= hz4_sys_page_bytes(); any = step(&w)) out[n++] = w.pc;
  return n;
}

#ifdef DLFO_STRUCT_HAS_EH_COUNT  // <dlfcn.h> has _dl_find_object
#pragma weak _dl_find_object

// As addr2line wants it, in whatever place the file is mapped. (dladdr would take a lock.)
static void put_place_in_file(struct hz4_writer *w, uintptr_t pc) {
  struct dl_find_object found;
  if (_dl_find_object == NULL || _dl_find_object((void *)pc, &found) != 0) return;
  const struct link_map *file = found.dlfo_link_map;
  hz4_put(w, " (%s+0x%lx)", file->l_name[0] != '\0' ? file->l_name : "program", pc - file->l_addr);
}
#else
static void put_place_in_file(struct hz4_writer *w, uintptr_t pc) {
  (void)w, (void)pc;
}
#endif

void hz4_stack_put(struct hz4_writer *w, const char *what, const uintptr_t *stack, uint32_t depth) {
  for (uint32_t i = 0; i < depth; ++i) {
    hz4_put(w, "hz4:   %s 0x%016lx", what, stack[i]);
    put_place_in_file(w, stack[i]);
    hz4_put(w, "\n");
  }
}
