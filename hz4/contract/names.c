// Rows of glibc's names alone: all from one allocator; the old ones; statistics.
#include <dlfcn.h>
#include <malloc.h>

#include "hz4/contract/suite.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define REPLACING "glibc manual, Replacing malloc: a replacement should provide them all"
#define C23_SIZED "C23 7.24.3.4 and 7.24.3.5"
#define OLD "glibc, malloc/Versions: what old binaries and libraries call, or called"
#define STATISTICS "glibc manual, Statistics for Memory Allocation with malloc"

// Or what only an old binary is linked to: cfree, on x86-64.
static void *find(const char *name) {
  void *symbol = dlsym(RTLD_DEFAULT, name);
  if (symbol == NULL) symbol = dlvsym(RTLD_DEFAULT, name, "GLIBC_2.2.5");
  MUST(symbol != NULL, "no such symbol: %s", name);
  return symbol;
}

static const char *library_of(const char *name) {
  Dl_info info;
  MUST(dladdr(find(name), &info) != 0, "dladdr does not know %s", name);
  return info.dli_fname;
}

// ---- all from one allocator ----

static const struct contract_subject replacing[] = {
    {.name = "free"},
    {.name = "calloc"},
    {.name = "realloc"},
    {.name = "aligned_alloc"},
    {.name = "memalign"},
    {.name = "valloc"},
    {.name = "malloc_usable_size"},
    {.name = "posix_memalign"},
    {.name = "pvalloc"},
    {0},
};

static const struct contract_subject sized[] = {{.name = "free_sized"}, {.name = "free_aligned_sized"}, {0}};

static const struct contract_subject statistics[] = {
    {.name = "mallinfo"},
    {.name = "mallinfo2"},
    {.name = "malloc_info"},
    {.name = "malloc_trim"},
    {.name = "mallopt"},
    {.name = "malloc_stats"},
    {0},
};

static void is_beside_malloc(const struct contract_subject *symbol) {
  const char *library = library_of(symbol->name), *of_malloc = library_of("malloc");
  MUST(strcmp(library, of_malloc) == 0, "it is in %s, malloc in %s", library, of_malloc);
}

static const struct contract_rule symbol_rules[] = {
    {"is-beside-malloc", REPLACING, is_beside_malloc, replacing},
    {"is-beside-malloc", C23_SIZED, is_beside_malloc, sized},
    {"is-beside-malloc", STATISTICS, is_beside_malloc, statistics},
    {0},
};

const struct contract_row contract_symbols = {"names, all from one allocator", symbol_rules};

// ---- old names ----

static void *old_malloc(size_t size) {
  return ((void *(*)(size_t))find("__libc_malloc"))(size);
}

static void *old_calloc(size_t size) {
  return ((void *(*)(size_t, size_t))find("__libc_calloc"))(1, size);
}

static void *old_realloc(size_t size) {
  return ((void *(*)(void *, size_t))find("__libc_realloc"))(api.malloc(1), size);
}

static void *old_memalign(size_t size) {
  return ((void *(*)(size_t, size_t))find("__libc_memalign"))(256, size);
}

static void *old_valloc(size_t size) {
  return ((void *(*)(size_t))find("__libc_valloc"))(size);
}

static void *old_pvalloc(size_t size) {
  return ((void *(*)(size_t))find("__libc_pvalloc"))(size);
}

static void *old_posix_memalign(size_t size) {
  void *out = NULL;
  int error = ((int (*)(void **, size_t, size_t))find("__posix_memalign"))(&out, 256, size);
  if (error != 0) errno = error;
  return out;
}

static const struct contract_subject old_allocators[] = {
    {.name = "__libc_malloc", .allocate = old_malloc, .alignment = 16},
    {.name = "__libc_calloc", .allocate = old_calloc, .alignment = 16},
    {.name = "__libc_realloc", .allocate = old_realloc, .alignment = 16},
    {.name = "__libc_memalign", .allocate = old_memalign, .alignment = 256},
    {.name = "__libc_valloc", .allocate = old_valloc, .alignment = 4096},
    {.name = "__libc_pvalloc", .allocate = old_pvalloc, .alignment = 4096},
    {.name = "__posix_memalign", .allocate = old_posix_memalign, .alignment = 256},
    {0},
};

static const struct contract_subject old_frees[] = {
    {.name = "__libc_free"}, {.name = "__libc_cfree"}, {.name = "cfree"}, {0}};

static void gives_blocks_of_malloc(const struct contract_subject *old) {
  for (size_t size = 1; size < 8 * MIB; size = size * 2 + 1) {
    void *block = contract_block(old->allocate(size), size);
    MUST((uintptr_t)block % old->alignment == 0, "%p is not aligned to %zu", block, old->alignment);
    size_t usable = api.malloc_usable_size(block);
    MUST(usable >= size, "usable size %zu of %zu", usable, size);
    contract_fill(block, usable, 1);
    block = contract_block(api.realloc(block, size + 5000), size + 5000);
    MUST(contract_same(block, size, 1), "realloc lost the content");
    api.free(block);
  }
}

static void refuses_what_is_too_large(const struct contract_subject *old) {
  MUST_FAIL(old->allocate((size_t)PTRDIFF_MAX + 1), ENOMEM, (size_t)PTRDIFF_MAX + 1);
  MUST_FAIL(old->allocate(SIZE_MAX - 100), ENOMEM, SIZE_MAX - 100);
}

static void frees_blocks_of_malloc(const struct contract_subject *old) {
  void (*release)(void *);
  *(void **)&release = find(old->name);
  release(NULL);
  long before = rss_kib();
  for (size_t sum = 0; sum < 64 * MIB; sum += 50000) {
    void *block = contract_block(api.malloc(50000), 50000);
    memset(block, 1, 50000);
    errno = 1234;
    release(block);
    MUST(errno == 1234, "errno became %d", errno);
  }
  long grown = rss_kib() - before;
  MUST(grown < 24 << 10, "64 MiB of freed blocks cost %ld KiB", grown);
}

static const struct contract_rule old_rules[] = {
    {"old-name-is-beside-malloc", OLD, is_beside_malloc, old_allocators},
    {"old-name-is-beside-malloc", OLD, is_beside_malloc, old_frees},
    {"gives-blocks-of-malloc", OLD, gives_blocks_of_malloc, old_allocators},
    {"refuses-what-is-too-large", OLD, refuses_what_is_too_large, old_allocators},
    {"frees-blocks-of-malloc", OLD, frees_blocks_of_malloc, old_frees},
    {0},
};

const struct contract_row contract_old_names = {"old names", old_rules};

// ---- statistics ----

enum { kLargeBytes = 48 << 20 };

// The bytes that a reading gains by a block of 48 MiB.
static size_t gain_of(size_t (*read_bytes)(void)) {
  size_t before = read_bytes();
  void *block = contract_block(api.malloc(kLargeBytes), kLargeBytes);
  size_t after = read_bytes();
  api.free(block);
  return after - before;
}

static size_t mallinfo2_bytes(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static size_t mallinfo_bytes(void) {
  struct mallinfo info = mallinfo();
  return (size_t)(unsigned)info.uordblks + (size_t)(unsigned)info.hblkhd;
}

static void must_see_the_block(size_t (*read_bytes)(void)) {
  size_t gain = gain_of(read_bytes);
  MUST(gain >= kLargeBytes && gain < 2 * (size_t)kLargeBytes, "a block of 48 MiB moved uordblks + hblkhd by %zd", gain);
}

static void mallinfo2_sees_a_block(const struct contract_subject *none) {
  (void)none;
  must_see_the_block(mallinfo2_bytes);
}

static void mallinfo_sees_a_block(const struct contract_subject *none) {
  (void)none;
  must_see_the_block(mallinfo_bytes);
}

static char text[1 << 16];

static void malloc_info_writes_xml(const struct contract_subject *none) {
  (void)none;
  FILE *stream = fmemopen(text, sizeof(text), "w");
  CHECK(stream != NULL);
  int got = malloc_info(0, stream);
  MUST(got == 0, "it returned %d", got);
  fclose(stream);
  MUST(strncmp(text, "<malloc version=\"1\">", 20) == 0, "it does not begin with <malloc version=\"1\">");
  MUST(strstr(text, "</malloc>") != NULL, "it does not end with </malloc>");
}

static void malloc_info_refuses_options(const struct contract_subject *none) {
  (void)none;
  FILE *stream = fmemopen(text, sizeof(text), "w");
  CHECK(stream != NULL);
  MUST(malloc_info(1, stream) != 0, "it returned 0 for options 1");
}

static void malloc_trim_gives_memory_back(const struct contract_subject *none) {
  (void)none;
  enum { kPieces = 1000, kPiece = 60000 };
  static void *pieces[kPieces];
  long before = rss_kib();
  for (int i = 0; i < kPieces; i++) memset(pieces[i] = contract_block(api.malloc(kPiece), kPiece), 1, kPiece);
  for (int i = 0; i < kPieces; i++) api.free(pieces[i]);
  malloc_trim(0);
  long grown = rss_kib() - before;
  MUST(grown < kPieces * (kPiece >> 10) / 4, "of 57 MiB that were freed %ld KiB are resident", grown);
}

static void mallopt_returns_1(const struct contract_subject *none) {
  (void)none;
  const int known[] = {M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_TEST, M_ARENA_MAX};
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
    int got = mallopt(known[i], 64);
    MUST(got == 1, "for %d it returned %d", known[i], got);
  }
  api.free(contract_block(api.malloc(2 * MIB), 2 * MIB));
}

static void malloc_stats_writes_to_stderr(const struct contract_subject *none) {
  (void)none;
  off_t before = lseek(STDERR_FILENO, 0, SEEK_END);
  malloc_stats();
  fflush(stderr);
  MUST(lseek(STDERR_FILENO, 0, SEEK_END) > before, "it wrote nothing");
}

static const struct contract_rule statistics_rules[] = {
    {"mallinfo2-sees-a-block", STATISTICS, mallinfo2_sees_a_block, NULL},
    {"mallinfo-sees-a-block", STATISTICS, mallinfo_sees_a_block, NULL},
    {"malloc_info-writes-xml", "malloc_info(3)", malloc_info_writes_xml, NULL},
    {"malloc_info-refuses-options", "malloc_info(3): options must be zero", malloc_info_refuses_options, NULL},
    {"malloc_trim-gives-memory-back", "malloc_trim(3)", malloc_trim_gives_memory_back, NULL},
    {"mallopt-returns-1", "mallopt(3): 1 on success", mallopt_returns_1, NULL},
    {"malloc_stats-writes-to-stderr", "malloc_stats(3)", malloc_stats_writes_to_stderr, NULL},
    {0},
};

const struct contract_row contract_statistics = {"statistics and tuning", statistics_rules};

const struct contract_row *const contract_rows[] = {
    CONTRACT_ROWS_OF_EVERY_PROGRAM, &contract_symbols,    &contract_old_names,
    &contract_statistics,           &contract_libc_calls, NULL,
};
