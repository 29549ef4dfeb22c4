// Row: what libc allocates itself.
#include "hz4/contract/suite.h"

#define LIBC_CALLS "glibc manual, Replacing malloc: libc's own calls go to the replacement"

// A block that libc made: malloc_usable_size, realloc and free must know it.
static void must_be_of_malloc(void *ptr, size_t size) {
  (void)contract_block(ptr, size);
  size_t usable = api.malloc_usable_size(ptr);
  MUST(usable >= size && usable < 2 * size + 4096, "usable size %zu of %zu", usable, size);
  api.free(contract_block(api.realloc(ptr, usable + 1000), usable + 1000));
}

static void reallocarray_is_ours(const struct contract_subject *none) {
  (void)none;
  must_be_of_malloc(reallocarray(NULL, 100, 30), 3000);
  must_be_of_malloc(reallocarray(api.malloc(5), 1000, 300), 300000);
}

static void reallocarray_checks_overflow(const struct contract_subject *none) {
  (void)none;
  volatile size_t half = SIZE_MAX / 2;
  void *block = contract_block(api.malloc(100), 100);
  contract_fill(block, 100, 1);
  MUST_FAIL(reallocarray(block, half, 3), ENOMEM, half);
  MUST_FAIL(reallocarray(block, half + 2, 1), ENOMEM, half + 2);
  MUST(contract_same(block, 100, 1), "the old block changed");
  api.free(block);
}

static void strdup_is_ours(const struct contract_subject *none) {
  (void)none;
  must_be_of_malloc(strdup("a string"), 9);
  must_be_of_malloc(strndup("a string", 3), 4);
}

static void asprintf_is_ours(const struct contract_subject *none) {
  (void)none;
  char *made = NULL;
  CHECK(asprintf(&made, "%05000d", 1) == 5000);
  must_be_of_malloc(made, 5001);
}

static void getline_is_ours(const struct contract_subject *none) {
  (void)none;
  static char lines[] = "a first line\nand a second\n";
  FILE *stream = fmemopen(lines, sizeof(lines) - 1, "r");
  CHECK(stream != NULL);
  char *line = NULL;
  size_t room = 0;
  MUST(getline(&line, &room, stream) == 13, "the first line was not read");
  must_be_of_malloc(line, 14);
  fclose(stream);
}

static void open_memstream_is_ours(const struct contract_subject *none) {
  (void)none;
  char *made = NULL;
  size_t length = 0;
  FILE *stream = open_memstream(&made, &length);
  CHECK(stream != NULL);
  for (int i = 0; i < 10000; i++) fprintf(stream, "%d,", i);
  fclose(stream);
  must_be_of_malloc(made, length);
}

static const struct contract_rule libc_rules[] = {
    {"reallocarray-gives-blocks-of-malloc", LIBC_CALLS, reallocarray_is_ours, NULL},
    {"reallocarray-checks-overflow", "POSIX.1-2024 reallocarray: ENOMEM", reallocarray_checks_overflow, NULL},
    {"strdup-and-strndup-give-blocks-of-malloc", "POSIX.1-2024 strdup: as if by malloc", strdup_is_ours, NULL},
    {"asprintf-gives-blocks-of-malloc", "POSIX.1-2024 asprintf: as if by malloc", asprintf_is_ours, NULL},
    {"getline-gives-blocks-of-malloc", "POSIX.1-2024 getline: as if by malloc", getline_is_ours, NULL},
    {"open_memstream-gives-blocks-of-malloc", "POSIX.1-2024 open_memstream: to be freed by free",
     open_memstream_is_ours, NULL},
    {0},
};

const struct contract_row contract_libc_calls = {"what libc allocates itself", libc_rules};
