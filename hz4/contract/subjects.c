// What rows share: the ways to allocate, kinds of blocks, patterns, and a thread to run in.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "hz4/contract/suite.h"

void *contract_block(void *ptr, size_t size) {
  MUST(ptr != NULL, "no block of %zu bytes (errno %d)", size, errno);
  return ptr;
}

// ---- the ways to allocate ----

enum { kEntryAlignment = 64 };

static void *by_malloc(size_t size) {
  return api.malloc(size);
}

static void *by_calloc(size_t size) {
  return api.calloc(1, size);
}

static void *by_calloc_of_bytes(size_t size) {
  return api.calloc(size, 1);
}

static void *by_realloc_null(size_t size) {
  return api.realloc(NULL, size);
}

static void *by_realloc_grown(size_t size) {
  void *old = contract_block(api.malloc(1), 1);
  void *block = api.realloc(old, size);
  int saved = errno;
  if (block == NULL && size != 0) api.free(old);
  errno = saved;
  return block;
}

static void *by_aligned_alloc(size_t size) {
  return api.aligned_alloc(kEntryAlignment, size);
}

static void *by_memalign(size_t size) {
  return api.memalign(kEntryAlignment, size);
}

static void *posix_memalign_any(size_t alignment, size_t size) {
  void *block = NULL;
  int error = api.posix_memalign(&block, alignment, size);
  if (error != 0) errno = error;
  return error == 0 ? block : NULL;
}

static void *by_posix_memalign(size_t size) {
  return posix_memalign_any(kEntryAlignment, size);
}

static void *by_valloc(size_t size) {
  return api.valloc(size);
}

static void *by_pvalloc(size_t size) {
  return api.pvalloc(size);
}

const struct contract_subject contract_entries[] = {
    {.name = "malloc", .allocate = by_malloc, .alignment = 16},
    {.name = "calloc(1,n)", .allocate = by_calloc, .alignment = 16},
    {.name = "calloc(n,1)", .allocate = by_calloc_of_bytes, .alignment = 16},
    {.name = "realloc(NULL)", .allocate = by_realloc_null, .alignment = 16},
    {.name = "realloc", .allocate = by_realloc_grown, .alignment = 16},
    {.name = "aligned_alloc", .allocate = by_aligned_alloc, .alignment = kEntryAlignment},
    {.name = "memalign", .allocate = by_memalign, .alignment = kEntryAlignment},
    {.name = "posix_memalign", .allocate = by_posix_memalign, .alignment = kEntryAlignment},
    {.name = "valloc", .allocate = by_valloc, .alignment = 4096},
    {.name = "pvalloc", .allocate = by_pvalloc, .alignment = 4096},
    {0},
};

static void *aligned_alloc_any(size_t alignment, size_t size) {
  return api.aligned_alloc(alignment, size);
}

static void *memalign_any(size_t alignment, size_t size) {
  return api.memalign(alignment, size);
}

const struct contract_subject contract_aligned_entries[] = {
    {.name = "aligned_alloc", .allocate_aligned = aligned_alloc_any},
    {.name = "memalign", .allocate_aligned = memalign_any},
    {.name = "posix_memalign", .allocate_aligned = posix_memalign_any},
    {0},
};

// ---- kinds of blocks ----

static void *by_aligned_alloc_4096(size_t size) {
  return api.aligned_alloc(4096, size);
}

const struct contract_subject contract_blocks[] = {
    {.name = "1 byte", .allocate = by_malloc, .size = 1},
    {.name = "24 bytes", .allocate = by_malloc, .size = 24},
    {.name = "1000 bytes", .allocate = by_malloc, .size = 1000},
    {.name = "10 KB", .allocate = by_malloc, .size = 10000},
    {.name = "200 KB", .allocate = by_malloc, .size = 200000},
    {.name = "1 MiB", .allocate = by_malloc, .size = 1 << 20},
    {.name = "8 MiB", .allocate = by_malloc, .size = 8 << 20},
    {.name = "calloc of 500", .allocate = by_calloc, .size = 500},
    {.name = "realloc of 700", .allocate = by_realloc_grown, .size = 700},
    {.name = "aligned 5000", .allocate = by_aligned_alloc_4096, .size = 5000},
    {.name = "valloc of 300 KB", .allocate = by_valloc, .size = 300000},
    {0},
};

// ---- patterns ----

static unsigned char pattern(size_t i, unsigned seed) {
  return (unsigned char)(seed + i * 7 + (i >> 8) * 13 + (i >> 16) * 5);
}

void contract_fill(void *ptr, size_t bytes, unsigned seed) {
  unsigned char *at = ptr;
  for (size_t i = 0; i < bytes; i++) at[i] = pattern(i, seed);
}

bool contract_same(const void *ptr, size_t bytes, unsigned seed) {
  const unsigned char *at = ptr;
  for (size_t i = 0; i < bytes; i++) {
    if (at[i] != pattern(i, seed)) return false;
  }
  return true;
}

// ---- the process ----

// (sigabbrev_np is glibc's.)
const char *contract_signal(int number) {
  switch (number) {
    case SIGABRT: return "SIGABRT";
    case SIGALRM: return "SIGALRM";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    case SIGKILL: return "SIGKILL";
    case SIGSEGV: return "SIGSEGV";
    case SIGSYS: return "SIGSYS";
    case SIGTRAP: return "SIGTRAP";
    default: return "another signal";
  }
}

void contract_in_thread(void *(*function)(void *), void *argument) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, function, argument) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

void contract_limit_addresses(size_t bytes) {
  long now = proc_kib("/proc/self/status", "VmSize");
  CHECK(now > 0);
  rlim_t limit = (rlim_t)now * 1024 + bytes;
  CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
  if (mmap(NULL, bytes + 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED) {
    contract_skip("this kernel limits no addresses");  // qemu-user
  }
}
