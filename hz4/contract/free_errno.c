// Row: free, free_sized and free_aligned_sized keep errno, also while the kernel refuses to take memory back.
#include "hz4/contract/suite.h"
#include "hz4/env/sandbox.h"

#define POSIX_FREE "POSIX.1-2024 free: shall not modify errno"
#define C_SIZED "C23 7.24.3.4 and 7.24.3.5: free_sized and free_aligned_sized free; as POSIX.1-2024 free"
#define C_NULL "C23 7.24.3.3 to 7.24.3.5: with a null pointer no action occurs"

enum { kErrno = 1234, kAlignment = 64 };

static void *allocate(size_t size) {
  return api.malloc(size);
}

static void *allocate_aligned(size_t size) {
  return api.aligned_alloc(kAlignment, size);
}

static void by_free(void *ptr, size_t size) {
  (void)size;
  api.free(ptr);
}

static void by_free_sized(void *ptr, size_t size) {
  MUST(api.free_sized != NULL, "no such symbol: free_sized");
  api.free_sized(ptr, size);
}

static void by_free_aligned_sized(void *ptr, size_t size) {
  MUST(api.free_aligned_sized != NULL, "no such symbol: free_aligned_sized");
  api.free_aligned_sized(ptr, kAlignment, size);
}

static const struct contract_subject frees[] = {
    {.name = "free", .allocate = allocate, .release = by_free},
    {.name = "free_sized", .allocate = allocate, .release = by_free_sized},
    {.name = "free_aligned_sized", .allocate = allocate_aligned, .release = by_free_aligned_sized},
    {0},
};

static void must_keep_errno(const struct contract_subject *how, void *ptr, size_t size) {
  errno = kErrno;
  how->release(ptr, size);
  MUST(errno == kErrno, "errno became %d after a block of %zu bytes", errno, size);
}

static void one_by_one(const struct contract_subject *how, size_t from, size_t to) {
  for (size_t size = from; size <= to; size = size * 3 / 2 + 1) {
    void *block = contract_block(how->allocate(size), size);
    touch(block, size);
    must_keep_errno(how, block, size);
  }
}

static void small_blocks(const struct contract_subject *how) {
  one_by_one(how, 1, 4096);
}

static void medium_blocks(const struct contract_subject *how) {
  one_by_one(how, 4097, 256 << 10);
}

static void large_blocks(const struct contract_subject *how) {
  one_by_one(how, 256 << 10, 200 * MIB);
}

static void null(const struct contract_subject *how) {
  for (size_t size = 0; size < 5; size++) must_keep_errno(how, NULL, size);
}

// Enough of each size for caches to overflow and for memory to go back.
static void many(const struct contract_subject *how, size_t size) {
  enum { kBlocks = 20000, kBytes = 128 << 20 };
  static void *blocks[kBlocks];
  int count = 0;
  for (size_t sum = 0; count < kBlocks && sum < kBytes; sum += size) {
    blocks[count] = contract_block(how->allocate(size), size);
    touch(blocks[count++], size);
  }
  for (int i = 0; i < count; i += 2) must_keep_errno(how, blocks[i], size);
  for (int i = 1; i < count; i += 2) must_keep_errno(how, blocks[i], size);
}

static void many_of_all_sizes(const struct contract_subject *how) {
  static const size_t sizes[] = {16, 200, 3000, 40000, 300000, 3 << 20};
  for (size_t i = 0; i < COUNT(sizes); i++) many(how, sizes[i]);
}

static void *run_many(void *how) {
  many_of_all_sizes(how);
  return NULL;
}

static void in_a_thread(const struct contract_subject *how) {
  contract_in_thread(run_many, (void *)(uintptr_t)how);
}

// ---- a kernel that refuses ----

static void refused(const struct contract_subject *how, const int *calls, size_t count, int error) {
  many_of_all_sizes(how);
  if (!sandbox_install(calls, count, false, error)) contract_skip("no seccomp filters here");
  many_of_all_sizes(how);
  api.malloc_trim(0);
  many_of_all_sizes(how);
}

static void munmap_is_refused(const struct contract_subject *how) {
  refused(how, (const int[]){SYS_munmap}, 1, ENOMEM);
}

static void madvise_is_refused(const struct contract_subject *how) {
  refused(how, (const int[]){SYS_madvise}, 1, EINVAL);
}

static void all_is_refused(const struct contract_subject *how) {
  refused(how, (const int[]){SYS_madvise, SYS_munmap, SYS_mremap}, 3, EPERM);
}

static const struct contract_rule rules[] = {
    {"null-does-nothing", C_NULL, null, frees},
    {"small-blocks-keep-errno", C_SIZED, small_blocks, frees},
    {"medium-blocks-keep-errno", C_SIZED, medium_blocks, frees},
    {"large-blocks-keep-errno", C_SIZED, large_blocks, frees},
    {"many-blocks-keep-errno", POSIX_FREE, many_of_all_sizes, frees},
    {"in-a-thread-keeps-errno", POSIX_FREE, in_a_thread, frees},
    {"refused-munmap-keeps-errno", POSIX_FREE, munmap_is_refused, frees},
    {"refused-madvise-keeps-errno", POSIX_FREE, madvise_is_refused, frees},
    {"all-refused-keeps-errno", POSIX_FREE, all_is_refused, frees},
    {0},
};

const struct contract_row contract_free_errno = {"free, free_sized keep errno", rules};
