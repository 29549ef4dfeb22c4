// Row: what posix_memalign returns, and that it touches neither errno nor, on failure, the caller's pointer.
#include "hz4/contract/suite.h"

#define POSIX_EINVAL "POSIX.1-2024 posix_memalign: EINVAL unless a power of two multiple of sizeof(void *)"
#define POSIX_RETURNS "POSIX.1-2024 posix_memalign: an error number is returned"
#define POSIX_ENOMEM "POSIX.1-2024 posix_memalign: ENOMEM"
#define UNTOUCHED "posix_memalign(3): on failure *memptr is left alone, as of POSIX.1-2008 TC2"
#define ERRNO "posix_memalign(3): errno is not set"

static const struct contract_subject bad_alignments[] = {
    {.name = "posix_memalign of 0", .alignment = 0},
    {.name = "posix_memalign of 1", .alignment = 1},
    {.name = "posix_memalign of 2", .alignment = 2},
    {.name = "posix_memalign of 4", .alignment = 4},
    {.name = "posix_memalign of 7", .alignment = 7},
    {.name = "posix_memalign of 12", .alignment = 12},
    {.name = "posix_memalign of 24", .alignment = 24},
    {.name = "posix_memalign of 48", .alignment = 48},
    {.name = "posix_memalign of 4104", .alignment = 4104},
    {.name = "posix_memalign of SIZE_MAX", .alignment = SIZE_MAX},
    {0},
};

static const struct contract_subject good_alignments[] = {
    {.name = "posix_memalign of 8", .alignment = 8},
    {.name = "posix_memalign of 16", .alignment = 16},
    {.name = "posix_memalign of 64", .alignment = 64},
    {.name = "posix_memalign of 4096", .alignment = 4096},
    {.name = "posix_memalign of 1 MiB", .alignment = 1 << 20},
    {.name = "posix_memalign of 64 MiB", .alignment = 64 << 20},
    {0},
};

static char mark[1];  // what *memptr points at before each call

enum { kErrno = 1234 };

static int call(void **out, size_t alignment, size_t size) {
  *out = mark;
  errno = kErrno;
  return api.posix_memalign(out, alignment, size);
}

// ---- EINVAL ----

static void is_einval(const struct contract_subject *subject) {
  void *out;
  for (size_t size = 0; size < MIB; size = size * 3 + 1) {
    int got = call(&out, subject->alignment, size);
    MUST(got == EINVAL, "returned %d for %zu bytes", got, size);
  }
}

static void failure_keeps_the_pointer(const struct contract_subject *subject) {
  void *out;
  (void)call(&out, subject->alignment, 100);
  MUST(out == mark, "*memptr became %p", out);
}

static void failure_keeps_errno(const struct contract_subject *subject) {
  void *out;
  (void)call(&out, subject->alignment, 100);
  MUST(errno == kErrno, "errno became %d", errno);
}

// ---- ENOMEM ----

static const size_t kTooLarge[] = {(size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 4096,
                                   (size_t)1 << 47};

static void too_large_is_enomem(const struct contract_subject *subject) {
  void *out;
  for (size_t i = 0; i < COUNT(kTooLarge); i++) {
    int got = call(&out, subject->alignment, kTooLarge[i]);
    MUST(got == ENOMEM, "returned %d for %#zx bytes", got, kTooLarge[i]);
  }
}

static void too_large_keeps_the_pointer(const struct contract_subject *subject) {
  void *out;
  for (size_t i = 0; i < COUNT(kTooLarge); i++) {
    (void)call(&out, subject->alignment, kTooLarge[i]);
    MUST(out == mark, "*memptr became %p", out);
  }
}

static void too_large_keeps_errno(const struct contract_subject *subject) {
  void *out;
  for (size_t i = 0; i < COUNT(kTooLarge); i++) {
    (void)call(&out, subject->alignment, kTooLarge[i]);
    MUST(errno == kErrno, "errno became %d for %#zx bytes", errno, kTooLarge[i]);
  }
}

// ---- success ----

static void success_is_0_and_a_block(const struct contract_subject *subject) {
  for (size_t size = 1; size < 2 * MIB; size = size * 3 + 1) {
    void *out;
    int got = call(&out, subject->alignment, size);
    MUST(got == 0, "returned %d for %zu bytes", got, size);
    MUST(out != NULL && out != mark, "*memptr was not set");
    MUST((uintptr_t)out % subject->alignment == 0, "%p of %zu bytes is not aligned", out, size);
    contract_fill(out, size, 1);
    api.free(out);
  }
}

static void success_keeps_errno(const struct contract_subject *subject) {
  for (size_t size = 1; size < 2 * MIB; size = size * 3 + 1) {
    void *out;
    (void)call(&out, subject->alignment, size);
    MUST(errno == kErrno, "errno became %d for %zu bytes", errno, size);
    api.free(out);
  }
}

static const struct contract_rule rules[] = {
    {"is-einval", POSIX_EINVAL, is_einval, bad_alignments},
    {"einval-keeps-the-pointer", UNTOUCHED, failure_keeps_the_pointer, bad_alignments},
    {"einval-keeps-errno", ERRNO, failure_keeps_errno, bad_alignments},
    {"too-large-is-enomem", POSIX_ENOMEM, too_large_is_enomem, good_alignments},
    {"too-large-keeps-the-pointer", UNTOUCHED, too_large_keeps_the_pointer, good_alignments},
    {"too-large-keeps-errno", ERRNO, too_large_keeps_errno, good_alignments},
    {"success-is-0-and-a-block", POSIX_RETURNS, success_is_0_and_a_block, good_alignments},
    {"success-keeps-errno", ERRNO, success_keeps_errno, good_alignments},
    {0},
};

const struct contract_row contract_posix_memalign = {"posix_memalign", rules};
