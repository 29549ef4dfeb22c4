// The ceiling: a malloc that cuts its blocks off a thread's chunk of address space and never frees.
//
// It is only good for measuring a harness, and only at --touch=none: it writes nothing into its blocks and keeps no
// sizes, so that an object nobody touches costs no page, and hundreds of GB can go by. Touched, they fill the machine's
// memory within seconds. A block never crosses a chunk's end, and larger ones fail.
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)1 << 30)

static _Thread_local __attribute__((tls_model("initial-exec"))) uintptr_t next, end;

static void *refill(size_t alignment, size_t size);

static inline void *cut(size_t alignment, size_t size) {
  uintptr_t start = (next + alignment - 1) & -alignment;
  if (__builtin_expect(size > CHUNK_BYTES || start > end || end - start < size, 0)) return refill(alignment, size);
  next = start + ((size + 15) & ~(size_t)15);
  return (void *)start;
}

// Chunks are aligned to their size, for realloc.
static __attribute__((noinline)) void *refill(size_t alignment, size_t size) {
  if (size <= CHUNK_BYTES && alignment <= CHUNK_BYTES) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *memory = mmap(NULL, 2 * CHUNK_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory != MAP_FAILED) {
      size_t head = -(uintptr_t)memory & (CHUNK_BYTES - 1);
      if (head != 0) munmap(memory, head);
      munmap(memory + head + CHUNK_BYTES, CHUNK_BYTES - head);
      next = (uintptr_t)memory + head;
      end = next + CHUNK_BYTES;
      return cut(alignment, size);
    }
  }
  errno = ENOMEM;
  return NULL;
}

void *malloc(size_t size) { return cut(16, size); }

void free(void *block) { (void)block; }

void *calloc(size_t count, size_t size) {  // memory is never used twice: it is zero
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) bytes = SIZE_MAX;
  return malloc(bytes);
}

// Copies what may lie beyond the old block's end, but never beyond its chunk's.
void *realloc(void *block, size_t size) {
  if (block == NULL) return malloc(size);
  size_t room = CHUNK_BYTES - ((uintptr_t)block & (CHUNK_BYTES - 1));
  void *copy = size == 0 ? NULL : malloc(size);
  return copy == NULL ? NULL : memcpy(copy, block, size < room ? size : room);
}

void *memalign(size_t alignment, size_t size) { return cut(alignment < 16 ? 16 : alignment, size); }

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **out, size_t alignment, size_t size) {
  void *block = memalign(alignment, size);
  if (block == NULL) return ENOMEM;
  *out = block;
  return 0;
}

void *valloc(size_t size) { return memalign(4096, size); }

void *pvalloc(size_t size) { return memalign(4096, (size + 4095) & ~(size_t)4095); }

size_t malloc_usable_size(void *block) {
  (void)block;
  return 0;  // not kept
}
