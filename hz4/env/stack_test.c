// Threads with the smallest stacks there are: they start, allocate in every range, and end; and no call of hz4 uses
// more than 4 KiB of stack. Measured by painting what lies below the caller's frame.
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kPainted = 9000, kStackBytesMax = 4096, kThreads = 200 };
static const unsigned char kPaint = 0xc5;

static size_t deepest;
static const char *deepest_call;

// Paints the memory below the caller's frame, or says how far up it is still painted. One function for both, so that
// the array lies in one place.
__attribute__((noinline)) static size_t paint_or_look(bool paint) {
  unsigned char below[kPainted];
  volatile unsigned char *from = below;
  __asm__ volatile("" : "+r"(from) : : "memory");  // what is looked at was written by others
  for (size_t i = 0; i < kPainted; i++) {
    if (paint) from[i] = kPaint;
    else if (from[i] != kPaint) return i;
  }
  return kPainted;
}

#define MEASURE(call)                                         \
  do {                                                        \
    paint_or_look(true);                                      \
    call;                                                     \
    size_t used = kPainted - paint_or_look(false);            \
    if (used > deepest) deepest = used, deepest_call = #call; \
  } while (0)

static void *use_everything(void *measure) {
  static const size_t sizes[] = {1, 100, 2048, 5000, 60000, 262144, 300000, 1 << 20, 3 << 20, 20 << 20};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    char *block = NULL, *zeroed = NULL, *aligned = NULL;
    if (measure == NULL) {
      block = hz4_malloc(sizes[i]);
      touch(block, sizes[i]);
      block = hz4_realloc(block, sizes[i] * 3);
      touch(block, sizes[i] * 3);
      hz4_free(block);
      continue;
    }
    MEASURE(block = hz4_malloc(sizes[i]));
    MEASURE(zeroed = hz4_calloc(1, sizes[i]));
    MEASURE(aligned = hz4_memalign(1 << 18, sizes[i]));
    MEASURE(block = hz4_realloc(block, sizes[i] * 3));
    MEASURE(block = hz4_realloc(block, sizes[i]));
    MEASURE(hz4_malloc_usable_size(block));
    CHECK(block != NULL && zeroed != NULL && aligned != NULL);
    MEASURE(hz4_free(block));
    MEASURE(hz4_free(zeroed));
    MEASURE(hz4_free(aligned));
  }
  if (measure == NULL) return NULL;
  // Enough of one size that bins grow, overflow, and flush.
  static void *many[20000];
  for (int i = 0; i < 20000; i++) MEASURE(many[i] = hz4_malloc(64));
  for (int i = 0; i < 20000; i++) MEASURE(hz4_free(many[i]));
  MEASURE(hz4_malloc_trim(0));
  return NULL;
}

// Also its end is measured: the destructor that gives the caches up runs on the thread's own stack.
static size_t thread_stack_use(void *(*body)(void *), void *argument) {
  size_t bytes = (size_t)sysconf(_SC_THREAD_STACK_MIN), page = (size_t)sysconf(_SC_PAGESIZE);
  bytes = (bytes + page - 1) / page * page;
  char *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(stack != MAP_FAILED);
  memset(stack, kPaint, bytes);
  pthread_attr_t attributes;
  pthread_t thread;
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, bytes) == 0);
  CHECK(pthread_create(&thread, &attributes, body, argument) == 0 && pthread_join(thread, NULL) == 0);
  size_t untouched = 0;
  while (untouched < bytes && (unsigned char)stack[untouched] == kPaint) untouched++;
  CHECK(untouched > 0);
  CHECK(munmap(stack, bytes) == 0);
  return bytes - untouched;
}

static void *do_nothing(void *unused) {
  return unused;
}

static void *use_little(void *unused) {
  (void)unused;
  return use_everything(NULL);
}

static void run_smallest_threads(void) {
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
  for (int i = 0; i < kThreads; i++) {
    pthread_t thread;
    CHECK(pthread_create(&thread, &attributes, use_little, NULL) == 0 && pthread_join(thread, NULL) == 0);
  }
}

int main(void) {
  MEASURE(do_nothing(NULL));
  size_t nothing = deepest;
  CHECK(nothing < 512);  // the measure itself
  deepest = 0;
  use_everything((void *)1);
  printf("deepest: %zu bytes in %s\n", deepest, deepest_call);
  CHECK(deepest > 0 && deepest <= kStackBytesMax);
  run_smallest_threads();
  size_t bare = thread_stack_use(do_nothing, NULL), used = thread_stack_use(use_little, NULL);
  printf("a thread: %zu bytes of stack bare, %zu with hz4, its end included\n", bare, used);
  CHECK(used <= bare + kStackBytesMax);
  hz4_check();
  puts("PASSED");
  return 0;
}
