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

#define INFO(c)                                                                    \
  {BYTES(c), SPAN_PAGES(c), SPAN_PAGES(c) * HZ4_PAGE_BYTES / BYTES(c), BIN_SLOTS(c), \
   (((uint64_t)1 << 48) + BYTES(c) - 1) / BYTES(c)}

// VALUE for each class, in a table by class: by size; of no bytes; the tiny bins, and then the tiny classes of each home.
#define AT(VALUE, c) [c] = VALUE(c),
#define AT_4(VALUE, c) AT(VALUE, c) AT(VALUE, c + 1) AT(VALUE, c + 2) AT(VALUE, c + 3)
#define AT_24(VALUE, c) \
  AT_4(VALUE, c) AT_4(VALUE, c + 4) AT_4(VALUE, c + 8) AT_4(VALUE, c + 12) AT_4(VALUE, c + 16) AT_4(VALUE, c + 20)
#define AT_TINY(VALUE, n) \
  [HZ4_TINY_BIN + (n) * 3] = VALUE(1), [HZ4_TINY_BIN + (n) * 3 + 1] = VALUE(2), [HZ4_TINY_BIN + (n) * 3 + 2] = VALUE(3),
#define AT_ALL(VALUE)                                                                                         \
  AT_24(VALUE, 1) AT_24(VALUE, 25) AT_24(VALUE, 49) AT_24(VALUE, 73) [HZ4_ZERO_CLASS] = VALUE(1),             \
  AT_TINY(VALUE, 0) AT_TINY(VALUE, 1) AT_TINY(VALUE, 2) AT_TINY(VALUE, 3) AT_TINY(VALUE, 4) AT_TINY(VALUE, 5) \
  AT_TINY(VALUE, 6) AT_TINY(VALUE, 7) AT_TINY(VALUE, 8)
#define SAMPLE(n) [HZ4_SAMPLE_CLASS + (n)] = INFO(8 + (n) * 8),

const struct hz4_class_info hz4_class_table[HZ4_MID_CLASSES] = {
    AT_ALL(INFO) SAMPLE(0) SAMPLE(1) SAMPLE(2) SAMPLE(3) SAMPLE(4) SAMPLE(5)
    SAMPLE(6) SAMPLE(7) SAMPLE(8) SAMPLE(9) SAMPLE(10) SAMPLE(11)};

// Classes of spans of several pages are above the sixteenth, and multiples of their doubling's step.
#define DIVISOR(c) (SPAN_PAGES(c) == 1 ? BYTES(c) : (size_t)1 << (((c) - 1) / 8 + 3))
#define INVERSE(c) (uint32_t)((((uint64_t)1 << 32) + DIVISOR(c) - 1) / DIVISOR(c))

// Nothing begins in class 0: free takes the slow path.
const uint32_t hz4_class_inverse[HZ4_CLASS_SLOTS] = {0, AT_ALL(INVERSE)};

// The class of sizes 16 n + 1 to 16 n + 16, as hz4_class_of_size has it.
#define LOG2(n) (31 ^ __builtin_clz((unsigned)(n) * 16 | 128))
#define OF(n) 1 + (LOG2(n) - 7) * 8 + ((n) * 16 >> (LOG2(n) - 3))
#define OF4(n) OF(n), OF(n + 1), OF(n + 2), OF(n + 3)
#define OF16(n) OF4(n), OF4(n + 4), OF4(n + 8), OF4(n + 12)
#define OF64(n) OF16(n), OF16(n + 16), OF16(n + 32), OF16(n + 48)
#define OF256(n) OF64(n), OF64(n + 64), OF64(n + 128), OF64(n + 192)
#define OF1024(n) OF256(n), OF256(n + 256), OF256(n + 512), OF256(n + 768)
#define OF4096(n) OF1024(n), OF1024(n + 1024), OF1024(n + 2048), OF1024(n + 3072)

// Its first bytes are HZ4_CLASS_MAX_BYTES, the lowest first or last.
#define MOST(byte) (uint8_t)(HZ4_CLASS_MAX_BYTES >> (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? (byte) : 7 - (byte)) * 8)
HZ4_BEHIND_DATA struct hz4_class_of_malloc hz4_class_malloc = {
    .table = {MOST(0), MOST(1), MOST(2), MOST(3), MOST(4), MOST(5), MOST(6), MOST(7),
              HZ4_ZERO_CLASS, OF4096(0), OF4096(4096), OF4096(8192), OF4096(12288)}};
_Static_assert(HZ4_CLASS_MAX_BYTES / 16 == 4 * 4096 && sizeof(size_t) == HZ4_CLASS_TABLE_FIRST, "the table lists every size");

_Atomic(bool) hz4_class_tiny_is_parted;

void hz4_class_part_tiny(void) {
  hz4_store_relaxed(&hz4_class_tiny_is_parted, true);
  for (uint32_t c = 1; c <= HZ4_TINY_CLASSES; ++c) {
    hz4_store_relaxed(&hz4_class_malloc.table[HZ4_CLASS_TABLE_FIRST + c], (uint8_t)(HZ4_TINY_BIN + c - 1));
  }
}

void hz4_class_hide(void) {
  hz4_store_relaxed(&hz4_class_malloc.most, 0);
  hz4_store_relaxed(&hz4_class_malloc.table[HZ4_CLASS_TABLE_FIRST], 0);
}

_Static_assert(HZ4_CLASS_COUNT == 96 && HZ4_TINY_CLASSES == 3 && HZ4_HOMES == 8, "the table lists every class");
_Static_assert(BYTES(HZ4_TINY_CLASSES) < HZ4_CACHE_LINE && BYTES(HZ4_TINY_CLASSES + 1) >= HZ4_CACHE_LINE, "tiny");
_Static_assert(HZ4_MID_CLASSES <= UINT8_MAX + 1, "a class is a byte");
_Static_assert(HZ4_SAMPLE_BYTES_MIN << (HZ4_SAMPLE_CLASSES - 1) == HZ4_CLASS_MAX_BYTES && BYTES(8) == HZ4_SAMPLE_BYTES_MIN,
               "sampled objects are of every size");
_Static_assert(BYTES(HZ4_CLASS_COUNT) == HZ4_CLASS_MAX_BYTES, "the last class is the largest size");
_Static_assert(HZ4_BIN_SLOTS_MAX == 256 && HZ4_BIN_SLOTS_MIN == 8, "BIN_SLOTS lists every power of two");
_Static_assert(HZ4_SPAN_PAGES_MAX * HZ4_PAGE_BYTES <= (size_t)1 << 20, "object_index is exact below 1 MiB");
