// weave: runs two or three threads of hz4's own code through all orders of their atomic operations, or all within a
// bound, under C11's rules of memory. For tests.
//
// How. The code under test is compiled as it stands, but with the compiler's instrumentation for ThreadSanitizer, which
// makes a call of every load and store and every atomic operation, with its memory order. Here those calls (hooks.c) do
// not go to ThreadSanitizer but to a scheduler (explore.c) and a memory (memory.c). Threads are coroutines. Before each
// atomic operation, futex call or sched_yield the scheduler chooses who goes on; where more than one answer is allowed
// (an old value for a load, a spurious failure, who is woken) it chooses that too. A depth-first search repeats the
// scenario from its start for every list of choices.
//
// What is found: a data race of plain accesses (or of a plain and an atomic one), a touch of unmapped memory, a failed
// weave_check, a panic of hz4's, a deadlock (which is also what a lost wake looks like), a loop without end.
//
// Memory. Each atomic keeps all its stores of an execution. A load may return any of them that coherence and
// happens-before allow; an acquire load that returns a release store, or one of the read-modify-writes after it, takes
// over what its writer knew. Not modelled, as nothing in hz4 uses or needs it: sequentially consistent operations and
// fences (they abort); loads that return a store that is made later; a store that comes before an earlier made one in
// its atomic's order.
//
// Bounds. Without one all orders are run, but of those that differ only by swapping independent operations only one
// (sleep sets). `preemptions` bounds how often a thread is interrupted that could go on, `old_values` how many loads of
// an execution return other than the newest value.
// `preemptions` also bounds how often in all a sequence is interrupted by another on its id, or a thread moves to another
// id; where that is used up, who would enter waits. membarrier interrupts without bound.
//
// All memory that instrumented code wrote is put back after each execution, so scenarios start from the program's
// initial state. Their C is instrumented too. They allocate by hz4_os_map, which is weave's own here.
#ifndef HZ4_WEAVE_WEAVE_H_
#define HZ4_WEAVE_WEAVE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEAVE_UNBOUND (-1)
#define WEAVE_THREADS 3

struct weave_scenario {
  const char *name;
  void (*setup)(void);                  // may be NULL; happens before the threads begin
  void (*thread[WEAVE_THREADS])(void);  // the first NULL ends the list
  void (*finish)(void);                 // may be NULL; happens after the threads have ended
  int preemptions;                      // WEAVE_UNBOUND: all orders
  int old_values;                       // WEAVE_UNBOUND: any number
  bool must_fail;                       // for weave's own tests
};

// Given by the test; ends with a scenario without a name.
extern const struct weave_scenario weave_scenarios[];

// Ends the search: the execution at hand is wrong.
__attribute__((noreturn, format(printf, 1, 2))) void weave_fail(const char *format, ...);

#define weave_check(condition)                                                         \
  do {                                                                                 \
    if (!(condition)) weave_fail("%s:%d: %s", __FILE__, __LINE__, #condition);         \
  } while (0)

// Something that the scenario leaves open: each of 0 .. options - 1 in turn.
int weave_choose(int options);

// ---- restartable sequences, as sequence_model.h has them ----

// That this thread runs on these ids (bit i: id i), at first on the lowest. Without it: on id 0.
void weave_run_on(unsigned ids);

// Returns the id.
int weave_sequence_begin(void);
// Each is a step, and does nothing and returns false where the sequence was interrupted before. The last also ends it.
bool weave_sequence_look(const volatile void *address);
bool weave_sequence_load(const volatile void *address, uint64_t *value, bool acquire);
bool weave_sequence_commit(volatile void *address, uint64_t value);
void weave_sequence_end(void);
// What depends on the value that was loaded last comes after what its writer had done: a late acquire.
void weave_sequence_follow(void);

// membarrier: interrupts all sequences, and is a barrier for all threads.
void weave_restart_sequences(void);

// What a copy of the memory would hold that fork makes now. A step.
uint64_t weave_snapshot(const volatile void *address);

#endif  // HZ4_WEAVE_WEAVE_H_
