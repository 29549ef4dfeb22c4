// inbox: a batch that was pushed is taken once, by whoever takes, with what was written into it; none is left behind in
// an inbox that is closed, and none gets in.
#include "hz4/inbox.h"

#include "hz4/weave/weave.h"

#define ALL WEAVE_UNBOUND, WEAVE_UNBOUND

static struct hz4_inbox inbox;

static struct cell {
  struct hz4_batch batch __attribute__((aligned(HZ4_CACHE_LINE)));
  unsigned pushed, consumed, refused;  // by the holder
} cells[3];

static bool push(int i, uintptr_t limit) {
  struct cell *cell = &cells[i];
  cell->batch.count = (uint64_t)i;
  cell->batch.objects[0] = cell;
  ++cell->pushed;
  if (hz4_inbox_push(&inbox, &cell->batch, limit)) return true;
  --cell->pushed;
  ++cell->refused;
  return false;
}

static unsigned consume(struct hz4_batch *chain) {
  unsigned count = 0;
  while (chain != NULL) {
    struct cell *cell = &cells[chain->count];
    weave_check(chain == &cell->batch && chain->objects[0] == cell);
    struct hz4_batch *next = chain->next;
    ++cell->consumed;
    weave_check(cell->consumed == cell->pushed);
    chain = next;
    ++count;
  }
  return count;
}

static void push_0(void) {
  push(0, HZ4_INBOX_NO_LIMIT);
}
static void push_1(void) {
  push(1, HZ4_INBOX_NO_LIMIT);
}
static void push_0_and_1(void) {
  push(0, 4);
  push(1, 4);
}
static void take(void) {
  consume(hz4_inbox_take(&inbox));
}
static void take_twice(void) {
  take();
  take();
}
static void take_and_push_again(void) {
  struct hz4_batch *batch = hz4_inbox_take(&inbox);
  if (batch == NULL) return;
  int i = (int)batch->count;
  consume(batch);
  push(i, 4);
}
static void close(void) {
  consume(hz4_inbox_close(&inbox));
}
static void close_and_open(void) {
  close();
  hz4_inbox_open(&inbox);
}
static void all_arrive(void) {
  close();
  for (int i = 0; i < 3; ++i) weave_check(cells[i].pushed == cells[i].consumed && cells[i].refused == 0);
}
static void nothing_is_left(void) {
  weave_check(hz4_load_relaxed(&inbox.word) == HZ4_INBOX_CLOSED);
  for (int i = 0; i < 2; ++i) {
    weave_check(cells[i].pushed == cells[i].consumed && cells[i].pushed + cells[i].refused == 1);
  }
}
static void all_are_somewhere(void) {
  close();
  for (int i = 0; i < 2; ++i) weave_check(cells[i].pushed == cells[i].consumed);
}

static void push_2_to_limit(void) {
  push(2, 1);
}
static void push_0_to_limit(void) {
  push(0, 1);
}
static void one_was_taken(void) {
  weave_check(consume(hz4_inbox_close(&inbox)) == 1);
  weave_check(cells[0].refused + cells[2].refused == 1);
}

const struct weave_scenario weave_scenarios[] = {
    {"two push, one takes", NULL, {push_0, push_1, take}, all_arrive, ALL, false},
    {"the owner exits beside a push and a thief", push_0, {close, push_1, take}, nothing_is_left, ALL, false},
    {"the owner exits beside two pushes", NULL, {close, push_0, push_1}, nothing_is_left, ALL, false},
    {"the next owner opens", push_0, {close_and_open, push_1, take}, all_are_somewhere, ALL, false},
    {"room for one", NULL, {push_0_to_limit, push_2_to_limit}, one_was_taken, ALL, false},
    {"a taken batch is pushed again", push_0, {take_and_push_again, push_1, take}, all_arrive, ALL, false},
    {"one pushes twice, two take", NULL, {push_0_and_1, take, take_twice}, all_arrive, ALL, false},
    {0},
};
