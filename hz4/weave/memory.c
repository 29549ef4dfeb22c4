// Memory under C11's rules: what each atomic has held, who has touched which byte, and what each thread knows.
//
// A thread's clock says how far it knows each thread's doings (happens-before). A thread's own entry counts its atomic
// operations. Plain accesses carry the count at their time; two that conflict race where neither's thread knew of the
// other's.
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "hz4/guard.h"
#include "hz4/os.h"
#include "hz4/weave/model.h"

enum {
  GROUPS = 1 << 14,  // a power of two
  LOCATIONS = 1 << 10,
  STORES = 128,
  MAPPINGS = 64,
  GROUP_BYTES = 8,
  ACCESSES = 4,
};
#define ARENA_BYTES ((size_t)1 << 30)

struct clock {
  uint32_t at[WEAVE_ALL_THREADS];
};

struct store {
  uint64_t value;
  int thread;
  uint32_t time;
  struct clock message;                // what an acquire load learns; zero: nothing
  uint32_t seen[WEAVE_ALL_THREADS];  // when each thread read it first; 0: never
};

struct location {
  size_t bytes;
  int count;  // 0: written by plain code since; what memory holds is the one value
  struct store stores[STORES];
};

// Eight bytes that were touched in this execution.
struct group {
  uint32_t execution;  // of another: not in use
  bool written, unmapped;
  uintptr_t address;
  uint64_t original;
  struct location *location[GROUP_BYTES];
  uint32_t last[GROUP_BYTES][ACCESSES][WEAVE_ALL_THREADS];  // the thread's count at its last access; 0: none
};

struct mapping {
  uintptr_t base, end;
  int thread;
  uint32_t time;
  bool gone;
};

static struct group groups[GROUPS];
static struct group *touched[GROUPS];
static struct location locations[LOCATIONS];
static struct mapping mappings[MAPPINGS];
static struct clock clocks[WEAVE_ALL_THREADS];
static struct clock id_clocks[WEAVE_IDS];
static struct clock last_read[WEAVE_ALL_THREADS];  // the message of what each thread has loaded last
static uint32_t execution;
static int touched_count, location_count, mapping_count;
static uintptr_t arena, arena_next;

// ---- clocks ----

static struct clock *mine(void) {
  return &clocks[weave_current];
}

static void learn(struct clock *clock, const struct clock *other) {
  for (int t = 0; t < WEAVE_ALL_THREADS; ++t) {
    if (clock->at[t] < other->at[t]) clock->at[t] = other->at[t];
  }
}

static bool is_acquire(int order) {
  if (order == memory_order_seq_cst) weave_fail("weave: sequentially consistent operations are not modelled");
  return order == memory_order_acquire || order == memory_order_acq_rel;
}

static bool is_release(int order) {
  return order == memory_order_release || order == memory_order_acq_rel;
}

// What this thread does from now on, nobody knows who has learnt from it before.
static void tick(void) {
  ++mine()->at[weave_current];
}

void weave_memory_fork(int thread) {
  learn(&clocks[thread], &clocks[0]);
  clocks[thread].at[thread] = 1;
  tick();
}

void weave_memory_join(int thread) {
  learn(&clocks[0], &clocks[thread]);
}

void weave_memory_leave(int thread, int id) {
  learn(&id_clocks[id], &clocks[thread]);
  ++clocks[thread].at[thread];
}

void weave_memory_enter(int id) {
  learn(mine(), &id_clocks[id]);
}

void weave_memory_follow(void) {
  learn(mine(), &last_read[weave_current]);
}

void weave_memory_barrier(void) {
  struct clock before = *mine();
  for (int t = 0; t < WEAVE_ALL_THREADS; ++t) learn(mine(), &clocks[t]);
  for (int t = 0; t < WEAVE_ALL_THREADS; ++t) {
    learn(&clocks[t], &before);
    ++clocks[t].at[t];
  }
}

void weave_memory_begin(void) {
  for (int i = 0; i < touched_count; ++i) {
    if (touched[i]->written) memcpy((void *)touched[i]->address, &touched[i]->original, GROUP_BYTES);
  }
  ++execution;
  touched_count = location_count = mapping_count = 0;
  memset(clocks, 0, sizeof(clocks));
  memset(id_clocks, 0, sizeof(id_clocks));
  clocks[0].at[0] = 1;
  arena_next = arena;
}

// ---- mappings ----

static struct mapping *mapping_of(uintptr_t address) {
  for (int i = 0; i < mapping_count; ++i) {
    if (address >= mappings[i].base && address < mappings[i].end) return &mappings[i];
  }
  return NULL;
}

static struct group *group_of(uintptr_t address) {
  uintptr_t base = address / GROUP_BYTES * GROUP_BYTES;
  size_t i = (base >> 3) * 0x9E3779B97F4A7C15u >> 50;
  for (; groups[i].execution == execution; i = (i + 1) % GROUPS) {
    if (groups[i].address == base) return &groups[i];
  }
  if (touched_count == GROUPS - 1) weave_fail("weave: the scenario touches too much memory");
  struct group *group = &groups[i];
  touched[touched_count++] = group;
  memset(group, 0, sizeof(*group));
  group->execution = execution;
  group->address = base;
  if (base >= arena && base < arena + ARENA_BYTES) {
    const struct mapping *mapping = mapping_of(base);
    group->unmapped = mapping == NULL || mapping->gone;
    // Its zeros were written by who mapped it.
    for (int byte = 0; byte < GROUP_BYTES && mapping != NULL; ++byte) {
      group->last[byte][WEAVE_PLAIN_WRITE][mapping->thread] = mapping->time;
    }
  }
  memcpy(&group->original, (void *)base, GROUP_BYTES);
  return group;
}

void *hz4_os_map(size_t bytes, size_t align) {
  if (arena == 0) {
    void *fresh = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED) weave_fail("weave: no memory");
    arena = arena_next = (uintptr_t)fresh;
  }
  uintptr_t base = (arena_next + align - 1) / align * align;
  if (mapping_count == MAPPINGS || base + bytes > arena + ARENA_BYTES) weave_fail("weave: too many mappings");
  arena_next = base + bytes;  // never used again, so that a late touch is seen
  mappings[mapping_count++] =
      (struct mapping){.base = base, .end = base + bytes, .thread = weave_current, .time = mine()->at[weave_current]};
  return (void *)base;
}

bool hz4_os_unmap(void *base, size_t bytes) {
  struct mapping *mapping = mapping_of((uintptr_t)base);
  if (mapping == NULL || mapping->gone || mapping->base != (uintptr_t)base || mapping->end != (uintptr_t)base + bytes) {
    weave_fail("unmaps what is not mapped");
  }
  mapping->gone = true;
  // Whoever touched it must have done so before.
  for (int i = 0; i < touched_count; ++i) {
    if (touched[i]->address < mapping->base || touched[i]->address >= mapping->end) continue;
    weave_access((void *)touched[i]->address, GROUP_BYTES, WEAVE_PLAIN_WRITE);
    touched[i]->unmapped = true;
  }
  return true;
}

size_t hz4_sys_page_bytes(void) {
  return 4096;
}

// There are no guards.
bool hz4_guards;
void *hz4_guard_map(size_t bytes) {
  return hz4_os_map(bytes, 4096);
}
bool hz4_guard_unmap(void *base, size_t bytes) {
  return hz4_os_unmap(base, bytes);
}

// ---- races ----

static const char *const access_names[] = {"a plain read", "a plain write", "an atomic read", "an atomic write"};

static bool conflict(enum weave_access a, enum weave_access b) {
  bool writes = a == WEAVE_PLAIN_WRITE || a == WEAVE_ATOMIC_WRITE || b == WEAVE_PLAIN_WRITE || b == WEAVE_ATOMIC_WRITE;
  bool plain = a < WEAVE_ATOMIC_READ || b < WEAVE_ATOMIC_READ;
  return writes && plain;
}

static void touch_byte(struct group *group, int byte, enum weave_access kind) {
  for (int other = 0; other < ACCESSES; ++other) {
    if (!conflict(kind, (enum weave_access)other)) continue;
    for (int t = 0; t < WEAVE_ALL_THREADS; ++t) {
      if (t == weave_current || group->last[byte][other][t] <= mine()->at[t]) continue;
      weave_fail("data race: %s of %#lx by thread %d, %s by thread %d", access_names[kind],
                 (unsigned long)group->address + (unsigned long)byte, weave_current, access_names[other], t);
    }
  }
  group->last[byte][kind][weave_current] = mine()->at[weave_current];
}

void weave_access(const volatile void *pointer, size_t bytes, enum weave_access kind) {
  uintptr_t address = (uintptr_t)pointer;
  if (weave_is_private(address)) return;
  for (size_t i = 0; i < bytes; ++i) {
    struct group *group = group_of(address + i);
    int byte = (int)((address + i) % GROUP_BYTES);
    if (group->unmapped) weave_fail("%s of %#lx, which is not mapped", access_names[kind], (unsigned long)address);
    touch_byte(group, byte, kind);
    if (kind == WEAVE_PLAIN_WRITE || kind == WEAVE_ATOMIC_WRITE) group->written = true;
    if (kind == WEAVE_PLAIN_WRITE && group->location[byte] != NULL) group->location[byte]->count = 0;
  }
}

// ---- atomics ----

static struct location *location_at(const volatile void *address, size_t bytes) {
  struct group *group = group_of((uintptr_t)address);
  size_t byte = (uintptr_t)address % GROUP_BYTES;
  struct location *location = group->location[byte];
  if (location == NULL) {
    if (location_count == LOCATIONS) weave_fail("weave: too many atomics");
    location = &locations[location_count++];
    location->bytes = bytes;
    location->count = 0;
    for (size_t i = 0; i < bytes; ++i) group->location[byte + i] = location;
  }
  if (location->bytes != bytes) weave_fail("an atomic is accessed in two sizes");
  if (location->count == 0) {
    // Whoever wrote it, everybody who may touch it knows: or else it was a race.
    location->count = 1;
    location->stores[0] = (struct store){0};
    memcpy(&location->stores[0].value, (const void *)address, bytes);
  }
  return location;
}

static struct store *newest_of(struct location *location) {
  return &location->stores[location->count - 1];
}

// The oldest store that this thread may still read: it knows of no newer one, and of nobody's having read a newer one.
static int oldest_visible(const struct location *location) {
  for (int i = location->count - 1; i > 0; --i) {
    const struct store *store = &location->stores[i];
    if (store->time <= mine()->at[store->thread]) return i;
    for (int t = 0; t < WEAVE_ALL_THREADS; ++t) {
      if (store->seen[t] != 0 && store->seen[t] <= mine()->at[t]) return i;
    }
  }
  return 0;
}

static void read_store(struct location *location, struct store *store, int order) {
  if (store->seen[weave_current] == 0) store->seen[weave_current] = mine()->at[weave_current];
  if (is_acquire(order)) learn(mine(), &store->message);
  last_read[weave_current] = store->message;
  weave_has_read(store->value, store != newest_of(location));
}

static void append(struct location *location, volatile void *address, uint64_t value, int order,
                   const struct clock *continued) {
  if (location->count == STORES) weave_fail("weave: too many stores to one atomic");
  struct store *store = &location->stores[location->count++];
  *store = (struct store){.thread = weave_current, .time = mine()->at[weave_current]};
  memcpy(&store->value, &value, location->bytes);
  if (is_release(order)) store->message = *mine();
  if (continued != NULL) learn(&store->message, continued);
  store->seen[weave_current] = store->time;
  memcpy((void *)address, &value, location->bytes);
  tick();
  weave_has_written(value);
}

uint64_t weave_newest(const volatile void *address, size_t bytes) {
  weave_access(address, bytes, WEAVE_ATOMIC_READ);
  return newest_of(location_at(address, bytes))->value;
}

uint64_t weave_load(const volatile void *address, size_t bytes, int order) {
  weave_access(address, bytes, WEAVE_ATOMIC_READ);
  struct location *location = location_at(address, bytes);
  int allowed = weave_may_read_old() ? location->count - oldest_visible(location) : 1;
  struct store *store = newest_of(location) - weave_choose(allowed);
  read_store(location, store, order);
  return store->value;
}

void weave_store(volatile void *address, size_t bytes, uint64_t value, int order) {
  weave_access(address, bytes, WEAVE_ATOMIC_WRITE);
  append(location_at(address, bytes), address, value, order, NULL);
}

static uint64_t changed(uint64_t old, enum weave_change change, uint64_t value) {
  switch (change) {
    case WEAVE_ADD: return old + value;
    case WEAVE_SUB: return old - value;
    default: return value;
  }
}

uint64_t weave_exchange(volatile void *address, size_t bytes, enum weave_change change, uint64_t value, int order) {
  weave_access(address, bytes, WEAVE_ATOMIC_WRITE);
  struct location *location = location_at(address, bytes);
  struct store *old = newest_of(location);  // always: that is what makes it atomic
  read_store(location, old, order);
  append(location, address, changed(old->value, change, value), order, &old->message);
  return old->value;
}

bool weave_cas(volatile void *address, size_t bytes, uint64_t *expected, uint64_t value, int order, int failure_order,
               bool weak) {
  weave_access(address, bytes, WEAVE_ATOMIC_READ);
  struct location *location = location_at(address, bytes);
  // It may succeed on the newest value only, and may fail on any that differs.
  struct store *candidates[STORES];
  int count = 0;
  candidates[count++] = newest_of(location);
  for (int i = location->count - 2; weave_may_read_old() && i >= oldest_visible(location); --i) {
    if (location->stores[i].value != *expected) candidates[count++] = &location->stores[i];
  }
  struct store *store = candidates[weave_choose(count)];
  if (store->value == *expected && !(weak && weave_may_fail_spuriously())) {
    weave_access(address, bytes, WEAVE_ATOMIC_WRITE);
    read_store(location, store, order);
    append(location, address, value, order, &store->message);
    return true;
  }
  read_store(location, store, failure_order);
  *expected = store->value;
  return false;
}
