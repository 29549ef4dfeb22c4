// The class table, built by the preprocessor from the arithmetic that sizeclass.h states.
#include "hz4/sizeclass.h"

// Class c > 16 is number m = (c-1) % 8 of its doubling, whose step is 2^((c-1)/8 + 3).
#define BYTES(c) ((c) <= 16 ? (c) * (size_t)16 : (size_t)(((c) - 1) % 8 + 9) << (((c) - 1) / 8 + 3))

#define PAGES_FOR(n) (((n) + HZ4_PAGE_BYTES - 1) / HZ4_PAGE_BYTES)
// Enough pages for HZ4_SPAN_OBJECTS_MIN objects; 256 KiB classes get by with the largest span.
#define WANTED_PAGES(c) PAGES_FOR(BYTES(c) * HZ4_SPAN_OBJECTS_MIN)
#define SPAN_PAGES(c) (WANTED_PAGES(c) < HZ4_SPAN_PAGES_MAX ? WANTED_PAGES(c) : HZ4_SPAN_PAGES_MAX)

// The largest power of two that the bounds of a full bin allow.
#define FITS(c, n) ((n) * BYTES(c) <= ((n) <= HZ4_BIN_SLOTS_FEW ? HZ4_BIN_MAX_BYTES : HZ4_BIN_MANY_BYTES))
#define BIN_SLOTS(c) (FITS(c, 256) ? 256 : FITS(c, 128) ? 128 : FITS(c, 64) ? 64 : FITS(c, 32) ? 32 : FITS(c, 16) ? 16 : 8)

#define CLASS(c)                                                                  \
  [c] = {BYTES(c), SPAN_PAGES(c), SPAN_PAGES(c) * HZ4_PAGE_BYTES / BYTES(c), BIN_SLOTS(c), \
         (((uint64_t)1 << 48) + BYTES(c) - 1) / BYTES(c)},
#define CLASS8(c) CLASS(c) CLASS(c + 1) CLASS(c + 2) CLASS(c + 3) CLASS(c + 4) CLASS(c + 5) CLASS(c + 6) CLASS(c + 7)

const struct hz4_class_info hz4_class_table[HZ4_CLASS_SLOTS] = {
    CLASS8(1) CLASS8(9) CLASS8(17) CLASS8(25) CLASS8(33) CLASS8(41)
    CLASS8(49) CLASS8(57) CLASS8(65) CLASS8(73) CLASS8(81) CLASS8(89)};

_Static_assert(HZ4_CLASS_COUNT == 96, "the table lists every class");
_Static_assert(BYTES(HZ4_CLASS_COUNT) == HZ4_CLASS_MAX_BYTES, "the last class is the largest size");
_Static_assert(HZ4_BIN_SLOTS_MAX == 256 && HZ4_BIN_SLOTS_MIN == 8, "BIN_SLOTS lists every power of two");
_Static_assert(HZ4_SPAN_PAGES_MAX * HZ4_PAGE_BYTES <= (size_t)1 << 20, "object_index is exact below 1 MiB");
