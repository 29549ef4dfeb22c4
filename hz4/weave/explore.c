// The scheduler, the depth-first search over its choices, and main.
//
// An execution is a list of choices. Each is repeated with the last choice that has an alternative left set to the next
// one, and what follows it chosen afresh, until there are none.
//
// Sleep sets (P. Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996): after thread A's
// step was explored at some point, A sleeps in the branches of the others there until somebody makes a step that does
// not commute with A's; if all who could go on sleep, the execution is one that was run before in another order.
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "hz4/weave/model.h"

enum { STACK_BYTES = 128 << 10, TLS_BYTES = 4096, STEPS = 2000, STEPS_PRINTED = 80, CHOICES = 2 * STEPS };

struct thread {
  ucontext_t context;
  enum weave_operation pending;
  const volatile void *address;
  const void *pc;
  bool fresh;           // its next load returns the newest value: it has waited for others
  bool looked;           // it has read since it last wrote or yielded
  uint64_t seen_writes;  // all writes at the first such read; UINT64_MAX when one was of an old value
  int error_number;  // its errno
  char tls[TLS_BYTES];
};

struct step {
  int thread;
  enum weave_operation operation;
  const volatile void *address;
  const void *pc;
  char values[64];
};

int weave_current;

static const struct weave_scenario *scenario;
static int deeper;  // how much the bounds are raised
static struct thread threads[WEAVE_ALL_THREADS];
static _Alignas(64) char stacks[WEAVE_ALL_THREADS][STACK_BYTES];
static ucontext_t explorer;

static struct choice {
  int taken, options;
} choices[CHOICES];
static int choice_count, choice_next;

// Of the execution at hand.
static struct step steps[STEPS];
static int step_count, preemptions, old_values, spurious_failures, interruptions;
static uint64_t writes;
static unsigned asleep;  // bit t: thread t is in the sleep set
static bool started;
static enum { RUNNING, COMPLETE, SEEN_BEFORE, FAILED } outcome;
static char failure[512];

// The program's thread-local variables: each thread of a scenario has its own, and its errno. (weave has none.)
static char *tls;
static size_t tls_bytes;
static uintptr_t load_address;
static char tls_original[TLS_BYTES];

// ---- choices ----

int weave_choose(int options) {
  if (options == 1) return 0;
  if (choice_next == choice_count) {
    if (choice_count == CHOICES) weave_fail("weave: too many choices");
    choices[choice_count++] = (struct choice){.options = options};
  }
  return choices[choice_next++].taken;
}

// False: all is explored.
static bool next_choices(void) {
  while (choice_count > 0 && choices[choice_count - 1].taken + 1 == choices[choice_count - 1].options) --choice_count;
  if (choice_count == 0) return false;
  ++choices[choice_count - 1].taken;
  return true;
}

static bool within(int used, int bound) {
  return bound == WEAVE_UNBOUND || used < bound + deeper;
}

bool weave_may_read_old(void) {
  return !threads[weave_current].fresh && within(old_values, scenario->old_values);
}

// For the listing of a failed execution. An exchange reads, then writes: both are listed.
static void note_value(const char *how, uint64_t value) {
  if (step_count == 0) return;
  struct step *step = &steps[step_count - 1];
  size_t used = strlen(step->values);
  snprintf(step->values + used, sizeof(step->values) - used, " %s %#llx", how, (unsigned long long)value);
}

void weave_has_read(uint64_t value, bool old) {
  note_value(old ? "old" : "read", value);
  old_values += old;
  struct thread *thread = &threads[weave_current];
  thread->fresh = false;
  if (!thread->looked) thread->seen_writes = writes;
  if (old) thread->seen_writes = UINT64_MAX;
  thread->looked = true;
}

void weave_has_written(uint64_t value) {
  note_value("wrote", value);
  ++writes;
  threads[weave_current].looked = false;
}

// One in an execution: more would be the same loop once more.
bool weave_may_fail_spuriously(void) {
  if (spurious_failures > deeper || weave_choose(2) == 0) return false;
  ++spurious_failures;
  return true;
}

bool weave_may_interrupt(void) {
  if (scenario->preemptions == WEAVE_UNBOUND) weave_fail("weave: two sequences on one id need a bound");
  return within(interruptions, scenario->preemptions);
}

void weave_has_interrupted(void) {
  ++interruptions;
}

// ---- scheduler ----

bool weave_is_private(uintptr_t address) {
  return address - (uintptr_t)stacks < sizeof(stacks) || address - (uintptr_t)tls < tls_bytes ||
         address - (uintptr_t)&errno < sizeof(errno);
}

static void leave(int result) {
  outcome = result;
  setcontext(&explorer);
  abort();
}

void weave_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure, sizeof(failure), format, arguments);
  va_end(arguments);
  leave(FAILED);
  abort();
}

static bool others_are_done(void) {
  for (int t = 1; t < WEAVE_ALL_THREADS; ++t) {
    if (threads[t].pending != WEAVE_DONE) return false;
  }
  return true;
}

static bool can_go_on(int t) {
  switch (threads[t].pending) {
    case WEAVE_BEGIN: return t == 0 || started;
    case WEAVE_JOIN: return others_are_done();
    case WEAVE_YIELD: return threads[t].seen_writes != writes;  // to look again is of use
    case WEAVE_ENTER: return weave_kernel_may_enter(threads[t].address);
    case WEAVE_ASLEEP:
    case WEAVE_DONE: return false;
    default: return true;
  }
}

static bool commute(const struct thread *a, const struct thread *b) {
  if (a->pending == WEAVE_YIELD || b->pending == WEAVE_YIELD) return false;
  if (a->pending == WEAVE_RESTART || b->pending == WEAVE_RESTART) return false;
  int thread_a = (int)(a - threads), thread_b = (int)(b - threads);
  if (!weave_kernel_commute(a->pending, a->address, thread_b)) return false;
  if (!weave_kernel_commute(b->pending, b->address, thread_a)) return false;
  return a->address != b->address || (a->pending == WEAVE_LOAD && b->pending == WEAVE_LOAD);
}

// The thread that makes the next step.
static int pick(void) {
  int candidates[WEAVE_ALL_THREADS], count = 0;
  bool anybody = false;
  bool goes_on = can_go_on(weave_current) && threads[weave_current].pending != WEAVE_YIELD;
  for (int i = 0; i < WEAVE_ALL_THREADS; ++i) {
    int t = (weave_current + i) % WEAVE_ALL_THREADS;  // to go on is the first choice
    if (!can_go_on(t)) continue;
    anybody = true;
    if (t != weave_current && goes_on && !within(preemptions, scenario->preemptions)) continue;
    if ((asleep >> t & 1) == 0) candidates[count++] = t;
  }
  if (!anybody) weave_fail("deadlock: nobody can go on");
  if (count == 0) leave(SEEN_BEFORE);
  int chosen = weave_choose(count);
  int t = candidates[chosen];
  preemptions += t != weave_current && goes_on;
  if (scenario->preemptions == WEAVE_UNBOUND) {
    for (int i = 0; i < chosen; ++i) asleep |= 1u << candidates[i];
    for (int other = 0; other < WEAVE_ALL_THREADS; ++other) {
      if (!commute(&threads[t], &threads[other])) asleep &= ~(1u << other);
    }
  }
  return t;
}

static void switch_to(int to) {
  int from = weave_current;
  if (from == to) return;
  memcpy(threads[from].tls, tls, tls_bytes);
  threads[from].error_number = errno;
  errno = threads[to].error_number;
  memcpy(tls, threads[to].tls, tls_bytes);
  weave_current = to;
  swapcontext(&threads[from].context, &threads[to].context);
}

void weave_step(enum weave_operation operation, const volatile void *address, const void *pc) {
  if (!started) return;  // setup: nobody else is there
  struct thread *thread = &threads[weave_current];
  thread->pending = operation;
  thread->address = address;
  thread->pc = pc;
  switch_to(pick());
  if (step_count == STEPS) weave_fail("no end: more than %d steps", STEPS);
  steps[step_count++] = (struct step){weave_current, thread->pending, address, pc, ""};
}

uint64_t weave_snapshot(const volatile void *address) {
  weave_step(WEAVE_LOAD, address, __builtin_return_address(0));
  uint64_t value = weave_newest(address, sizeof(value));
  note_value("copied", value);
  return value;
}

void weave_yield(const void *pc) {
  weave_step(WEAVE_YIELD, NULL, pc);
  threads[weave_current].fresh = true;
  threads[weave_current].looked = false;
}

void weave_futex_wait(const volatile void *word, uint32_t expected, bool timed, const void *pc) {
  weave_step(WEAVE_WAIT, word, pc);
  // The kernel looks at the word and goes to sleep in one step, and looks at what is there now.
  if (weave_newest(word, sizeof(expected)) == expected) weave_step(timed ? WEAVE_DOZING : WEAVE_ASLEEP, word, pc);
  threads[weave_current].fresh = true;
}

void weave_futex_wake(const volatile void *word, int count, const void *pc) {
  weave_step(WEAVE_WAKE, word, pc);
  for (; count > 0; --count) {
    struct thread *waiting[WEAVE_ALL_THREADS];
    int found = 0;
    for (int t = 0; t < WEAVE_ALL_THREADS; ++t) {
      bool waits = threads[t].pending == WEAVE_ASLEEP || threads[t].pending == WEAVE_DOZING;
      if (waits && threads[t].address == word) waiting[found++] = &threads[t];
    }
    if (found == 0) return;
    waiting[weave_choose(found)]->pending = WEAVE_WOKEN;
  }
}

static void thread_main(int t) {
  if (t == 0) {
    if (scenario->setup != NULL) scenario->setup();
    for (int other = 1; other < WEAVE_ALL_THREADS; ++other) weave_memory_fork(other);
    started = true;
    weave_step(WEAVE_JOIN, NULL, NULL);
    for (int other = 1; other < WEAVE_ALL_THREADS; ++other) weave_memory_join(other);
    if (scenario->finish != NULL) scenario->finish();
    leave(COMPLETE);
  }
  scenario->thread[t - 1]();
  threads[t].pending = WEAVE_DONE;
  switch_to(pick());
}

// ---- search ----

static void run_execution(void) {
  weave_memory_begin();
  weave_kernel_begin();
  step_count = choice_next = preemptions = old_values = spurious_failures = interruptions = 0;
  writes = 0;
  asleep = 0;
  started = false;
  outcome = RUNNING;
  bool ended = false;
  for (int t = 0; t < WEAVE_ALL_THREADS; ++t) {
    struct thread *thread = &threads[t];
    ended |= t > 0 && scenario->thread[t - 1] == NULL;
    thread->pending = ended ? WEAVE_DONE : WEAVE_BEGIN;
    thread->address = thread;  // commutes with all
    thread->fresh = thread->looked = false;
    memcpy(thread->tls, tls_original, tls_bytes);
    getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = stacks[t];
    thread->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&thread->context, (void (*)(void))thread_main, 1, t);
  }
  memcpy(tls, tls_original, tls_bytes);
  weave_current = 0;
  volatile bool begun = false;
  getcontext(&explorer);  // leave() comes back here
  if (begun) return;
  begun = true;
  setcontext(&threads[0].context);
}

static const char *const operation_names[] = {
    "begins", "load", "store", "exchange", "compare and swap", "futex wait", "sleeps", "dozes",
    "woken",  "wake", "yield", "enters",   "restarts all",     "join",       "end",
};

static void print_steps(void) {
  for (int i = step_count > STEPS_PRINTED ? step_count - STEPS_PRINTED : 0; i < step_count; ++i) {
    const struct step *step = &steps[i];
    printf("  thread %d %s %p%s (addr2line %#lx)\n", step->thread, operation_names[step->operation],
           (void *)step->address, step->values, (unsigned long)((uintptr_t)step->pc - load_address));
  }
}

// True: no execution fails.
static bool explore(bool quiet) {
  uint64_t complete = 0, seen_before = 0;
  choice_count = 0;
  do {
    run_execution();
    complete += outcome == COMPLETE;
    seen_before += outcome == SEEN_BEFORE;
  } while (outcome != FAILED && next_choices());
  printf("%s: %llu executions", scenario->name, (unsigned long long)complete);
  if (seen_before != 0) printf(" (and %llu begun that only reorder one of them)", (unsigned long long)seen_before);
  if (scenario->preemptions != WEAVE_UNBOUND) printf(", at most %d preemptions", scenario->preemptions + deeper);
  if (scenario->old_values != WEAVE_UNBOUND) printf(", at most %d old values", scenario->old_values + deeper);
  if (outcome != FAILED) {
    printf(", none fails\n");
    return true;
  }
  printf(", then: %s\n", failure);
  if (strncmp(failure, "weave: ", 7) == 0) exit(2);  // too large for weave: nothing is known
  if (!quiet) print_steps();
  return false;
}

static int find_tls(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size;
  (void)unused;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type == PT_TLS) tls_bytes = info->dlpi_phdr[i].p_memsz;
  }
  tls = info->dlpi_tls_data;
  load_address = info->dlpi_addr;
  return 1;  // the program itself comes first, and no other is asked
}

// Without arguments each scenario must hold. --fails: at least one must not (a mutant). --deeper=N raises all bounds.
int main(int argc, char **argv) {
  bool must_fail = false;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--fails") == 0) {
      must_fail = true;
    } else if (sscanf(argv[i], "--deeper=%d", &deeper) != 1) {
      fprintf(stderr, "usage: %s [--fails] [--deeper=N]\n", argv[0]);
      return 2;
    }
  }
  dl_iterate_phdr(find_tls, NULL);
  if (tls_bytes > TLS_BYTES) abort();
  memcpy(tls_original, tls, tls_bytes);
  int surprises = 0;
  for (scenario = weave_scenarios; scenario->name != NULL; ++scenario) {
    bool holds = explore(must_fail || scenario->must_fail);
    if (must_fail && !holds) return 0;
    surprises += holds == scenario->must_fail;
  }
  if (must_fail) printf("the mutant survives\n");
  return must_fail || surprises != 0;
}
