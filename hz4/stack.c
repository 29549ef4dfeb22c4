#include "hz4/stack.h"

#include <errno.h>
#include <signal.h>

#include "hz4/sys.h"
#include "hz4/syscall.h"

// What is no address but a mark that the kernel or the compiler put beside it (pointer authentication).
#define ADDRESS_MASK (((uintptr_t)1 << HZ4_ADDRESS_BITS) - 1)

// The kernel reads the set of signals before it looks at what is to be done with it, which is nothing that there is. A
// filter of system calls knows this one.
bool hz4_stack_readable(uintptr_t address) {
  return hz4_syscall(SYS_rt_sigprocmask, -1, address, NULL, 8) != -EFAULT;
}

// Whether a word can be read; *known: up to here it can.
static bool is_there(uintptr_t word, uintptr_t *known) {
  if (HZ4_LIKELY(word <= *known)) return true;
  if (!hz4_stack_readable(word)) return false;
  *known = word | (hz4_sys_page_bytes() - 1);
  return true;
}

uint32_t hz4_stack_take(const void *frame, uintptr_t *out, uint32_t max) {
  uintptr_t at = (uintptr_t)frame, known = at | (hz4_sys_page_bytes() - 1);  // the frame that it begins with is there
  uint32_t n = 0;
  while (n < max && hz4_is_aligned((void *)at, sizeof(at))) {
    const uintptr_t *pair = (const uintptr_t *)at;  // the caller's frame, and where it goes on
    if (!is_there(at, &known) || !is_there(at + sizeof(at), &known)) break;
    uintptr_t next = pair[0], address = pair[1] & ADDRESS_MASK;
    if (address < hz4_sys_page_bytes()) break;  // no code: the outermost frame, or none
    out[n++] = address;
    if (next <= at || next - at > HZ4_STACK_STEP_MAX) break;
    at = next;
  }
  return n;
}
