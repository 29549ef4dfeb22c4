// Row: a foreign, unaligned or interior pointer to free or realloc ends in one line on stderr and in abort().
//
// C leaves that undefined (C23 J.2); not to damage the heap in silence is this project's rule, and glibc's where it
// can.
#include <sys/mman.h>
#include <sys/wait.h>

#include "hz4/contract/suite.h"

#define DIES "C23 J.2: undefined; glibc manual, Heap Consistency Checking: a message and abort"

// ---- the pointers ----

static void *in_static_memory(size_t size) {
  static _Alignas(4096) char memory[8192];
  memset(memory, 0, sizeof(memory));
  return memory + size;
}

static void *on_the_stack(size_t size) {
  return __builtin_frame_address(0) + size - (uintptr_t)__builtin_frame_address(0) % 16;
}

static void *in_a_mapping(size_t size) {
  void *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return (char *)memory + size;
}

static void *in_code(size_t size) {
  return (char *)(uintptr_t)in_code + size;
}

static void *small_number(size_t size) {
  return (void *)size;
}

static void *into_small(size_t offset) {
  return (char *)contract_block(api.malloc(100), 100) + offset;
}

static void *into_medium(size_t offset) {
  return (char *)contract_block(api.malloc(40000), 40000) + offset;
}

static void *into_large(size_t offset) {
  return (char *)contract_block(api.malloc(3 * MIB), 3 * MIB) + offset;
}

static const struct contract_subject pointers[] = {
    {.name = "static memory", .allocate = in_static_memory, .size = 4096},
    {.name = "static memory, in a page", .allocate = in_static_memory, .size = 48},
    {.name = "the stack", .allocate = on_the_stack, .size = 0},
    {.name = "a mapping", .allocate = in_a_mapping, .size = 0},
    {.name = "a mapping, in a page", .allocate = in_a_mapping, .size = 64},
    {.name = "code", .allocate = in_code, .size = 0},
    {.name = "a small number", .allocate = small_number, .size = 16},
    {.name = "100 bytes, unaligned", .allocate = into_small, .size = 1},
    {.name = "100 bytes, inside", .allocate = into_small, .size = 16},
    {.name = "40000 bytes, unaligned", .allocate = into_medium, .size = 8},
    {.name = "40000 bytes, inside", .allocate = into_medium, .size = 4096},
    {.name = "3 MiB, unaligned", .allocate = into_large, .size = 1},
    {.name = "3 MiB, inside", .allocate = into_large, .size = 16},
    {.name = "3 MiB, a MiB inside", .allocate = into_large, .size = 1 << 20},
    {0},
};

// ---- the deaths ----

// Runs in a process of its own. What survives the call may be found out when caches are emptied, and not later.
static void misuse(void (*call)(void *), void *ptr, int message) {
  dup2(message, STDERR_FILENO);
  alarm(20);
  call(ptr);
  api.malloc_trim(0);
  _exit(0);
}

static void must_die(const struct contract_subject *pointer, void (*call)(void *)) {
  int pipes[2];
  // What is in the heap besides must not matter.
  void *others[] = {api.malloc(100), api.malloc(40000), api.malloc(3 * MIB)};
  void *ptr = pointer->allocate(pointer->size);
  CHECK(pipe(pipes) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) misuse(call, ptr, pipes[1]);
  close(pipes[1]);
  char text[1024];
  size_t used = 0;
  for (ssize_t n; (n = read(pipes[0], text + used, sizeof(text) - 1 - used)) > 0;) used += (size_t)n;
  text[used] = '\0';
  int status;
  CHECK(waitpid(child, &status, 0) == child);

  MUST(!WIFEXITED(status), "it survived%s", used > 0 ? ", with a message" : ", in silence");
  MUST(WTERMSIG(status) == SIGABRT, "%s, not SIGABRT", contract_signal(WTERMSIG(status)));
  char *newline = strchr(text, '\n');
  MUST(newline != NULL && newline > text, "no line on stderr");
  // What follows is about the same, and marked so: where the program was.
  const char *rest = newline + 1;
  while (strncmp(rest, "hz4:   ", 7) == 0 && strchr(rest, '\n') != NULL) rest = strchr(rest, '\n') + 1;
  MUST(*rest == '\0' || strncmp(rest, "qemu: ", 6) == 0, "more than one line on stderr: %s", rest);
  char name[32];
  snprintf(name, sizeof(name), "%lx", (unsigned long)(uintptr_t)ptr);
  MUST(!api.names_pointers || strstr(text, name) != NULL, "the message does not name %s: %s", name, text);
  for (size_t i = 0; i < COUNT(others); i++) api.free(others[i]);
}

static void free_it(void *ptr) {
  api.free(ptr);
}

static void realloc_it(void *ptr) {
  (void)api.realloc(ptr, 5000000);
}

static void realloc_it_to_zero(void *ptr) {
  (void)api.realloc(ptr, 0);
}

static void free_dies(const struct contract_subject *pointer) {
  must_die(pointer, free_it);
}

static void realloc_dies(const struct contract_subject *pointer) {
  must_die(pointer, realloc_it);
}

static void realloc_to_zero_dies(const struct contract_subject *pointer) {
  must_die(pointer, realloc_it_to_zero);
}

static const struct contract_rule rules[] = {
    {"free-dies-with-one-line", DIES, free_dies, pointers},
    {"realloc-dies-with-one-line", DIES, realloc_dies, pointers},
    {"realloc-to-zero-dies-with-one-line", DIES, realloc_to_zero_dies, pointers},
    {0},
};

const struct contract_row contract_wrong_pointers = {"foreign, unaligned, interior pointers", rules};
