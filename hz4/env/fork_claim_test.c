// A thread that claims a bin just when another forks, and is anywhere in that when the process is copied: nobody is left in the
// child to go on with it, and the child must not wait for him, nor must its own child. hz4 is the malloc of this program.
//
// The moment is made: fork has called hz4's handler and waits for the list of streams, which fflush has locked, who waits for
// a stream that this test has locked. Then a trap stops the thread that claims: at each instruction of the functions that begin
// and end a claim, one after the other. objdump knows where they are.
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"

enum { kSize = 777, kObjects = 8, kHungSeconds = 10, kTrapsMax = 1000 };

static const char *const kFunctions[] = {"begin_claim", "end_claim", "hz4_bin_claim", "hz4_bin_publish"};

static unsigned char *traps[kTrapsMax], *trap, original;
static int trap_count, current_trap;
static FILE *stream;
static atomic_bool may_claim, stopped, refused, forked;
static _Atomic(pid_t) forker_id, flusher_id;

static void set_byte(unsigned char byte) {
  *(volatile unsigned char *)trap = byte;
}

static int note_base(struct dl_phdr_info *info, size_t size, void *base) {
  (void)size;
  *(uintptr_t *)base = info->dlpi_addr;
  return 1;  // the first is the program
}

static void find_traps(void) {
  char path[1024], command[1100], line[1024], function[200] = "";
  ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  CHECK(length > 0);
  path[length] = '\0';
  uintptr_t base = 0;
  dl_iterate_phdr(note_base, &base);
  snprintf(command, sizeof(command), "PATH=/usr/bin:/bin objdump -d --no-show-raw-insn '%s' 2>/dev/null", path);
  FILE *listing = popen(command, "r");
  CHECK(listing != NULL);
  while (fgets(line, sizeof(line), listing) != NULL) {
    char *end;
    uintptr_t now = strtoul(line, &end, 16);
    if (*end == ' ') sscanf(end, " <%199[^>]", function);
    if (end == line || *end != ':') continue;
    for (size_t i = 0; i < sizeof(kFunctions) / sizeof(kFunctions[0]); i++) {
      size_t name = strlen(kFunctions[i]);
      if (strncmp(function, kFunctions[i], name) != 0 || (function[name] != '\0' && function[name] != '.')) continue;
      CHECK(trap_count < kTrapsMax);
      traps[trap_count++] = (unsigned char *)(base + now);
    }
  }
  if (pclose(listing) != 0 || trap_count == 0) SKIP("no objdump here");
}

static void make_writable(int more) {
  void *page = (void *)((uintptr_t)trap & ~(uintptr_t)4095);
  if (mprotect(page, 4096, PROT_READ | PROT_EXEC | more) != 0) SKIP("code may not be changed here");
}

static void on_trap(int number, siginfo_t *info, void *context_ptr) {
  (void)number, (void)info;
  ucontext_t *context = context_ptr;
  greg_t *at = &context->uc_mcontext.gregs[REG_RIP];
  if ((unsigned char *)*at == trap + 1) *at -= 1;  // or else the kernel has made a sequence begin anew
  set_byte(original);
  stopped = true;
  while (!forked) sched_yield();
}

static bool sleeps(pid_t id) {
  char path[64], text[256];
  snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0);
  ssize_t length = read(fd, text, sizeof(text) - 1);
  close(fd);
  CHECK(length > 0);
  text[length] = '\0';
  char *behind = strrchr(text, ')');
  return behind != NULL && behind[2] == 'S';
}

static void await_sleep(_Atomic(pid_t) *id) {
  while (*id == 0) sched_yield();
  for (int seen = 0; seen < 100; seen = sleeps(*id) ? seen + 1 : 0) sched_yield();
}

static void *claim(void *unused) {
  free(malloc(kSize));  // it has a cache
  while (!may_claim) sched_yield();
  void *objects[kObjects];
  for (int i = 0; i < kObjects; i++) CHECK((objects[i] = malloc(kSize)) != NULL);  // one of them claims, or would
  refused = true;
  for (int i = 0; i < kObjects; i++) free(objects[i]);
  return unused;
}

static void *flush_all(void *unused) {
  flusher_id = gettid();
  fflush(NULL);
  return unused;
}

static void *fork_now(void *unused) {
  free(malloc(kSize));
  forker_id = gettid();
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    signal(SIGTRAP, SIG_DFL);
    alarm(kHungSeconds);
    void *objects[kObjects];
    for (int i = 0; i < kObjects; i++) CHECK((objects[i] = malloc(kSize)) != NULL);
    for (int i = 0; i < kObjects; i++) free(objects[i]);
    malloc_trim(0);
    hz4_check();
    pid_t grandchild = fork();
    CHECK(grandchild >= 0);
    if (grandchild == 0) _exit(0);
    int own;
    CHECK(waitpid(grandchild, &own, 0) == grandchild && own == 0);
    _exit(0);
  }
  forked = true;
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) {
    fprintf(stderr, "instruction %d: the child: signal %d; %d is a hang\n", current_trap, WTERMSIG(status), SIGALRM);
  }
  CHECK(status == 0);
  return unused;
}

// True when the thread came to the trap.
static bool fork_with_trap_at(unsigned char *address) {
  trap = address;
  original = *trap;
  may_claim = stopped = refused = forked = false;
  forker_id = flusher_id = 0;
  CHECK(fputs("text", stream) >= 0);
  make_writable(PROT_WRITE);
  pthread_t claimer, flusher, forker;
  CHECK(pthread_create(&claimer, NULL, claim, NULL) == 0);
  flockfile(stream);
  CHECK(pthread_create(&flusher, NULL, flush_all, NULL) == 0);
  await_sleep(&flusher_id);
  CHECK(pthread_create(&forker, NULL, fork_now, NULL) == 0);
  await_sleep(&forker_id);
  set_byte(0xcc);
  may_claim = true;
  while (!stopped && !refused) sched_yield();
  set_byte(original);
  funlockfile(stream);
  CHECK(pthread_join(flusher, NULL) == 0 && pthread_join(forker, NULL) == 0 && pthread_join(claimer, NULL) == 0);
  make_writable(0);
  malloc_trim(0);
  hz4_check();
  return stopped;
}

int main(void) {
  find_traps();
  stream = fopen("/dev/null", "w");
  CHECK(stream != NULL);
  struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  int met = 0;
  for (int i = 0; i < trap_count; i++) {
    current_trap = i;
    met += fork_with_trap_at(traps[i]);
  }
  fclose(stream);
  printf("caches belong to %s; a fork with a thread at each of %d instructions, of which it came to %d\n",
         hz4_stats_get("thread_by_cpu") == 1 ? "CPUs" : "threads", trap_count, met);
  CHECK(met > 0);
  puts("PASSED");
  return 0;
}
