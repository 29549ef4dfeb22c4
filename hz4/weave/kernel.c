// The kernel's part in restartable sequences: who is on which id, who is interrupted, and what knows of what thereby.
//
// At most one thread is inside a sequence on an id. Who enters one on the same id interrupts him, for the kernel has put
// him off; his next step begins his sequence anew. Whoever comes to an id knows all that was done there before, until
// its sequences ended or were interrupted: the kernel's own barriers see to that. What a thread does outside sequences
// it may do anywhere.
#include <stdatomic.h>

#include "hz4/weave/model.h"

enum { NOBODY = -1 };

static struct id {
  int inside;
} ids[WEAVE_IDS];

static struct thread {
  unsigned may;  // bit i: it may run on id i
  int id;        // where it ran last
  bool interrupted;
} threads[WEAVE_ALL_THREADS];

void weave_kernel_begin(void) {
  for (int i = 0; i < WEAVE_IDS; ++i) ids[i].inside = NOBODY;
  for (int t = 0; t < WEAVE_ALL_THREADS; ++t) threads[t] = (struct thread){.may = 1};
}

void weave_run_on(unsigned may) {
  threads[weave_current].may = may;
  threads[weave_current].id = __builtin_ctz(may);
}

static int inside_of(int thread) {
  for (int i = 0; i < WEAVE_IDS; ++i) {
    if (ids[i].inside == thread) return i;
  }
  return NOBODY;
}

bool weave_kernel_may_enter(const volatile void *id) {
  return ((const volatile struct id *)id)->inside == NOBODY || weave_may_interrupt();
}

bool weave_kernel_commute(enum weave_operation of_a, const volatile void *address_of_a, int b) {
  int id = inside_of(b);
  return of_a != WEAVE_ENTER || id == NOBODY || address_of_a != &ids[id];
}

static void leave(int id) {
  int thread = ids[id].inside;
  if (thread == NOBODY) return;
  weave_memory_leave(thread, id);
  ids[id].inside = NOBODY;
}

static void interrupt(int id) {
  if (ids[id].inside == NOBODY) return;
  threads[ids[id].inside].interrupted = true;
  leave(id);
}

// Where it ran last, or, as often as threads may be interrupted, elsewhere.
static int choose_id(struct thread *thread) {
  int options[WEAVE_IDS], count = 0;
  options[count++] = thread->id;
  for (int i = 0; i < WEAVE_IDS; ++i) {
    if (i != thread->id && (thread->may >> i & 1) != 0 && weave_may_interrupt()) options[count++] = i;
  }
  int chosen = weave_choose(count);
  if (chosen != 0) weave_has_interrupted();
  return options[chosen];
}

int weave_sequence_begin(void) {
  struct thread *thread = &threads[weave_current];
  thread->id = choose_id(thread);
  weave_step(WEAVE_ENTER, &ids[thread->id], __builtin_return_address(0));
  if (ids[thread->id].inside != NOBODY) {
    weave_has_interrupted();
    interrupt(thread->id);
  }
  thread->interrupted = false;
  ids[thread->id].inside = weave_current;
  weave_memory_enter(thread->id);
  return thread->id;
}

static bool step(enum weave_operation operation, const volatile void *address, const void *pc) {
  weave_step(operation, address, pc);
  if (!threads[weave_current].interrupted) return true;
  threads[weave_current].interrupted = false;
  return false;
}

bool weave_sequence_load(const volatile void *address, uint64_t *value, bool acquire) {
  if (!step(WEAVE_LOAD, address, __builtin_return_address(0))) return false;
  *value = weave_load(address, sizeof(*value), acquire ? memory_order_acquire : memory_order_relaxed);
  return true;
}

void weave_sequence_follow(void) {
  weave_memory_follow();
}

bool weave_sequence_look(const volatile void *address) {
  return step(WEAVE_LOAD, address, __builtin_return_address(0));
}

void weave_sequence_end(void) {
  int id = inside_of(weave_current);
  if (id != NOBODY) leave(id);
}

bool weave_sequence_commit(volatile void *address, uint64_t value) {
  if (!step(WEAVE_STORE, address, __builtin_return_address(0))) return false;
  weave_store(address, sizeof(value), value, memory_order_relaxed);
  weave_sequence_end();
  return true;
}

void weave_restart_sequences(void) {
  weave_step(WEAVE_RESTART, NULL, __builtin_return_address(0));
  for (int i = 0; i < WEAVE_IDS; ++i) interrupt(i);
  weave_memory_barrier();
}
