// Whose malloc this program calls: what proves that hz4 is linked in, or that a preload worked.
#ifndef HZ4_BENCH_BENCH_MALLOC_H_
#define HZ4_BENCH_BENCH_MALLOC_H_

#ifdef __cplusplus
extern "C" {
#endif

// "hz4, linked into FILE", or the file that it is in.
const char *bench_malloc_where(void);

// For people: "hz4", or "libc.so.6's malloc".
const char *bench_malloc_name(void);

// The file of a malloc that was preloaded in vain, for this program has its own linked in; else NULL.
const char *bench_malloc_shadowed(void);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_BENCH_BENCH_MALLOC_H_
