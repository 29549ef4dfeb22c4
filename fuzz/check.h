// What every fuzzer fails with: a line on stderr that says what was broken, and abort.
#ifndef HZ4_FUZZ_CHECK_H_
#define HZ4_FUZZ_CHECK_H_

#include <stdio.h>
#include <stdlib.h>

#define FUZZ_CHECK(condition)                                                        \
  do {                                                                               \
    if (!(condition)) {                                                              \
      fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);  \
      abort();                                                                       \
    }                                                                                \
  } while (0)

#endif  // HZ4_FUZZ_CHECK_H_
