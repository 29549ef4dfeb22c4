// An interruption at every instruction of every sequence (hz4/sequence.h): before it, in it, at its end, and where it begins
// anew. hz4 is the malloc of this program.
//
// The instruction is overwritten with a trap for the length of one operation, and its signal's handler puts it back: in a
// sequence of a CPU's cache the kernel has made the thread begin anew by then, elsewhere it goes on. Each trap comes twice in
// a row. In further rounds the handler changes the bin beneath the sequence: it allocates and frees of the same class, and
// takes the bins away altogether. After each instruction nothing is lost, and nothing has been handed out twice.
//
// With AS_THE_KERNEL=1, where threads have caches of their own, the handler itself does to the thread what the kernel does on a
// signal (rseq_ip_fixup in its kernel/rseq.c): so the assembly's way back is run where no kernel restarts sequences, as under
// qemu-user.
//
// objdump knows where instructions begin; which of them are in sequences say the kernel's descriptors.
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "hz4/env/check.h"
#include "hz4/hz4.h"
#include "hz4/sequence.h"

#if defined(__x86_64__)
typedef unsigned char instruction;
enum { kTrap = 0xcc, kTrapBytes = 1 };  // the signal comes behind it
#define PC(context) ((context)->uc_mcontext.gregs[REG_RIP])
#define OBJDUMP "x86_64-linux-gnu-objdump"
#elif defined(__aarch64__)
typedef uint32_t instruction;
enum { kTrap = (int)0xd4200000, kTrapBytes = 0 };  // brk #0
#define PC(context) ((context)->uc_mcontext.pc)
#define OBJDUMP "aarch64-linux-gnu-objdump"
#endif

enum { kSitesMax = 2000, kObjects = 150, kTrapsEachTime = 2, kRounds = 3 };
enum { kOnlyInterrupt, kUseTheClass, kTakeBinsAway };

void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);

// The kernel's (linux/rseq.h).
struct descriptor {
  uint32_t version, flags;
  uint64_t start, post_commit_offset, abort;
};
extern const struct descriptor __start___rseq_cs[], __stop___rseq_cs[];

struct site {
  unsigned char *address;
  instruction original;
  const struct descriptor *descriptor;
  bool inside;
  unsigned long hits;
  char function[48];
};

static struct site sites[kSitesMax];
static int site_count;
static bool by_cpu, as_the_kernel;
static __thread bool has_no_cache_yet;

// ---- instructions ----

static void add_site(unsigned char *address, const struct descriptor *descriptor, const char *function) {
  CHECK(site_count < kSitesMax);
  struct site *site = &sites[site_count++];
  site->address = address;
  site->original = *(instruction *)address;
  site->descriptor = descriptor;
  site->inside = (uint64_t)(uintptr_t)address - descriptor->start < descriptor->post_commit_offset;
  snprintf(site->function, sizeof(site->function), "%s", function);
}

static int note_base(struct dl_phdr_info *info, size_t size, void *base) {
  (void)size;
  *(uintptr_t *)base = info->dlpi_addr;
  return 1;  // the first is the program
}

// All of a sequence, the two instructions before it, the one behind, and the one at which it begins anew.
static void note_instruction(uintptr_t two_before, uintptr_t before, uintptr_t now, const char *function) {
  for (const struct descriptor *d = __start___rseq_cs; d < __stop___rseq_cs; d++) {
    if (now == d->start) {
      add_site((unsigned char *)two_before, d, function);
      add_site((unsigned char *)before, d, function);
    }
    if (now - d->start <= d->post_commit_offset || now == d->abort) add_site((unsigned char *)now, d, function);
  }
}

static void find_sites(void) {
  char path[1024], command[1200], line[1024], function[200] = "";
  ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  CHECK(length > 0);
  path[length] = '\0';
  uintptr_t base = 0, two_before = 0, before = 0, now;
  dl_iterate_phdr(note_base, &base);
  snprintf(command, sizeof(command), "PATH=/usr/bin:/bin " OBJDUMP " -d --no-show-raw-insn '%s' 2>/dev/null", path);
  FILE *listing = popen(command, "r");
  CHECK(listing != NULL);
  while (fgets(line, sizeof(line), listing) != NULL) {
    char *end;
    now = strtoul(line, &end, 16);
    if (*end == ' ') sscanf(end, " <%199[^>]", function);
    if (end == line || *end != ':') continue;
    note_instruction(two_before, before, base + now, function);
    two_before = before;
    before = base + now;
  }
  if (pclose(listing) != 0 || site_count == 0) SKIP("no objdump here");
}

// ---- traps ----

static struct site *volatile armed;
static volatile int traps_left, round_of;
static volatile size_t current_size;  // of the operation that is on
static volatile bool on_whole_heap;   // and it works on all of the heap, with a lock

static void set(struct site *site, instruction what) {
  *(volatile instruction *)site->address = what;
  __builtin___clear_cache((char *)site->address, (char *)site->address + sizeof(what));
}

static void make_writable(struct site *site, int more) {
  uintptr_t page = (uintptr_t)site->address & ~(uintptr_t)4095;
  if (mprotect((void *)page, 8192, PROT_READ | PROT_EXEC | more) != 0) SKIP("code may not be changed here");
}

static void *take(size_t size, int way);
static void give(void *ptr, size_t size, int way);

static struct kept {
  void *ptr;
  size_t size;
} kept[2];

static void meddle(void) {
  if (round_of == kOnlyInterrupt) return;
  if (as_the_kernel && has_no_cache_yet) return;  // its sequence is on no area that it would be restarted by
  struct kept new = {take(current_size, 0), current_size}, *old = &kept[traps_left % 2];
  give(take(current_size, 0), current_size, 0);
  if (old->ptr != NULL) give(old->ptr, old->size, 0);
  *old = new;
  if (round_of == kTakeBinsAway && !on_whole_heap) malloc_trim(0);
}

static bool abort_as_the_kernel(ucontext_t *context) {
  const struct descriptor *d = (const struct descriptor *)(uintptr_t)hz4_front.area->sequence;
  hz4_front.area->sequence = 0;
  if (d == NULL || PC(context) - d->start >= d->post_commit_offset) return false;
  CHECK(d->version == 0 && d->flags == 0);
  CHECK(*(const uint32_t *)(uintptr_t)(d->abort - 4) == HZ4_SEQUENCE_SIGNATURE);
  PC(context) = d->abort;
  return true;
}

static void on_trap(int number, siginfo_t *info, void *context_ptr) {
  (void)number, (void)info;
  ucontext_t *context = context_ptr;
  struct site *site = armed;
  CHECK(site != NULL);
  bool aborted = (uint64_t)PC(context) == site->descriptor->abort;
  if (!aborted) {
    PC(context) -= kTrapBytes;
    CHECK((unsigned char *)(uintptr_t)PC(context) == site->address);
    if (as_the_kernel && !has_no_cache_yet) aborted = abort_as_the_kernel(context);
  }
  CHECK(aborted == ((by_cpu || as_the_kernel) && site->inside) || (!aborted && has_no_cache_yet));
  site->hits++;
  set(site, site->original);
  armed = NULL;
  traps_left = traps_left - 1;
  meddle();
  if (traps_left == 0) return;
  armed = site;
  set(site, kTrap);
}

static struct site *current;

static void begin(size_t size, bool whole) {
  if (current == NULL) return;
  current_size = size;
  on_whole_heap = whole;
  traps_left = kTrapsEachTime;
  armed = current;
  set(current, kTrap);
}

static void end(void) {
  if (current == NULL) return;
  set(current, current->original);
  armed = NULL;
}

// ---- objects, each with a mark of who it is while it is somebody's ----

static uint64_t mark_of(const void *ptr) {
  return (uint64_t)(uintptr_t)ptr * 0x9e3779b97f4a7c15u;
}

static void *take(size_t size, int way) {
  void *ptr = NULL;
  switch (way) {
    case 1: ptr = hz4_malloc(size); break;
    case 2: ptr = aligned_alloc(32, size); break;
    case 3: ptr = hz4_aligned_alloc(32, size); break;
    case 4: ptr = memalign(32, size); break;
    case 5: ptr = aligned_alloc(16, size); break;
    case 6: ptr = realloc(NULL, size); break;
    default: ptr = malloc(size);
  }
  CHECK(ptr != NULL && *(uint64_t *)ptr != mark_of(ptr));
  *(uint64_t *)ptr = mark_of(ptr);
  return ptr;
}

static void give(void *ptr, size_t size, int way) {
  CHECK(*(uint64_t *)ptr == mark_of(ptr));
  *(uint64_t *)ptr = 0;
  switch (way) {
    case 1: hz4_free(ptr); break;
    case 2: free_sized(ptr, size); break;
    case 3: hz4_free_sized(ptr, size); break;
    case 4: hz4_free_aligned_sized(ptr, 16, size); break;
    case 5: free_aligned_sized(ptr, 16, size); break;
    case 6: ptr = realloc(ptr, 0); break;
    case 7: ptr = hz4_realloc(ptr, 0); break;
    default: free(ptr);
  }
}

static void *trapped_take(size_t size, int way) {
  begin(size, false);
  void *ptr = take(size, way);
  end();
  return ptr;
}

static void trapped_give(void *ptr, size_t size, int way) {
  begin(size, false);
  give(ptr, size, way);
  end();
}

// ---- what is interrupted ----

static const size_t sizes[] = {32, 320, 1024, 5120, 40960, 204800};
enum { kSizes = sizeof(sizes) / sizeof(sizes[0]) };

static void use_each_way(void) {
  for (int i = 0; i < kSizes; i++) {
    size_t size = sizes[i];
    for (int way = 0; way < 8; way++) trapped_give(trapped_take(size, way), size, way);
    for (int way = 0; way < 8; way++) trapped_give(trapped_take(size, 0), size, way);
    begin(size, false);
    void *zeroed = calloc(1, size), *also = hz4_calloc(size, 1);
    end();
    CHECK(is_zero(zeroed, size) && is_zero(also, size));
    free(malloc(size * 2)), free(malloc(size * 3));  // so that there is one to be had
    begin(size, false);
    zeroed = realloc(zeroed, size * 2);
    end();
    begin(size, false);
    also = hz4_realloc(also, size * 3);
    end();
    CHECK(is_zero(zeroed, size) && is_zero(also, size));
    begin(size, false);
    free(zeroed);
    end();
    begin(size, false);
    hz4_free(also);
    end();
    free(malloc(1));  // so that there is one to be had
    begin(1, false);
    void *nothing = malloc(0);
    end();
    begin(1, false);
    void *nothing_too = realloc(NULL, 0);
    end();
    CHECK(nothing != NULL && nothing_too != NULL && nothing != nothing_too);
    begin(1, false);
    free(nothing);
    free(nothing_too);
    end();
  }
}

// While there is sampling, but no sample.
static void use_counted(void) {
  CHECK(hz4_profile_start(PTRDIFF_MAX) == 0);
  size_t size = sizes[1];
  free(malloc(size));  // looks how far the next is
  for (int way = 0; way < 8; way++) trapped_give(trapped_take(size, way), size, way);
  begin(size, false);
  void *zeroed = calloc(1, size);
  end();
  CHECK(is_zero(zeroed, size));
  free(zeroed);
  CHECK(hz4_profile_stop() == 0);
}

// Refills and overflows, of bins that grow and are made smaller.
static void fill_and_empty(void) {
  static void *objects[kObjects];
  for (int i = 0; i < kSizes; i++) {
    int count = sizes[i] > 2048 ? kObjects / 8 : kObjects;
    for (int j = 0; j < count; j++) objects[j] = trapped_take(sizes[i], j % 2);
    for (int j = 0; j < count; j++) trapped_give(objects[j], sizes[i], j % 4);
  }
}

static void whole_heap(void) {
  begin(sizes[0], true);
  hz4_check();
  end();
  begin(sizes[0], true);
  malloc_trim(0);
  end();
}

// Two threads, each on a CPU of its own if there are two: what one allocates the other frees. One of them works at a time.
static pthread_barrier_t turn;
static void *across[kObjects];
static bool over;

static void take_across(void) {
  for (int i = 0; i < kObjects; i++) across[i] = trapped_take(sizes[0], 0);
}

static void give_across(void) {
  for (int i = 0; i < kObjects; i++) trapped_give(across[i], sizes[0], 0);
}

static void pin_to(int which) {
  cpu_set_t all, one;
  CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
  for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &all) || seen++ != which) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
  }
}

static void *be_the_other(void *unused) {
  pin_to(1);
  for (;;) {
    pthread_barrier_wait(&turn);
    if (over) return unused;
    take_across();
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    take_across();
    give_across();
    malloc_trim(0);  // a cache of its own nobody else empties
    pthread_barrier_wait(&turn);
  }
}

static void pass_across(void) {
  pthread_barrier_wait(&turn);
  pthread_barrier_wait(&turn);
  give_across();
  pthread_barrier_wait(&turn);
  pthread_barrier_wait(&turn);
  take_across();  // what waits for the other
  give_across();
}

// A thread's first malloc, which finds what others have left to its CPU.
static void *be_new(void *unused) {
  has_no_cache_yet = true;
  void *object = trapped_take(sizes[0], 0);
  has_no_cache_yet = false;
  trapped_give(object, sizes[0], 0);
  return unused;
}

// Some, for each leaves something to the next, which the kernel may give another cache.
static void begin_threads(void) {
  for (int i = 0; i < 3; i++) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, be_new, NULL) == 0 && pthread_join(thread, NULL) == 0);
  }
}

static void use_all(void) {
  begin_threads();
  use_each_way();
  if (getenv("HZ4_HARDEN") == NULL) use_counted();
  fill_and_empty();
  pass_across();
  whole_heap();
  pass_across();
  fill_and_empty();
}

// ---- the test ----

static uint64_t bytes_out(void) {
  malloc_trim(0);
  return hz4_stats_get("heap_span_bytes") - hz4_stats_get("heap_free_bytes") - hz4_stats_get("heap_depot_bytes");
}

static void interrupt_at(struct site *site, int round, uint64_t out) {
  make_writable(site, PROT_WRITE);
  round_of = round;
  current = site;
  use_all();
  current = NULL;
  make_writable(site, 0);
  for (int i = 0; i < 2; i++) {
    if (kept[i].ptr != NULL) give(kept[i].ptr, kept[i].size, 0);
    kept[i].ptr = NULL;
  }
  hz4_check();
  uint64_t now = bytes_out();
  if (now != out) {
    fprintf(stderr, "%s+%ld, round %d: %ld bytes are out, not %ld; and again: %ld\n", site->function,
            (long)((uintptr_t)site->address - site->descriptor->start), round, (long)now, (long)out, (long)bytes_out());
  }
  CHECK(now == out);
}

static bool is_interrupted_with_a_cache_of_its_own(void) {
  return strcmp(getenv("HZ4_FRONT") != NULL ? getenv("HZ4_FRONT") : "0", "1") == 0;
}

// Those that only a hardened malloc and free come to.
static int level_of(const struct site *site) {
  if (strcmp(site->function, "free_dressed") == 0) return 2;  // the same sequence as that of hz4_alloc_free_slow
  return strcmp(site->function, "hz4_alloc_malloc_slow") == 0 || strcmp(site->function, "hz4_alloc_free_slow") == 0;
}

int main(int argc, char **argv) {
  // Little room, so that bins are made smaller too.
  if (getenv("HZ4_TCACHE_KIB") == NULL) {
    setenv("HZ4_TCACHE_KIB", "0", 1);
    execv("/proc/self/exe", argv);
  }
  (void)argc;
  free(malloc(1));
  by_cpu = hz4_stats_get("thread_by_cpu") == 1;
  if (!by_cpu && !is_interrupted_with_a_cache_of_its_own()) SKIP("caches do not belong to CPUs here");
  CHECK(!(by_cpu && is_interrupted_with_a_cache_of_its_own()));
  as_the_kernel = getenv("AS_THE_KERNEL") != NULL && !by_cpu;
  find_sites();
  struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  CHECK(pthread_barrier_init(&turn, NULL, 2) == 0);
  pthread_t other;
  CHECK(pthread_create(&other, NULL, be_the_other, NULL) == 0);
  pin_to(0);
  for (int i = 0; i < 3; i++) use_all();
  uint64_t out = bytes_out();
  CHECK(bytes_out() == out);
  for (int round = 0; round < (by_cpu || as_the_kernel ? kRounds : 1); round++) {
    for (int i = 0; i < site_count; i++) interrupt_at(&sites[i], round, out);
  }
  over = true;
  pthread_barrier_wait(&turn);
  CHECK(pthread_join(other, NULL) == 0);
  int inside = 0, missed = 0, level = getenv("HZ4_HARDEN") != NULL ? atoi(getenv("HZ4_HARDEN")) : 0;
  unsigned long hits = 0;
  for (int i = 0; i < site_count; i++) {
    inside += sites[i].inside;
    hits += sites[i].hits;
    // Where a sequence begins anew, it comes by itself only after one that nobody made.
    bool anew = (uint64_t)(uintptr_t)sites[i].address == sites[i].descriptor->abort;
    // And whether a thread's first malloc finds something, the kernel decides, which gives it a cache.
    bool first = strcmp(sites[i].function, "alloc_block") == 0 && sites[i].inside;
    if (sites[i].hits != 0 || !(by_cpu || as_the_kernel) || anew || first) continue;
    if (level_of(&sites[i]) != level) continue;
    missed++;
    printf("never met: %s+%ld\n", sites[i].function,
           (long)((uintptr_t)sites[i].address - sites[i].descriptor->start));
  }
  printf("%ld sequences, %d instructions in them and %d around, %lu interruptions; %lu inboxes, %lu bins made smaller\n",
         (long)(__stop___rseq_cs - __start___rseq_cs), inside, site_count - inside, hits,
         (unsigned long)hz4_stats_get("refill_inbox"), (unsigned long)hz4_stats_get("bin_shrink"));
  // Who has a cache of its own never begins anew, nor finds a full one at first.
  CHECK(missed == 0);
  puts("PASSED");
  return 0;
}
