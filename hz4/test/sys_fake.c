#include "hz4/test/sys_fake.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hz4/sys.h"

#define LEDGER_RANGES 65536
#define HIGH_START ((uintptr_t)1 << 52)
#define LOW_END ((uintptr_t)1 << 39)
#define KIB64 ((size_t)64 << 10)

#define HZ4_CHECK(condition, what)     \
  do {                                 \
    if (!(condition)) hz4_panic(what); \
  } while (0)

struct hz4_sys_fake hz4_sys_fake;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

// A child must not find the ledger in the hands of a thread that it does not have. (Registered first, and so taken last,
// when hz4's own handlers have waited for who is in a call.)
static void lock_for_fork(void) {
  pthread_mutex_lock(&mutex);
}
static void unlock_after_fork(void) {
  pthread_mutex_unlock(&mutex);
}
__attribute__((constructor)) static void register_for_fork(void) {
  HZ4_CHECK(pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork) == 0, "sys_fake: no handlers of fork");
}

// Under mutex: what is mapped, as disjoint ranges in any order. Searched from the end, where the latest are: most calls
// are about those, and the earlier ones may be thousands that a munmap refused.
static struct range {
  uintptr_t start, end;
} ledger[LEDGER_RANGES];
static size_t ledger_count;
static uintptr_t next_high = HIGH_START;
static uintptr_t next_low = LOW_END;
static size_t next_odd;

void hz4_sys_fake_reset(void) {
  for (int call = 0; call < HZ4_SYS_CALLS; ++call) {
    hz4_store_relaxed(&hz4_sys_fake.fail_every[call], 0);
    hz4_store_relaxed(&hz4_sys_fake.calls[call], 0);
    hz4_store_relaxed(&hz4_sys_fake.failures[call], 0);
  }
  hz4_store_relaxed(&hz4_sys_fake.limit_bytes, 0);
  hz4_store_relaxed(&hz4_sys_fake.odd_places, false);
  hz4_store_relaxed(&hz4_sys_fake.purge_keeps, false);
  hz4_store_relaxed(&hz4_sys_fake.low_places, false);
  hz4_store_relaxed(&hz4_sys_fake.next_place, 0);
  hz4_store_relaxed(&hz4_sys_fake.high_bytes, 0);
  hz4_store_relaxed(&hz4_sys_fake.high_maps, 0);
  hz4_store_relaxed(&hz4_sys_fake.huge_bytes, 0);
  hz4_store_relaxed(&hz4_sys_fake.looks, 0);
  hz4_store_relaxed(&hz4_sys_fake.small_bytes, 0);
  hz4_store_relaxed(&hz4_sys_fake.huge_ns, 0);
  hz4_store_relaxed(&hz4_sys_fake.huge_always, false);
  hz4_store_relaxed(&hz4_sys_fake.now_ns, 0);
  hz4_store_relaxed(&hz4_sys_fake.single_threaded, false);
  hz4_store_relaxed(&hz4_sys_fake.secure, false);
  hz4_store_relaxed(&hz4_sys_fake.never_in_place, false);
  hz4_store_relaxed(&hz4_sys_fake.refuses_mremap, false);
  hz4_store_relaxed(&hz4_sys_fake.failure_unmaps_to, false);
  hz4_store_relaxed(&hz4_sys_fake.several_mappings, false);
  hz4_store_relaxed(&hz4_sys_fake.address_limit, 0);
  hz4_sys_fake.before_move = NULL;
  hz4_sys_fake.in_call = NULL;
  hz4_store_relaxed(&hz4_sys_fake.no_forbidding, false);
  hz4_store_relaxed(&hz4_sys_fake.guards, 0);
  hz4_store_relaxed(&hz4_sys_fake.forbidden, 0);
  hz4_store_relaxed(&hz4_sys_fake.no_vectors, false);
  hz4_store_relaxed(&hz4_sys_fake.no_guards, false);
  hz4_store_relaxed(&hz4_sys_fake.vain_guards, false);
  hz4_store_relaxed(&hz4_sys_fake.most_purged, 0);
}

void hz4_sys_fake_later(void) {
  static _Atomic(uint64_t) later_ns = UINT64_C(1) << 50;
  hz4_store_relaxed(&hz4_sys_fake.now_ns, hz4_fetch_add_relaxed(&later_ns, UINT64_C(1) << 50));
}

// ---- the ledger ----

static void add_range(uintptr_t start, size_t bytes) {
  HZ4_CHECK(ledger_count < LEDGER_RANGES, "sys_fake: the ledger is full");
  ledger[ledger_count++] = (struct range){start, start + bytes};
  hz4_fetch_add_relaxed(&hz4_sys_fake.mapped_bytes, bytes);
  hz4_fetch_add_relaxed(&hz4_sys_fake.mapped_ranges, 1);
}

static size_t overlap(const struct range *range, uintptr_t start, uintptr_t end) {
  uintptr_t from = range->start > start ? range->start : start, to = range->end < end ? range->end : end;
  return from < to ? to - from : 0;
}

static void check_mapped(const char *complaint, uintptr_t start, size_t bytes) {
  size_t found = 0;
  for (size_t i = ledger_count; i > 0 && found < bytes; --i) found += overlap(&ledger[i - 1], start, start + bytes);
  HZ4_CHECK(found == bytes, complaint);
}

// pre: all of it is mapped.
static void remove_range(uintptr_t start, size_t bytes) {
  uintptr_t end = start + bytes;
  for (size_t i = ledger_count; i > 0 && bytes != 0; --i) {
    struct range whole = ledger[i - 1];
    size_t common = overlap(&whole, start, end);
    if (common == 0) continue;
    bytes -= common;
    ledger[i - 1] = ledger[--ledger_count];
    hz4_fetch_sub_relaxed(&hz4_sys_fake.mapped_bytes, whole.end - whole.start);
    hz4_fetch_sub_relaxed(&hz4_sys_fake.mapped_ranges, 1);
    // What stays of it goes to the end of the table, and overlaps no more.
    if (whole.start < start) add_range(whole.start, start - whole.start);
    if (whole.end > end) add_range(end, whole.end - end);
  }
}

// ---- calls ----

static void restore_errno(const int *saved) {
  errno = *saved;
}
// As the real ones do.
#define KEEP_ERRNO __attribute__((cleanup(restore_errno), unused)) const int saved_errno = errno

static bool fails(enum hz4_sys_call call) {
  uint64_t number = hz4_fetch_add_relaxed(&hz4_sys_fake.calls[call], 1) + 1;
  uint64_t every = hz4_load_relaxed(&hz4_sys_fake.fail_every[call]);
  if (every == 0 || number % every != 0) return false;
  hz4_fetch_add_relaxed(&hz4_sys_fake.failures[call], 1);
  return true;
}

static bool over_limit(size_t more_bytes) {
  size_t limit = hz4_load_relaxed(&hz4_sys_fake.limit_bytes);
  return limit != 0 && hz4_load_relaxed(&hz4_sys_fake.mapped_bytes) + more_bytes > limit;
}

static void note_call(enum hz4_sys_call call, void *base, size_t bytes) {
  if (hz4_sys_fake.in_call != NULL) hz4_sys_fake.in_call(call, base, bytes);
}

static void note_purged(size_t bytes) {
  if (bytes > hz4_load_relaxed(&hz4_sys_fake.most_purged)) hz4_store_relaxed(&hz4_sys_fake.most_purged, bytes);
}

static void check_pages(const char *complaint, const void *base, size_t bytes) {
  size_t page = hz4_sys_page_bytes();
  HZ4_CHECK(bytes != 0 && bytes % page == 0 && hz4_is_aligned(base, page), complaint);
}

static char *real_mmap(void *hint, size_t bytes) {
  char *base = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return base == MAP_FAILED ? NULL : base;
}

// A mapping at an address that is `offset` beyond a multiple of `align`: maps more and cuts the ends off.
static char *mmap_at_offset(size_t bytes, size_t align, size_t offset) {
  if (bytes + align < bytes) return NULL;
  char *raw = real_mmap(NULL, bytes + align);
  if (raw == NULL) return NULL;
  char *base = (char *)(((uintptr_t)raw - offset + align - 1) / align * align + offset);
  size_t before = (size_t)(base - raw);
  if (before != 0) munmap(raw, before);
  if (before != align) munmap(base + bytes, align - before);
  return base;
}

static char *place(void *hint, size_t bytes) {
  size_t page = hz4_sys_page_bytes();
  if (hz4_load_relaxed(&hz4_sys_fake.odd_places) && page < KIB64) {
    next_odd = next_odd % (KIB64 / page - 1) + 1;
    return mmap_at_offset(bytes, KIB64, next_odd * page);
  }
  uintptr_t next = hz4_load_relaxed(&hz4_sys_fake.next_place);
  if (next != 0) hint = (void *)next;
  hz4_store_relaxed(&hz4_sys_fake.next_place, 0);
  bool low = hz4_load_relaxed(&hz4_sys_fake.low_places);
  if (low && ((uintptr_t)hint - 1) >> 39 != 0) hint = (void *)(next_low -= hz4_round_up(bytes, page));
  char *base = real_mmap(hint, bytes);
  if (base == NULL || hz4_is_aligned(base, page)) return base;
  munmap(base, bytes);
  return mmap_at_offset(bytes, page, 0);
}

void *hz4_sys_mmap(void *hint, size_t bytes) {
  KEEP_ERRNO;
  check_pages("sys_fake: mmap not in whole pages", hint, bytes);
  note_call(HZ4_SYS_MMAP, NULL, bytes);
  if (fails(HZ4_SYS_MMAP)) return NULL;
  pthread_mutex_lock(&mutex);
  char *base = NULL;
  size_t high = hz4_load_relaxed(&hz4_sys_fake.high_bytes);
  if (high != 0 && bytes >= high) {
    base = (char *)next_high;
    next_high += hz4_round_up(bytes, KIB64);
    hz4_fetch_add_relaxed(&hz4_sys_fake.high_maps, 1);
  } else if (!over_limit(bytes)) {
    base = place(hint, bytes);
  }
  if (base != NULL) add_range((uintptr_t)base, bytes);
  pthread_mutex_unlock(&mutex);
  return base;
}

bool hz4_sys_munmap(void *base, size_t bytes) {
  KEEP_ERRNO;
  check_pages("sys_fake: munmap not in whole pages", base, bytes);
  note_call(HZ4_SYS_MUNMAP, base, bytes);
  pthread_mutex_lock(&mutex);
  check_mapped("sys_fake: munmap of memory that is not hz4's", (uintptr_t)base, bytes);
  bool done = !fails(HZ4_SYS_MUNMAP);
  if (done) {
    remove_range((uintptr_t)base, bytes);
    done = (uintptr_t)base >= HIGH_START || munmap(base, bytes) == 0;
  }
  pthread_mutex_unlock(&mutex);
  return done;
}

static bool purge_one(void *base, size_t bytes) {
  KEEP_ERRNO;
  check_pages("sys_fake: purge not in whole pages", base, bytes);
  note_call(HZ4_SYS_PURGE, base, bytes);
  pthread_mutex_lock(&mutex);
  check_mapped("sys_fake: purge of memory that is not hz4's", (uintptr_t)base, bytes);
  pthread_mutex_unlock(&mutex);
  return hz4_load_relaxed(&hz4_sys_fake.purge_keeps) || madvise(base, bytes, MADV_DONTNEED) == 0;
}

bool hz4_sys_purge(void *base, size_t bytes) {
  if (fails(HZ4_SYS_PURGE)) return false;
  note_purged(bytes);
  return purge_one(base, bytes);
}

// A call that fails has done half of its runs.
size_t hz4_sys_purge_runs(const struct hz4_sys_run *runs, size_t count) {
  HZ4_CHECK(count != 0 && count <= 1024, "sys_fake: more runs than a call takes");
  if (hz4_load_relaxed(&hz4_sys_fake.no_vectors)) return 0;
  size_t bytes = 0, end = fails(HZ4_SYS_PURGE) ? count / 2 : count;
  for (size_t i = 0; i < end; ++i) {
    purge_one(runs[i].base, runs[i].bytes);
    bytes += runs[i].bytes;
  }
  note_purged(bytes);
  return bytes;
}

void hz4_sys_wish_huge(void *base, size_t bytes, bool huge) {
  check_pages("sys_fake: huge pages not in whole pages", base, bytes);
  pthread_mutex_lock(&mutex);
  check_mapped("sys_fake: huge pages for memory that is not hz4's", (uintptr_t)base, bytes);
  pthread_mutex_unlock(&mutex);
  hz4_fetch_add_relaxed(huge ? &hz4_sys_fake.huge_bytes : &hz4_sys_fake.small_bytes, bytes);
  if (huge) hz4_fetch_add_relaxed(&hz4_sys_fake.now_ns, hz4_load_relaxed(&hz4_sys_fake.huge_ns));
}

bool hz4_sys_huge_always(void) {
  return hz4_load_relaxed(&hz4_sys_fake.huge_always);
}

// Memory that is not mapped is none, as a mapping that hz4 remembers may be.
size_t hz4_sys_resident(const void *base, size_t bytes) {
  KEEP_ERRNO;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), resident = 0;
  unsigned char in_memory[HZ4_SEGMENT_PAGES_MAX * HZ4_PAGE_BYTES / 4096];
  hz4_fetch_add_relaxed(&hz4_sys_fake.looks, 1);
  HZ4_CHECK(bytes / page <= sizeof(in_memory), "sys_fake: more than a segment");
  if (mincore((void *)(uintptr_t)base, bytes, in_memory) != 0) return 0;
  for (size_t i = 0; i < bytes / page; ++i) resident += in_memory[i] & 1;
  return resident * page;
}

static bool forbid(void *base, size_t bytes, int advice) {
  KEEP_ERRNO;
  check_pages("sys_fake: a guard not in whole pages", base, bytes);
  pthread_mutex_lock(&mutex);
  check_mapped("sys_fake: a guard in memory that is not hz4's", (uintptr_t)base, bytes);
  pthread_mutex_unlock(&mutex);
  // A kernel that notes guards is not needed for what is tested of them.
  if (advice == 0 || madvise(base, bytes, advice) != 0) mprotect(base, bytes, PROT_NONE);
  return true;
}

bool hz4_sys_guard(void *base, size_t bytes) {
  if (hz4_load_relaxed(&hz4_sys_fake.no_guards)) return false;
  hz4_fetch_add_relaxed(&hz4_sys_fake.guards, 1);
  if (hz4_load_relaxed(&hz4_sys_fake.vain_guards)) return true;
  return forbid(base, bytes, 102);
}

bool hz4_sys_forbid(void *base, size_t bytes) {
  if (hz4_load_relaxed(&hz4_sys_fake.no_forbidding)) return false;
  hz4_fetch_add_relaxed(&hz4_sys_fake.forbidden, 1);
  return forbid(base, bytes, 0);
}

bool hz4_sys_unguard(void *base, size_t bytes) {
  KEEP_ERRNO;
  check_pages("sys_fake: a guard not in whole pages", base, bytes);
  return madvise(base, bytes, 103) == 0;
}

bool hz4_sys_allow(void *base, size_t bytes) {
  KEEP_ERRNO;
  check_pages("sys_fake: not whole pages", base, bytes);
  return mprotect(base, bytes, PROT_READ | PROT_WRITE) == 0;
}

static int resize_locked(void *base, size_t old_bytes, size_t new_bytes) {
  if (hz4_load_relaxed(&hz4_sys_fake.several_mappings)) return EFAULT;
  if (new_bytes > old_bytes) {
    if (over_limit(new_bytes - old_bytes) || hz4_load_relaxed(&hz4_sys_fake.never_in_place)) return ENOMEM;
  }
  if (mremap(base, old_bytes, new_bytes, 0) == MAP_FAILED) return errno;
  remove_range((uintptr_t)base, old_bytes);
  add_range((uintptr_t)base, new_bytes);
  return 0;
}

static int unmap_target_locked(void *to, size_t bytes) {
  remove_range((uintptr_t)to, bytes);
  munmap(to, bytes);
  return EFAULT;
}

static int move_locked(void *base, size_t old_bytes, size_t new_bytes, void *to, bool fail) {
  check_mapped("sys_fake: mremap onto memory that is not hz4's", (uintptr_t)to, new_bytes);
  if (fail) return hz4_load_relaxed(&hz4_sys_fake.failure_unmaps_to) ? unmap_target_locked(to, new_bytes) : ENOMEM;
  if (hz4_load_relaxed(&hz4_sys_fake.several_mappings)) return unmap_target_locked(to, new_bytes);
  if (hz4_sys_fake.before_move != NULL) hz4_sys_fake.before_move(base);
  // The real kernel may see several mappings too.
  if (mremap(base, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to) return unmap_target_locked(to, new_bytes);
  remove_range((uintptr_t)to, new_bytes);
  remove_range((uintptr_t)base, old_bytes);
  add_range((uintptr_t)to, new_bytes);
  return 0;
}

int hz4_sys_mremap(void *base, size_t old_bytes, size_t new_bytes, void *to) {
  KEEP_ERRNO;
  check_pages("sys_fake: mremap not in whole pages", base, old_bytes);
  check_pages("sys_fake: mremap not to whole pages", to, new_bytes);
  note_call(HZ4_SYS_MREMAP, base, old_bytes);
  pthread_mutex_lock(&mutex);
  check_mapped("sys_fake: mremap of memory that is not hz4's", (uintptr_t)base, old_bytes);
  bool fail = fails(HZ4_SYS_MREMAP);
  int error = fail ? ENOMEM : 0;
  if (hz4_load_relaxed(&hz4_sys_fake.refuses_mremap)) error = EPERM;
  else if (to != NULL) error = move_locked(base, old_bytes, new_bytes, to, fail);
  else if (!fail) error = resize_locked(base, old_bytes, new_bytes);
  pthread_mutex_unlock(&mutex);
  return error;
}

bool hz4_sys_holds(const void *address, uint32_t value) {
  uintptr_t word = (uintptr_t)address;
  pthread_mutex_lock(&mutex);
  bool is_there = false;
  for (size_t i = ledger_count; i > 0 && !is_there; --i) is_there = overlap(&ledger[i - 1], word, word + 4) != 0;
  is_there = is_there && *(const volatile uint32_t *)address == value;
  pthread_mutex_unlock(&mutex);
  return is_there;
}

size_t hz4_sys_page_bytes(void) {
  size_t page = hz4_load_relaxed(&hz4_sys_fake.page_bytes);
  return page != 0 ? page : (size_t)sysconf(_SC_PAGESIZE);
}

size_t hz4_sys_address_limit(void) {
  size_t limit = hz4_load_relaxed(&hz4_sys_fake.address_limit);
  return limit != 0 ? limit : SIZE_MAX;
}

uint64_t hz4_sys_now_ns(void) {
  return hz4_load_relaxed(&hz4_sys_fake.now_ns);
}

uint64_t hz4_sys_secret(void) {
  return 4321;
}

bool hz4_sys_secure(void) {
  return hz4_load_relaxed(&hz4_sys_fake.secure);
}

bool hz4_sys_single_threaded(void) {
  return hz4_load_relaxed(&hz4_sys_fake.single_threaded);
}
