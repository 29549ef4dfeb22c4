// Every libc name of the shim, called in a program whose malloc is hz4.
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

// Not declared by glibc's headers any more, or not yet.
extern void cfree(void *ptr);
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *ptr, size_t size);
extern void __libc_free(void *ptr);
extern void __libc_cfree(void *ptr);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);
extern int __posix_memalign(void **out, size_t alignment, size_t size);
extern void free_sized(void *ptr, size_t size);
extern void free_aligned_sized(void *ptr, size_t alignment, size_t size);

// The compiler knows malloc too well: volatile hides what it could prove.
static const volatile size_t kZero = 0, kTooMuch = (size_t)PTRDIFF_MAX + 1, kOddAlignment = 48, kMost = SIZE_MAX;

// hz4's own function aborts on a pointer that hz4 does not know.
static void *ours(void *ptr, size_t size, size_t alignment) {
  CHECK(ptr != NULL);
  CHECK((uintptr_t)ptr % alignment == 0);
  CHECK(hz4_malloc_usable_size(ptr) >= size);
  CHECK(malloc_usable_size(ptr) == hz4_malloc_usable_size(ptr));
  touch(ptr, size);
  return ptr;
}

#define EXPECT_NULL(expression, error) \
  do {                                 \
    errno = 0;                         \
    void *expected = (expression);     \
    CHECK(expected == NULL);           \
    CHECK(errno == (error));           \
  } while (0)

static void test_c_names(void) {
  errno = 7;
  free(ours(malloc(100), 100, 16));
  free(ours(malloc(kZero), 0, 16));
  char *zero = ours(calloc(1000, 7), 7000, 16);
  free(zero);
  free_sized(ours(malloc(33), 33, 16), 33);
  free_aligned_sized(ours(aligned_alloc(256, 300), 300, 256), 256, 300);
  free_sized(ours(malloc(3 << 20), 3 << 20, 16), 3 << 20);  // of large blocks hz4 checks both
  free_aligned_sized(ours(aligned_alloc(1 << 17, 3 << 20), 3 << 20, 1 << 17), 1 << 17, 3 << 20);
  char *grown = realloc(NULL, 40);
  memset(grown, 3, 40);
  grown = ours(realloc(grown, 5000000), 5000000, 16);
  CHECK(grown[0] == 0x5a && grown[39] == 3);
  CHECK(realloc(grown, kZero) == NULL);
  CHECK(errno == 7);
  EXPECT_NULL(malloc(kTooMuch), ENOMEM);
  EXPECT_NULL(calloc(kMost / 2, 3), ENOMEM);
  EXPECT_NULL(realloc(NULL, kTooMuch), ENOMEM);
  EXPECT_NULL(aligned_alloc(kOddAlignment, 100), EINVAL);
  EXPECT_NULL(aligned_alloc(kZero, 100), EINVAL);
  EXPECT_NULL(aligned_alloc(64, kTooMuch), ENOMEM);
  errno = 7;
  free(NULL);
  free_sized(NULL, 3);
  free_aligned_sized(NULL, 16, 3);
  CHECK(malloc_usable_size(NULL) == 0 && errno == 7);
}

static void test_failed_realloc_keeps_the_block(void) {
  char *block = malloc(3000);
  memset(block, 9, 3000);
  EXPECT_NULL(realloc(block, kTooMuch), ENOMEM);
  for (int i = 0; i < 3000; i++) CHECK(block[i] == 9);
  free(block);
}

static void test_aligned_names(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  errno = 7;
  void *out = NULL;
  CHECK(posix_memalign(&out, 4096, 10) == 0);
  free(ours(out, 10, 4096));
  out = &out;
  CHECK(posix_memalign(&out, 4, 10) == EINVAL && posix_memalign(&out, kOddAlignment, 10) == EINVAL);
  CHECK(posix_memalign(&out, 64, kTooMuch) == ENOMEM);
  CHECK(out == &out && errno == 7);
  free(ours(memalign(kOddAlignment, 100), 100, 64));
  free(ours(valloc(10), 10, page));
  free(ours(pvalloc(page + 1), 2 * page, page));
  free(ours(pvalloc(kZero), page, page));
  CHECK(errno == 7);
  EXPECT_NULL(pvalloc(kMost - 100), ENOMEM);
  EXPECT_NULL(valloc(kTooMuch), ENOMEM);
  EXPECT_NULL(memalign(64, kTooMuch), ENOMEM);
  EXPECT_NULL(memalign(kTooMuch + 1, 1), EINVAL);
}

static void test_old_names(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  errno = 7;
  cfree(ours(__libc_malloc(70), 70, 16));
  __libc_free(ours(__libc_calloc(7, 70), 490, 16));
  void *block = ours(__libc_realloc(NULL, 70), 70, 16);
  __libc_cfree(ours(__libc_realloc(block, 70000), 70000, 16));
  free(ours(__libc_memalign(512, 70), 70, 512));
  free(ours(__libc_valloc(70), 70, page));
  free(ours(__libc_pvalloc(70), page, page));
  CHECK(__posix_memalign(&block, 128, 70) == 0);
  free(ours(block, 70, 128));
  cfree(NULL);
  CHECK(errno == 7);
  EXPECT_NULL(__libc_malloc(kTooMuch), ENOMEM);
  EXPECT_NULL(__libc_calloc(kMost, kMost), ENOMEM);
  EXPECT_NULL(__libc_pvalloc(kMost), ENOMEM);
  CHECK(__posix_memalign(&block, 3, 70) == EINVAL);
}

// What libc allocates inside comes from hz4.
static void test_libc_calls_us(void) {
  free(ours(reallocarray(NULL, 100, 30), 3000, 16));
  EXPECT_NULL(reallocarray(NULL, kMost / 2, 3), ENOMEM);
  free(ours(strdup("a string"), 9, 16));
  free(ours(strndup("a string", 3), 4, 16));
  char *text = NULL;
  CHECK(asprintf(&text, "%d and %s", 42, "more") == 11);
  free(ours(text, 12, 16));
  static char data[] = "first line\nsecond\n";
  FILE *stream = fmemopen(data, sizeof(data) - 1, "r");
  CHECK(stream != NULL);
  CHECK(hz4_malloc_usable_size(stream) >= sizeof(FILE));
  char *line = NULL;
  size_t room = 0;
  CHECK(getline(&line, &room, stream) == 11 && strcmp(line, "first line\n") == 0);
  free(ours(line, room, 16));
  fclose(stream);
  char *buffer;
  size_t length;
  stream = open_memstream(&buffer, &length);
  for (int i = 0; i < 10000; i++) fprintf(stream, "%d,", i);
  fclose(stream);
  CHECK(length == 48890);
  free(ours(buffer, length, 16));
  free(ours(realpath("/", NULL), 2, 16));
}

// A block of libc's heap may come to any of our names.
static void test_blocks_of_libc(void) {
  enum { kRounds = 10000, kBytes = 1000 };
  void *(*libc_malloc)(size_t);
  *(void **)&libc_malloc = dlsym(RTLD_NEXT, "malloc");
  CHECK(libc_malloc != NULL && libc_malloc != malloc);
  char *theirs = libc_malloc(kBytes);
  memset(theirs, 7, kBytes);
  CHECK(malloc_usable_size(theirs) >= kBytes);
  char *mine = realloc(theirs, 5000);
  CHECK(mine != NULL && mine[0] == 7 && mine[kBytes - 1] == 7);
  free(ours(mine, 5000, 16));
  void *end = sbrk(0);
  for (int i = 0; i < kRounds; i++) free(libc_malloc(kBytes));
  CHECK(sbrk(0) == end);  // libc has them again
}

enum { kBlocks = 4000 };
static void *blocks[kBlocks];

// Nine of ten in one of eight parts of the blocks.
static void *free_most(void *part) {
  void **end = (void **)part + kBlocks / 8;
  for (void **block = part; block < end; block++) {
    if ((block - blocks) % 10 != 0) free(*block);
  }
  return NULL;
}

static void test_mallinfo(void) {
  enum { kLarge = 32 << 20, kSmall = 4000 };
  malloc_trim(0);
  struct mallinfo2 before = mallinfo2();
  void *large = malloc(kLarge);
  touch(large, kLarge);
  for (int i = 0; i < kBlocks; i++) touch(blocks[i] = malloc(kSmall), kSmall);
  struct mallinfo2 during = mallinfo2();
  struct mallinfo narrow = mallinfo();
  CHECK(during.hblks >= before.hblks + 1 && during.hblkhd >= before.hblkhd + kLarge);
  CHECK(during.uordblks >= before.uordblks + (size_t)kBlocks * kSmall);
  CHECK(during.arena >= during.uordblks);
  CHECK(during.arena >= before.arena + (size_t)kBlocks * kSmall / 2);
  CHECK((size_t)narrow.uordblks == during.uordblks && (size_t)narrow.hblkhd == during.hblkhd);
  CHECK(during.ordblks > before.ordblks && (size_t)narrow.ordblks == during.ordblks);
  CHECK(during.uordblks + during.fordblks == during.arena);
  // Threads free most of them, in the spans of the others and on the way there: that is in use no more.
  for (int part = 0; part < 8; part++) {
    pthread_t thread;
    void *first = blocks + part * kBlocks / 8;
    CHECK(pthread_create(&thread, NULL, free_most, first) == 0 && pthread_join(thread, NULL) == 0);
  }
  struct mallinfo2 idle = mallinfo2();
  // Where all ran on one CPU, its cache was alone, and what it gave went home past the depot.
  bool by_cpu = hz4_stats_get("thread_by_cpu") == 1;
  CHECK(hz4_stats_get("heap_free_bytes") > 0 && (by_cpu || hz4_stats_get("heap_depot_bytes") > 0));
  CHECK(idle.uordblks < during.uordblks - (size_t)kBlocks * kSmall / 2);
  CHECK(idle.uordblks >= before.uordblks + (size_t)kBlocks / 10 * kSmall);
  CHECK(idle.uordblks + idle.fordblks == idle.arena);
  CHECK(idle.uordblks == hz4_stats_get("segment_used_bytes") - hz4_stats_get("heap_free_bytes") -
                             hz4_stats_get("heap_depot_bytes"));
  for (int i = 0; i < kBlocks; i += 10) free(blocks[i]);
  free(large);
  void *cached = malloc(2 << 20), *live = malloc(2 << 20);
  free(cached);
  CHECK(hz4_stats_get("large_cached_bytes") > 0);
  CHECK(mallinfo2().hblkhd == hz4_stats_get("large_live_mapped_bytes") + hz4_stats_get("large_cached_bytes"));
  free(live);
  CHECK(malloc_trim(0) == 1);
  struct mallinfo2 after = mallinfo2();
  CHECK(after.uordblks < before.uordblks + (1 << 20));
  CHECK(after.hblks == before.hblks && after.hblkhd <= before.hblkhd);
  CHECK(after.keepcost <= during.keepcost + (1 << 20));
}

static atomic_bool enough;

// Opens and closes spans: pages in use become free ones, and are taken again.
static void *open_and_close(void *none) {
  enum { kObjects = 64, kBytes = 256 << 10 };
  void *objects[kObjects];
  while (!atomic_load(&enough)) {
    for (int i = 0; i < kObjects; i++) objects[i] = malloc(kBytes);
    for (int i = 0; i < kObjects; i++) free(objects[i]);
  }
  return none;
}

static uint64_t segments_moved(void) {
  return hz4_stats_get("segment_acquired") + hz4_stats_get("segment_released");
}

// One look: a page that is in use at one moment, and free at the next, is counted once.
static void test_mallinfo_agrees_with_itself(void) {
  int compared = 0;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, open_and_close, NULL) == 0);
  for (int i = 0; i < 20000 || compared == 0; i++) {
    uint64_t moved = segments_moved();
    struct mallinfo2 one = mallinfo2(), other = mallinfo2();
    CHECK(one.uordblks + one.fordblks == one.arena);
    if (segments_moved() != moved) continue;
    CHECK(one.arena == other.arena);
    compared++;
  }
  atomic_store(&enough, true);
  CHECK(pthread_join(thread, NULL) == 0);
}

// Well-formed enough for a parser that knows elements and attributes, and with numbers that agree with mallinfo2.
static void test_malloc_info(void) {
  void *large = malloc(8 << 20);
  char *xml;
  size_t length;
  FILE *stream = open_memstream(&xml, &length);
  CHECK(malloc_info(1, stream) == EINVAL && malloc_info(-1, stream) == EINVAL);
  fflush(stream);
  CHECK(length == 0);
  CHECK(malloc_info(0, stream) == 0);
  fclose(stream);
  int open_elements = 0, roots = 0, elements = 0;
  size_t mapped_bytes = 0;
  for (char *at = xml; (at = strchr(at, '<')) != NULL; at++) {
    char *end = strchr(at, '>');
    CHECK(end != NULL);
    CHECK(memchr(at + 1, '<', (size_t)(end - at - 1)) == NULL);
    int quotes = 0;
    for (char *c = at; c < end; c++) quotes += *c == '"';
    CHECK(quotes % 2 == 0);
    if (at[1] == '/') {
      CHECK(strncmp(at, "</malloc>", 9) == 0);
      open_elements--;
    } else if (end[-1] != '/') {
      CHECK(strncmp(at, "<malloc version=\"1\">", 20) == 0);
      open_elements++;
      roots++;
    } else {
      CHECK(open_elements == 1);
      elements++;
      char *size = strstr(at, "size=\"");
      CHECK(size != NULL && size < end);
      if (strncmp(at, "<total type=\"mmap\"", 18) == 0) mapped_bytes = strtoull(size + 6, NULL, 10);
    }
  }
  CHECK(open_elements == 0 && roots == 1 && elements == 4);
  CHECK(mapped_bytes >= 8 << 20 && mapped_bytes == mallinfo2().hblkhd);
  free(xml);
  free(large);
}

static void test_trim(void) {
  enum { kBytes = 64 << 20, kPiece = 100 << 10 };
  static char *pieces[kBytes / kPiece];
  for (int i = 0; i < kBytes / kPiece; i++) memset(pieces[i] = malloc(kPiece), 1, kPiece);
  long full = rss_kib();
  for (int i = 0; i < kBytes / kPiece; i++) free(pieces[i]);
  malloc_trim(0);
  CHECK(rss_kib() < full - (kBytes >> 10) * 9 / 10);
  CHECK(malloc_trim(0) == 0);  // nothing is left to give
}

// Programs take 0 for a failure, and some end.
static void test_mallopt(void) {
  const int known[] = {M_MXFAST, M_NLBLKS, M_GRAIN, M_KEEP, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_CHECK_ACTION,
                       M_PERTURB, M_ARENA_TEST, M_ARENA_MAX};
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) CHECK(mallopt(known[i], 1) == 1);
  for (int value = -1; value <= 1; value++) CHECK(mallopt(12345, value) == 0 && mallopt(-9, value) == 0);
}

// What a real-time program does first: memory that it has touched once stays. (Spans, and large blocks.)
static void test_trim_threshold(void) {
  enum { kPieces = 100, kPiece = 512 << 10 };
  static char *pieces[kPieces];
  for (int round = 0; round < 2; round++) {
    CHECK(mallopt(M_TRIM_THRESHOLD, round == 0 ? -1 : 0) == 1);
    for (int i = 0; i < kPieces; i++) memset(pieces[i] = malloc(kPiece), 1, kPiece);
    long full = rss_kib();
    for (int i = 0; i < kPieces; i++) free(pieces[i]);
    long kept = (kPieces * (kPiece >> 10)) - (full - rss_kib());
    if (round == 0) CHECK(kept > kPieces * (kPiece >> 10) * 9 / 10);
    if (round == 1) CHECK(kept < kPieces * (kPiece >> 10) / 10);
  }
  CHECK(mallopt(M_TRIM_THRESHOLD, 4 << 20) == 1);
}

// What hz4 itself finds to be too much does not count once the program has said how much stays.
static void test_trim_threshold_falls(void) {
  enum { kBytes = 8 << 20 };
  CHECK(mallopt(M_TRIM_THRESHOLD, 4 << 20) == 1 && hz4_stats_get("large_keep_bytes") == 4 << 20);
  void *one = malloc(kBytes), *other = malloc(kBytes);
  free(one);
  free(other);
  CHECK(mallopt(M_TRIM_THRESHOLD, 0) == 1 && hz4_stats_get("large_keep_bytes") == 0);
  CHECK(mallopt(M_TRIM_THRESHOLD, 4 << 20) == 1);
}

// malloc_stats writes to stderr, and only there.
static void test_stats(void) {
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(pipes[1], STDERR_FILENO);
    close(STDOUT_FILENO);
    malloc_stats();
    _exit(0);
  }
  close(pipes[1]);
  static char text[32768];
  size_t used = 0;
  for (ssize_t n; (n = read(pipes[0], text + used, sizeof(text) - 1 - used)) > 0;) used += (size_t)n;
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(strstr(text, "large_allocs=") != NULL && strstr(text, "os_mapped_bytes=") != NULL);
  CHECK(text[used - 1] == '\n');
}

int main(void) {
  test_trim_threshold_falls();
  test_trim_threshold();  // first: thrashing at what later tests free would keep more
  test_c_names();
  test_failed_realloc_keeps_the_block();
  test_aligned_names();
  test_old_names();
  test_libc_calls_us();
  test_blocks_of_libc();
  test_mallinfo();
  test_mallinfo_agrees_with_itself();
  test_malloc_info();
  test_trim();
  test_mallopt();
  test_stats();
  puts("PASSED");
  return 0;
}
