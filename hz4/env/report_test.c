// A program's handler of SIGABRT, after hz4 has reported wrong use, or of SIGSEGV, where hz4 copies what the program has made
// inaccessible: it may do whatever a crash reporter does (allocate, fork, start a thread and wait for it), or never come
// back. Every way through hz4 must work then, or fail, and none wait.
//
// Each case is a child with an alarm: who waits for ever is killed by it.
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

// C23. libc does not declare them yet.
extern void free_sized(void *ptr, size_t size);

enum { kFound = 7, kSeconds = 60, kBlocks = 30 };

static void *hide(void *ptr) {
  void *volatile hidden = ptr;
  return hidden;
}

// ---- what is wrong ----

// The caches' objects go home, which is where hz4 finds what is wrong with small ones.
static void trim(size_t bytes) {
  (void)bytes;
  malloc_trim(0);
}

// The bin overflows. (What then lies in a depot, unchecked, the trim brings home.)
static void overflow(size_t bytes) {
  enum { kMany = 5000 };
  static void *blocks[kMany];
  size_t many = bytes < 4096 ? kMany : 100;
  for (size_t i = 0; i < many; i++) CHECK((blocks[i] = malloc(bytes)) != NULL);
  for (size_t i = 0; i < many; i++) free(blocks[i]);
  malloc_trim(0);
}

static void (*bring_home)(size_t bytes);

static void double_free(size_t bytes) {
  void *block = hide(malloc(bytes)), *neighbour = malloc(bytes);
  free(block);
  free(hide(block));
  bring_home(bytes);
  free(neighbour);
}

static void inner_pointer(size_t bytes) {
  char *block = hide(malloc(bytes));
  free(hide(block + 8));
  bring_home(bytes);
  free(block);
}

static void *free_twice(void *bytes) {
  double_free(*(size_t *)bytes);
  return NULL;
}

// Found when the thread ends, where it has a cache of its own; else by the trim that follows.
static void nothing(size_t bytes) {
  (void)bytes;
}

static void in_thread_end(size_t bytes) {
  pthread_t thread;
  bring_home = nothing;
  CHECK(pthread_create(&thread, NULL, free_twice, &bytes) == 0 && pthread_join(thread, NULL) == 0);
  malloc_trim(0);
}

static void foreign(size_t bytes) {
  static char buffer[4096];
  free(hide(buffer + bytes % 4096));
}

static void wrong_size(size_t bytes) {
  free_sized(hide(malloc(bytes)), 1);
}

static void wrong_realloc(size_t bytes) {
  char *block = hide(malloc(bytes));
  (void)hide(realloc(hide(block + 8), 100));
}

static void wrong_usable_size(size_t bytes) {
  char *block = hide(malloc(bytes));
  (void)malloc_usable_size(hide(block + 8));
}

// No wrong use of hz4, and nothing is said.
static void unreadable(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *block = hide(malloc(bytes));
  char *inside = (char *)(((uintptr_t)block + page) & -page);
  CHECK(mprotect(inside, page, PROT_NONE) == 0);
  (void)hide(realloc(block, bytes * 2));
}

// ---- what the handler does ----

static void use_heap(void) {
  static const size_t sizes[] = {1, 16, 48, 100, 1000, 4096, 30000, 200000, 300000, 900000, 3000000};
  static void *blocks[kBlocks];
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  for (int round = 0; round < 2; round++) {
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
      int count = sizes[s] < 100000 ? kBlocks : 8;
      for (int i = 0; i < count; i++) {
        blocks[i] = i % 2 == 0 ? malloc(sizes[s]) : calloc(1, sizes[s]);
        CHECK(blocks[i] != NULL);
        touch(blocks[i], sizes[s]);
      }
      for (int i = 0; i < count; i++) free(i % 3 == 0 ? realloc(blocks[i], sizes[s] * 3) : blocks[i]);
    }
    malloc_trim(0);
  }
  pthread_mutex_unlock(&mutex);
}

static sigjmp_buf back;
static pthread_t first_thread;
static volatile sig_atomic_t action;
enum { kAllocate, kFork, kThread, kLongjmp, kActions };

static void *thread_uses_heap(void *unused) {
  use_heap();
  return unused;
}

static void fork_and_use_heap(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(kSeconds);
    use_heap();
    _exit(kFound);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == kFound);
}

static void start_a_thread(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, thread_uses_heap, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

static void on_signal(int number) {
  (void)number;
  if (action == kAllocate) use_heap();
  if (action == kFork) fork_and_use_heap();
  if (action == kThread) start_a_thread();
  // Out of another thread nobody may jump into the first one's frames.
  if (action == kLongjmp && pthread_equal(pthread_self(), first_thread)) siglongjmp(back, 1);
  _exit(kFound);
}

// ---- the cases ----

static volatile bool stop;

// Of sizes whose classes no case is about: or else it might be given what was freed once.
static void *churn(void *seed) {
  uint64_t state = (uintptr_t)seed;
  void *blocks[64] = {0};
  while (!stop) {
    size_t i = next_random(&state) % 64;
    free(blocks[i]);
    blocks[i] = malloc((size_t)32 << next_random(&state) % 16);
  }
  for (int i = 0; i < 64; i++) free(blocks[i]);
  return NULL;
}

static void run(void (*misuse)(size_t), size_t bytes, bool beside) {
  pthread_t churner;
  first_thread = pthread_self();
  alarm(kSeconds);
  signal(SIGABRT, on_signal);
  signal(SIGSEGV, on_signal);
  if (beside) CHECK(pthread_create(&churner, NULL, churn, (void *)1) == 0);
  if (sigsetjmp(back, 1) == 0) {
    misuse(bytes);
    // The other thread may have emptied this one's cache, and be about to report.
    stop = true;
    if (beside) pthread_join(churner, NULL);
    malloc_trim(0);
    _exit(0);
  }
  // The handler has not come back.
  use_heap();
  fork_and_use_heap();
  start_a_thread();
  stop = true;
  if (beside) pthread_join(churner, NULL);
  hz4_check();
  _exit(kFound);
}

static int failures;

static void check(const char *name, void (*misuse)(size_t), size_t bytes) {
  static const char *const actions[] = {"allocates", "forks", "starts a thread", "does not return"};
  for (int i = 0; i < kActions * 2; i++) {
    int ends[2];
    fflush(stdout);
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      action = i / 2;
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      close(ends[1]);
      run(misuse, bytes, i % 2 != 0);
    }
    close(ends[1]);
    char said[4096] = "";
    int status, used = 0;
    for (ssize_t n; (n = read(ends[0], said + used, sizeof(said) - 1 - (size_t)used)) > 0;) used += (int)n;
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    // Of one report: what follows its line is indented.
    bool one_report = strncmp(said, "hz4: ", 5) == 0 && said[used - 1] == '\n';
    for (const char *line = strchr(said, '\n'); line != NULL && line[1] != '\0'; line = strchr(line + 1, '\n')) {
      one_report = one_report && strncmp(line + 1, "hz4:   ", 7) == 0;
    }
    bool found = WIFEXITED(status) && WEXITSTATUS(status) == kFound;
    if (found && (misuse == unreadable ? used == 0 : one_report)) continue;
    printf("FAILED: %s of %zu bytes%s, and the handler %s: status %d, said: %s\n", name, bytes,
           i % 2 != 0 ? " beside another" : "", actions[i / 2], status, said);
    failures++;
  }
}

static bool is_by_thread(void) {
  const char *front = getenv("HZ4_FRONT");
  return front != NULL && strcmp(front, "1") == 0;
}

int main(void) {
  static const size_t small[] = {16, 40, 100, 3000, 40000, 200000}, large[] = {600000, 5000000};
  for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
    bring_home = trim;
    check("double free", double_free, small[i]);
    check("inner pointer", inner_pointer, small[i]);
    bring_home = overflow;
    check("double free, by an overflow", double_free, small[i]);
    check("inner pointer, by an overflow", inner_pointer, small[i]);
    check("realloc", wrong_realloc, small[i]);
    check("malloc_usable_size", wrong_usable_size, small[i]);
    check(is_by_thread() ? "double free, at a thread's end" : "double free, in a thread", in_thread_end, small[i]);
  }
  for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
    bring_home = trim;
    check("double free", double_free, large[i]);
    check("inner pointer", inner_pointer, large[i]);
    check("free_sized", wrong_size, large[i]);
    check("realloc", wrong_realloc, large[i]);
    check("malloc_usable_size", wrong_usable_size, large[i]);
  }
  check("foreign", foreign, 16);
  check("unreadable", unreadable, 40000);
  check("unreadable", unreadable, 600000);
  CHECK(failures == 0);
  puts("PASSED");
  return 0;
}
