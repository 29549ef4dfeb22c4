// What weave's parts know of each other: the scheduler (explore.c), the memory (memory.c), the hooks (hooks.c).
#ifndef HZ4_WEAVE_MODEL_H_
#define HZ4_WEAVE_MODEL_H_

#include "hz4/weave/weave.h"

// Thread 0 runs setup and finish.
#define WEAVE_ALL_THREADS (WEAVE_THREADS + 1)

enum weave_operation {
  WEAVE_BEGIN,
  WEAVE_LOAD,
  WEAVE_STORE,
  WEAVE_EXCHANGE,  // any read-modify-write
  WEAVE_CAS,
  WEAVE_WAIT,     // is about to sleep, if the word is as expected
  WEAVE_ASLEEP,   // until it is woken
  WEAVE_DOZING,   // until it is woken or times out
  WEAVE_WOKEN,
  WEAVE_WAKE,
  WEAVE_YIELD,
  WEAVE_ENTER,    // a sequence on an id
  WEAVE_RESTART,  // all sequences
  WEAVE_JOIN,
  WEAVE_DONE,
};

extern int weave_current;  // the running thread

// ---- explore.c ----

// Returns when the scheduler lets this thread do the operation.
void weave_step(enum weave_operation operation, const volatile void *address, const void *pc);
// For the listing of a failed execution: the value that the last step read or wrote.
void weave_note_value(uint64_t value);
void weave_yield(const void *pc);
void weave_futex_wait(const volatile void *word, uint32_t expected, bool timed, const void *pc);
void weave_futex_wake(const volatile void *word, int count, const void *pc);
// A stack, a thread-local variable: nobody else's.
bool weave_is_private(uintptr_t address);
// Whether a load of this thread may return other than the newest value, and what it did return.
bool weave_may_read_old(void);
void weave_has_read(uint64_t value, bool old);
void weave_has_written(uint64_t value);
bool weave_may_fail_spuriously(void);
bool weave_may_interrupt(void);
void weave_has_interrupted(void);

// ---- kernel.c ----

#define WEAVE_IDS 3

void weave_kernel_begin(void);  // a new execution
bool weave_kernel_may_enter(const volatile void *id);
// Whether the step of another thread is nothing to the sequence of thread b, if it is in one.
bool weave_kernel_commute(enum weave_operation of_a, const volatile void *address_of_a, int b);

// ---- memory.c ----

enum weave_access { WEAVE_PLAIN_READ, WEAVE_PLAIN_WRITE, WEAVE_ATOMIC_READ, WEAVE_ATOMIC_WRITE };

void weave_memory_begin(void);  // a new execution: everything is as the program loaded it
void weave_memory_fork(int thread);  // what thread 0 knows, `thread` knows
void weave_memory_join(int thread);  // the other way round
void weave_memory_leave(int thread, int id);  // what it knows, those know who come to the id
void weave_memory_enter(int id);
void weave_memory_barrier(void);  // this thread knows what all have done, and all know what it has

void weave_access(const volatile void *address, size_t bytes, enum weave_access kind);

// Learns what an acquire would have learnt at this thread's last load.
void weave_memory_follow(void);

enum weave_change { WEAVE_SET, WEAVE_ADD, WEAVE_SUB };

// `order` as in C11's enum.
uint64_t weave_load(const volatile void *address, size_t bytes, int order);
uint64_t weave_newest(const volatile void *address, size_t bytes);
void weave_store(volatile void *address, size_t bytes, uint64_t value, int order);
uint64_t weave_exchange(volatile void *address, size_t bytes, enum weave_change change, uint64_t value, int order);
bool weave_cas(volatile void *address, size_t bytes, uint64_t *expected, uint64_t value, int order, int failure_order,
               bool weak);

#endif  // HZ4_WEAVE_MODEL_H_
