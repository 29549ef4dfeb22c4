// weave itself: it finds what is wrong with the classic examples, and nothing wrong with their right versions.
#include "hz4/weave/weave.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hz4/atomic.h"
#include "hz4/os.h"

static _Atomic(uint64_t) x, y;
static _Atomic(uint32_t) word;
static uint64_t payload, r1, r2;

// ---- message passing: what was written before a release is there after the acquire, and only then ----

static void send(void) {
  payload = 42;
  hz4_store_release(&x, 1);
}
static void send_relaxed(void) {
  payload = 42;
  hz4_store_relaxed(&x, 1);
}
static void send_and_write_on(void) {
  hz4_store_release(&x, 1);
  payload = 42;
}
static void receive(void) {
  if (hz4_load_acquire(&x) != 0) weave_check(payload == 42);
}
static void receive_relaxed(void) {
  if (hz4_load_relaxed(&x) != 0) weave_check(payload == 42);
}
static void receive_waiting(void) {
  while (hz4_load_acquire(&x) == 0) sched_yield();
  weave_check(payload == 42);
}
static void receive_spinning(void) {
  while (hz4_load_acquire(&x) == 0) continue;
}

// Relaxed on both sides, and no plain access: the flag may be seen before the value.
static void send_atomic(void) {
  hz4_store_relaxed(&y, 42);
  hz4_store_relaxed(&x, 1);
}
static void receive_atomic(void) {
  if (hz4_load_acquire(&x) != 0) weave_check(hz4_load_relaxed(&y) == 42);
}

// Through a third thread, and through a read-modify-write or a store of its own in between.
static void pass_on(void) {
  if (hz4_load_acquire(&x) != 0) hz4_store_release(&y, 1);
}
static void pass_on_relaxed(void) {
  if (hz4_load_relaxed(&x) != 0) hz4_store_release(&y, 1);
}
static void receive_y(void) {
  if (hz4_load_acquire(&y) != 0) weave_check(payload == 42);
}
static void add_relaxed(void) {
  hz4_fetch_add_relaxed(&x, 2);
}
static void store_relaxed_3(void) {
  if (hz4_load_relaxed(&x) == 1) hz4_store_relaxed(&x, 3);
}
static void receive_3(void) {
  if (hz4_load_acquire(&x) == 3) weave_check(payload == 42);
}

// ---- store buffering: each may miss the other's store ----

static void buffer_x(void) {
  hz4_store_release(&x, 1);
  r1 = hz4_load_acquire(&y);
}
static void buffer_y(void) {
  hz4_store_release(&y, 1);
  r2 = hz4_load_acquire(&x);
}
static void not_00(void) {
  weave_check(r1 != 0 || r2 != 0);
}
static void not_01(void) {
  weave_check(r1 != 0 || r2 != 1);
}
static void not_10(void) {
  weave_check(r1 != 1 || r2 != 0);
}
static void not_11(void) {
  weave_check(r1 != 1 || r2 != 1);
}

// ---- coherence: one thread never sees a value and then an older one ----

static void store_twice(void) {
  hz4_store_relaxed(&x, 1);
  hz4_store_relaxed(&x, 2);
}
static void load_twice(void) {
  r1 = hz4_load_relaxed(&x);
  r2 = hz4_load_relaxed(&x);
}
static void never_backwards(void) {
  weave_check(r1 <= r2);
}
static void never_an_old_value(void) {
  weave_check(r1 != 1 || r2 != 1);
}

// ---- lost updates ----

static void add_by_store(void) {
  hz4_store_relaxed(&x, hz4_load_relaxed(&x) + 1);
}
static void add_by_cas(void) {
  uint64_t seen = hz4_load_relaxed(&x);
  while (!hz4_cas_weak_relaxed(&x, &seen, seen + 1)) continue;
}
static void add_by_one_weak_cas(void) {
  uint64_t seen = hz4_load_relaxed(&x);
  hz4_cas_weak_relaxed(&x, &seen, seen + 1);
}
static void is_1(void) {
  weave_check(hz4_load_relaxed(&x) == 1);
}
static void is_2(void) {
  weave_check(hz4_load_relaxed(&x) == 2);
}
static void is_3(void) {
  weave_check(hz4_load_relaxed(&x) == 3);
}

// ---- ABA: a stack whose pop follows the next of a node that another thread may have popped and pushed again ----

static struct node {
  _Atomic(struct node *) next;
  bool mine;
} nodes[3];
static _Atomic(struct node *) stack;

static void push(struct node *node) {
  struct node *seen = hz4_load_relaxed(&stack);
  do {
    hz4_store_relaxed(&node->next, seen);
  } while (!hz4_cas_weak_release(&stack, &seen, node));
}
static struct node *pop(void) {
  struct node *seen = hz4_load_acquire(&stack);
  while (seen != NULL && !hz4_cas_strong_acq_rel(&stack, &seen, hz4_load_relaxed(&seen->next))) continue;
  return seen;
}
static void fill_stack(void) {
  for (int i = 0; i < 3; ++i) push(&nodes[i]);
}
static void pop_one(void) {
  struct node *node = pop();
  if (node == NULL) return;
  weave_check(!node->mine);
  node->mine = true;
}
static void pop_two_push_one(void) {
  struct node *first = pop(), *second = pop();
  if (second != NULL) second->mine = true;
  if (first != NULL) push(first);
}
static void pop_rest(void) {
  for (struct node *node = pop(); node != NULL; node = pop()) weave_check(!node->mine);
}

// ---- blocking ----

static void wait_for_word(void) {
  while (hz4_load_acquire(&word) == 0) syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}
static void set_word(void) {
  hz4_store_release(&word, 1);
}
static void set_word_and_wake(void) {
  hz4_store_release(&word, 1);
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
}
static void wake_before_setting(void) {
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
  hz4_store_release(&word, 1);
}

static void take(_Atomic(uint64_t) *lock) {
  uint64_t seen = 0;
  while (!hz4_cas_strong_acquire(lock, &seen, 1)) {
    seen = 0;
    sched_yield();
  }
}
static void take_x_then_y(void) {
  take(&x);
  take(&y);
  ++payload;
  hz4_store_release(&y, 0);
  hz4_store_release(&x, 0);
}
static void take_y_then_x(void) {
  take(&y);
  take(&x);
  ++payload;
  hz4_store_release(&x, 0);
  hz4_store_release(&y, 0);
}
static void payload_is_2(void) {
  weave_check(payload == 2);
}

// ---- memory ----

static _Atomic(uint64_t *) mapping;

static void map(void) {
  hz4_store_release(&mapping, (uint64_t *)hz4_os_map(4096, 4096));
}
static void map_relaxed(void) {
  hz4_store_relaxed(&mapping, (uint64_t *)hz4_os_map(4096, 4096));
}
static void use_mapping(void) {
  uint64_t *found = hz4_load_acquire(&mapping);
  if (found != NULL) ++*found;
}
static void use_atomic_in_mapping(void) {
  uint64_t *found = hz4_load_relaxed(&mapping);
  if (found != NULL) hz4_fetch_add_relaxed((_Atomic(uint64_t) *)found, 1);
}
static void unmap_used(void) {
  uint64_t *found = hz4_exchange_acquire(&mapping, NULL);
  if (found == NULL) return;
  ++*found;
  hz4_os_unmap(found, 4096);
}
static void unmap_late(void) {
  uint64_t *found = hz4_exchange_acquire(&mapping, NULL);
  if (found == NULL) return;
  hz4_os_unmap(found, 4096);
  ++*found;
}

static __thread uint64_t of_this_thread;

static void count_for_itself(void) {
  for (int i = 0; i < 3; ++i) {
    hz4_fetch_add_relaxed(&x, 1);
    ++of_this_thread;
  }
  weave_check(of_this_thread == 3);
}

// ---- restartable sequences ----

static void add_by_sequence(void) {
  for (;;) {
    uint64_t seen;
    weave_sequence_begin();
    if (weave_sequence_load(&x, &seen, false) && weave_sequence_commit(&x, seen + 1)) return;
  }
}
static void add_on_id_1(void) {
  weave_run_on(2);
  add_by_sequence();
}
static void add_and_move(void) {
  weave_run_on(3);
  add_by_sequence();
}
static void add_and_read_payload(void) {
  add_by_sequence();
  if (hz4_load_relaxed(&x) == 2) ++payload;
}
// What a sequence has read before, it commits before or not at all.
static void store_and_restart(void) {
  hz4_store_relaxed(&x, 10);
  weave_restart_sequences();
  r1 = hz4_load_relaxed(&x);
}
static void store_without_restart(void) {
  hz4_store_relaxed(&x, 10);
  r1 = hz4_load_relaxed(&x);
}
static void what_stood_is_kept(void) {
  weave_check(r1 != 10 || hz4_load_relaxed(&x) >= 10);
}
static void buffer_x_and_restart(void) {
  hz4_store_relaxed(&x, 1);
  weave_restart_sequences();
  r1 = hz4_load_relaxed(&y);
}
static void buffer_y_relaxed(void) {
  hz4_store_relaxed(&y, 1);
  r2 = hz4_load_relaxed(&x);
}
static void follow(void) {
  uint64_t seen;
  weave_run_on(2);
  weave_sequence_begin();
  if (!weave_sequence_load(&x, &seen, false)) return;
  weave_sequence_follow();
  weave_sequence_end();
  if (seen == 1) weave_check(payload == 42);
}
static void do_not_follow(void) {
  uint64_t seen;
  weave_run_on(2);
  weave_sequence_begin();
  if (!weave_sequence_load(&x, &seen, false)) return;
  weave_sequence_end();
  if (seen == 1) weave_check(payload == 42);
}

// clang's hook does not tell a weak compare-and-swap from a strong one.
#ifdef __clang__
#define SPURIOUS_FAILURES false
#else
#define SPURIOUS_FAILURES true
#endif

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

const struct weave_scenario weave_scenarios[] = {
    {"release and acquire", NULL, {send, receive}, NULL, ALL, false},
    {"relaxed store", NULL, {send_relaxed, receive}, NULL, ALL, true},
    {"relaxed load", NULL, {send, receive_relaxed}, NULL, ALL, true},
    {"a write after the release", NULL, {send_and_write_on, receive}, NULL, ALL, true},
    {"waiting with yields", NULL, {send, receive_waiting}, NULL, ALL, false},
    {"spinning without", NULL, {send, receive_spinning}, NULL, ALL, true},
    {"waiting for nobody", NULL, {receive_waiting}, NULL, ALL, true},
    {"the flag before the value", NULL, {send_atomic, receive_atomic}, NULL, ALL, true},
    {"the same without old values", NULL, {send_atomic, receive_atomic}, NULL, WEAVE_UNBOUND, 0, false},
    {"through a third thread", NULL, {send, pass_on, receive_y}, NULL, ALL, false},
    {"through a third thread, relaxed", NULL, {send, pass_on_relaxed, receive_y}, NULL, ALL, true},
    {"through a read-modify-write", NULL, {send, add_relaxed, receive_3}, NULL, ALL, false},
    {"through a relaxed store", NULL, {send, store_relaxed_3, receive_3}, NULL, ALL, true},
    {"store buffering: 0, 0", NULL, {buffer_x, buffer_y}, not_00, ALL, true},
    {"store buffering: 0, 1", NULL, {buffer_x, buffer_y}, not_01, ALL, true},
    {"store buffering: 1, 0", NULL, {buffer_x, buffer_y}, not_10, ALL, true},
    {"store buffering: 1, 1", NULL, {buffer_x, buffer_y}, not_11, ALL, true},
    {"store buffering, without old values", NULL, {buffer_x, buffer_y}, not_00, WEAVE_UNBOUND, 0, false},
    {"coherence", NULL, {store_twice, load_twice}, never_backwards, ALL, false},
    {"coherence, old values", NULL, {store_twice, load_twice}, never_an_old_value, ALL, true},
    {"lost update", NULL, {add_by_store, add_by_store}, is_2, ALL, true},
    {"lost update, one preemption", NULL, {add_by_store, add_by_store}, is_2, 1, 0, true},
    {"lost update, no preemption", NULL, {add_by_store, add_by_store}, is_2, 0, 0, false},
    {"compare and swap", NULL, {add_by_cas, add_by_cas, add_by_cas}, is_3, ALL, false},
    {"spurious failure", NULL, {add_by_one_weak_cas}, is_1, ALL, SPURIOUS_FAILURES},
    {"ABA", fill_stack, {pop_one, pop_two_push_one}, pop_rest, ALL, true},
    {"pops without a push", fill_stack, {pop_one, pop_one}, pop_rest, ALL, false},
    {"sleep and wake", NULL, {wait_for_word, set_word_and_wake}, NULL, ALL, false},
    {"no wake", NULL, {wait_for_word, set_word}, NULL, ALL, true},
    {"wake too early", NULL, {wait_for_word, wake_before_setting}, NULL, ALL, true},
    {"one wake for two", NULL, {wait_for_word, wait_for_word, set_word_and_wake}, NULL, ALL, true},
    {"two locks in one order", NULL, {take_x_then_y, take_x_then_y}, payload_is_2, ALL, false},
    {"two locks in two orders", NULL, {take_x_then_y, take_y_then_x}, NULL, ALL, true},
    {"a mapping handed over", NULL, {map, use_mapping}, NULL, ALL, false},
    {"a mapping handed over, relaxed", NULL, {map_relaxed, use_mapping}, NULL, ALL, true},
    {"an atomic in fresh memory", NULL, {map, use_atomic_in_mapping}, NULL, ALL, true},
    {"unmapped by the user", NULL, {map, unmap_used}, NULL, ALL, false},
    {"unmapped beside the user", map, {use_mapping, unmap_used}, NULL, ALL, true},
    {"used after unmapping", map, {unmap_late}, NULL, ALL, true},
    {"sequences on one id", NULL, {add_by_sequence, add_by_sequence, add_by_sequence}, is_3, 3, 1, false},
    {"sequences on two ids", NULL, {add_by_sequence, add_on_id_1}, is_2, 1, 1, true},
    {"a sequence that moves", NULL, {add_by_sequence, add_and_move}, is_2, 1, 0, true},
    {"who comes to an id", NULL, {add_and_read_payload, add_and_read_payload}, NULL, 2, 1, true},
    {"restart", NULL, {add_by_sequence, store_and_restart}, what_stood_is_kept, 3, 1, false},
    {"no restart", NULL, {add_by_sequence, store_without_restart}, what_stood_is_kept, 2, 1, true},
    {"restart is a barrier", NULL, {buffer_x_and_restart, buffer_y_relaxed}, not_00, ALL, false},
    {"an address that depends", NULL, {send, follow}, NULL, ALL, false},
    {"one that does not", NULL, {send, do_not_follow}, NULL, ALL, true},
    {"thread-local variables", NULL, {count_for_itself, count_for_itself}, NULL, ALL, false},
    {0},
};
