// The contract suite: what a replacement of glibc's malloc owes its users, as checks that any allocator can be put to.
//
// A row is a line of docs/contract.md. It has rules; a rule holds for each of its subjects (functions that allocate,
// kinds of blocks, functions that free). "subject/rule" is one check, and names the source that demands it.
//
// A check runs in a process of its own, under an alarm and a limit of memory. It is kept when it returns; broken when
// it ends by MUST, by a signal or by the alarm, so that an allocator's crash costs that check alone.
//
// The same sources make three programs, which differ in who fills in `api`: over hz4's own names, over libc's names
// with hz4 linked as malloc, and over libc's names of whatever malloc is preloaded.
#ifndef HZ4_CONTRACT_SUITE_H_
#define HZ4_CONTRACT_SUITE_H_

#include "hz4/env/check.h"

#define MIB ((size_t)1 << 20)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// The functions under test. Those that libc lacks are NULL where the allocator does not bring them.
struct contract_api {
  void *(*malloc)(size_t size);
  void *(*calloc)(size_t count, size_t size);
  void *(*realloc)(void *ptr, size_t size);
  void (*free)(void *ptr);
  void (*free_sized)(void *ptr, size_t size);
  void (*free_aligned_sized)(void *ptr, size_t alignment, size_t size);
  void *(*aligned_alloc)(size_t alignment, size_t size);
  void *(*memalign)(size_t alignment, size_t size);
  int (*posix_memalign)(void **out, size_t alignment, size_t size);
  void *(*valloc)(size_t size);
  void *(*pvalloc)(size_t size);
  size_t (*malloc_usable_size)(void *ptr);
  int (*malloc_trim)(size_t pad);
  bool names_pointers;  // messages about wrong pointers must name them
};

extern struct contract_api api;

// What one rule is checked for. Each rule says which of the fields it reads.
struct contract_subject {
  const char *name;
  void *(*allocate)(size_t size);
  void *(*allocate_aligned)(size_t alignment, size_t size);  // NULL and errno on failure, posix_memalign too
  void (*release)(void *ptr, size_t size);
  size_t size;
  size_t alignment;
};

struct contract_rule {
  const char *name;
  const char *source;
  void (*run)(const struct contract_subject *subject);
  const struct contract_subject *subjects;  // ends with a NULL name; NULL: the rule is one check
};

struct contract_row {
  const char *title;
  const struct contract_rule *rules;  // ends with a NULL name
};

// ---- what the three programs differ in ----

// Ends with NULL.
extern const struct contract_row *const contract_rows[];

// Fills in what only the dynamic linker knows.
void contract_bind(void);

// ---- the rows ----

extern const struct contract_row contract_too_large, contract_size_zero, contract_realloc_edges,
    contract_realloc_failing, contract_realloc_growing, contract_alignment, contract_aligned_alloc, contract_memalign,
    contract_posix_memalign, contract_large_alignments, contract_pvalloc, contract_free_errno, contract_usable_size,
    contract_calloc, contract_wrong_pointers;

#define CONTRACT_ROWS_OF_EVERY_PROGRAM                                                               \
  &contract_too_large, &contract_size_zero, &contract_realloc_edges, &contract_realloc_failing,      \
      &contract_realloc_growing, &contract_alignment, &contract_aligned_alloc, &contract_memalign,   \
      &contract_posix_memalign, &contract_large_alignments, &contract_pvalloc, &contract_free_errno, \
      &contract_usable_size, &contract_calloc, &contract_wrong_pointers

// Only where libc's names are tested.
extern const struct contract_row contract_symbols, contract_old_names, contract_statistics, contract_libc_calls;

// ---- subjects that rows share ----

// Every way to allocate; alignment is what it promises at least.
extern const struct contract_subject contract_entries[];

// Blocks of all sizes and origins, with how to allocate them.
extern const struct contract_subject contract_blocks[];

// The entries that take an alignment.
extern const struct contract_subject contract_aligned_entries[];

// ---- for the checks ----

// Ends the check as broken, with one line of why.
#define MUST(condition, ...)                        \
  do {                                              \
    if (!(condition)) contract_broken(__VA_ARGS__); \
  } while (0)
__attribute__((noreturn, format(printf, 1, 2))) void contract_broken(const char *format, ...);

// Ends the check as neither, where the machine does not allow it.
__attribute__((noreturn)) void contract_skip(const char *why);

// The block, which must be there.
void *contract_block(void *ptr, size_t size);

// Bytes that differ by place and by seed.
void contract_fill(void *ptr, size_t bytes, unsigned seed);
bool contract_same(const void *ptr, size_t bytes, unsigned seed);

// The call, with this size or alignment, must give NULL and this errno.
#define MUST_FAIL(call, error, argument)                                                          \
  do {                                                                                            \
    errno = 0;                                                                                    \
    void *got_ = (call);                                                                          \
    MUST(got_ == NULL, "%#zx gave a block", (size_t)(argument));                                  \
    MUST(errno == (error), "%#zx set errno %d, not %d", (size_t)(argument), errno, (int)(error)); \
  } while (0)

// "SIGABRT" and its like.
const char *contract_signal(int number);

// A second thread runs the function, and has ended.
void contract_in_thread(void *(*function)(void *), void *argument);

// From here on the process can have so many bytes of addresses more.
void contract_limit_addresses(size_t bytes);

#endif  // HZ4_CONTRACT_SUITE_H_
