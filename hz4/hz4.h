// hz4: a memory allocator for programs whose threads free each other's memory.
//
// These are hz4's own names. They are in every build, so that hz4 and the C library's malloc can live side by side
// in one process. Memory from one allocator must never be given to the other's free.
//
// Rules that hold for every function here:
//   - Sizes and alignments are in bytes. Every block is aligned to 16 bytes at least.
//   - Every function may be called from any thread at any time, thread destructors and exit handlers included, and
//     in a child after fork. None may be called from a signal handler (POSIX: malloc is not async-signal-safe), but for
//     hz4_profile_dump and hz4_guard_describe.
//   - A block belongs to the caller until it is freed; any thread may free it.
//   - Failure is NULL with errno ENOMEM, and nothing has changed, unless a function says otherwise. Sizes above
//     PTRDIFF_MAX always fail so. Success leaves errno alone.
//   - A pointer that did not come from hz4 is reported on stderr in one line, followed by abort().
#ifndef HZ4_HZ4_H_
#define HZ4_HZ4_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HZ4_API __attribute__((visibility("default")))

// The version of this header: the one place where it is said. CMake reads it here, and a test (//install:version_test)
// holds the others to it.
#define HZ4_VERSION_MAJOR 0
#define HZ4_VERSION_MINOR 1
#define HZ4_VERSION_PATCH 0

// 100 for 0.1.0: to be compared by #if.
#define HZ4_VERSION_NUMBER (HZ4_VERSION_MAJOR * 10000 + HZ4_VERSION_MINOR * 100 + HZ4_VERSION_PATCH)

#define HZ4_VERSION_TEXT(major, minor, patch) #major "." #minor "." #patch
#define HZ4_VERSION_EXPANDED(major, minor, patch) HZ4_VERSION_TEXT(major, minor, patch)
#define HZ4_VERSION_STRING HZ4_VERSION_EXPANDED(HZ4_VERSION_MAJOR, HZ4_VERSION_MINOR, HZ4_VERSION_PATCH)

// The version of the library, as "0.1.0", for good.
HZ4_API const char *hz4_version(void);

// C17 7.22.3. size 0 gives a unique block that can be freed (glibc manual, "Basic Memory Allocation"); nobody may touch it.
HZ4_API void *hz4_malloc(size_t size);

// Zeroed memory, always. ENOMEM when count * size overflows.
HZ4_API void *hz4_calloc(size_t count, size_t size);

// realloc(NULL, n) is malloc(n); realloc(p, 0) frees p and returns NULL with errno unchanged (glibc). On failure the
// old block is intact. A growing realloc keeps the whole old usable size, not only what was asked for.
HZ4_API void *hz4_realloc(void *ptr, size_t size);

// NULL is allowed. errno is kept (POSIX.1-2024).
HZ4_API void hz4_free(void *ptr);

// C23 7.24.3.4 and 7.24.3.5. The size and alignment are those the block was asked for with, or last resized to;
// free_sized is for malloc, calloc and realloc, free_aligned_sized for aligned_alloc. What the block cannot have been
// asked for with is reported as a wrong pointer is: of a block above 256 KiB always, of others with HZ4_HARDEN=1.
// (realloc leaves a block in place down to half its usable size: sizes above that are not told apart, but with HZ4_HARDEN=2.)
HZ4_API void hz4_free_sized(void *ptr, size_t size);
HZ4_API void hz4_free_aligned_sized(void *ptr, size_t alignment, size_t size);

// EINVAL unless alignment is a power of two; size need not be a multiple of it (glibc 2.38).
HZ4_API void *hz4_aligned_alloc(size_t alignment, size_t size);

// As aligned_alloc, but an alignment that is not a power of two is rounded up to one (glibc).
HZ4_API void *hz4_memalign(size_t alignment, size_t size);

// POSIX: returns 0, EINVAL (alignment is no power of two times sizeof(void *)) or ENOMEM. errno is never touched, and
// *out only on success.
HZ4_API int hz4_posix_memalign(void **out, size_t alignment, size_t size);

// Aligned to the system's page; pvalloc also rounds the size up to whole pages, one at least.
HZ4_API void *hz4_valloc(size_t size);
HZ4_API void *hz4_pvalloc(size_t size);

// Bytes that may be used in ptr's block, constant while it lives; 0 for NULL (glibc).
HZ4_API size_t hz4_malloc_usable_size(void *ptr);

// Gives free memory back to the system: the caches (those of CPUs all, of those of threads the caller's), the middle layer
// and all free pages, but for pad bytes of free pages. Returns 1 if anything went back, else 0 (glibc's malloc_trim).
HZ4_API int hz4_malloc_trim(size_t pad);

// Limits, in bytes, of the memory that hz4 has: what the program has allocated (a block above 256 KiB counts whole, whether it
// is touched or not), and what is free but has not gone back to the system; not the process's code, stacks and own mappings.
// 0: none. Beyond `hard` malloc and its like fail, with ENOMEM, when what is free has gone back and that was not enough. From
// a sixteenth below `soft` (or below `hard`, where there is no soft one) caches hold less, and what is free goes back to the
// system now and then. HZ4_LIMIT sets both at the start (hz4(7)).
//
// hz4_limit_set: -1 with errno EINVAL, and nothing has changed, where soft is beyond hard; else 0. Less than there is in use
// takes nothing away from anybody. hz4_limit_get: either pointer may be NULL.
HZ4_API int hz4_limit_set(size_t soft, size_t hard);
HZ4_API void hz4_limit_get(size_t *soft, size_t *hard);

// Reads again what HZ4_LIMIT speaks of (the machine's memory, control groups), and sets the limits to that, if it is set.
// Also what a container may have, by which hz4 limits its caches in any case.
HZ4_API void hz4_limit_refresh(void);

// Statistics. Exact for threads that are quiet; safe, and at most a little stale, while others run.
// hz4_stats_print writes the text form to the file descriptor; what cannot be written is lost, without SIGPIPE.
// hz4_stats_json writes at most size bytes (with a final NUL when size > 0) and returns the length of the whole text, like
// snprintf.
HZ4_API void hz4_stats_print(int fd);
HZ4_API size_t hz4_stats_json(char *buffer, size_t size);

// One counter by its name ("refill_calls", "os_mmap_calls", ...): its value, or UINT64_MAX for an unknown name.
HZ4_API uint64_t hz4_stats_get(const char *name);

// Options, by the names and with the values that the environment has ("HZ4_DIRTY_KIB", "64M").
// hz4_option_get writes the value that is in force to buffer, and returns its length, as snprintf does; or -1 with ENOENT.
// hz4_option_set returns 0; or -1 with ENOENT, with EINVAL where it is no value of that option, or with EPERM where it is
// one that is read at the start only.
HZ4_API int hz4_option_get(const char *name, char *buffer, size_t size);
HZ4_API int hz4_option_set(const char *name, const char *value);

// For a program's own handler of SIGSEGV, where HZ4_GUARD_BYTES or HZ4_HARDEN=2 is set: writes to the file descriptor what is
// known of the guarded object at, or nearest to, this address (si_addr): its address and size, and with HZ4_GUARD_BYTES the
// return addresses of where it was allocated and, if it was, freed. Returns 1; or 0 with nothing written where hz4 knows of
// none. Async-signal-safe.
HZ4_API int hz4_guard_describe(const void *address, int fd);

// A program may define this, in C or as extern "C": what is set before the environment is read, which wins; entries with
// blanks between them, as "HZ4_DIRTY_KIB=64M HZ4_STATS=1". It counts in set-user-ID programs too. A preloaded library
// sees it only if the program was linked with -rdynamic (ld: --export-dynamic-symbol=hz4_options).
extern HZ4_API const char *hz4_options;

// The heap profile, from samples: of n bytes that are allocated together, mean_bytes apart in the mean, the block is noted
// with the stack that allocated it, until it is freed. While it is on, other blocks cost what they did. docs/profiling.md.
//
// hz4_profile_start begins, or goes on with another mean; 0 stands for HZ4_PROFILE_BYTES (512 KiB). hz4_profile_stop ends
// it: what is noted stays noted until it is freed. hz4_profile_dump writes all that is known to a new file: path, or, if that
// is NULL, by HZ4_PROFILE. The file replaces a regular one, as a whole, with mode 0600; a link or a device stays.
// Return 0; or -1 with EINVAL (a mean beyond PTRDIFF_MAX; an unknown format; no profile was ever started; path NULL without
// HZ4_PROFILE), EEXIST (what is at path is no regular file), EBUSY (another thread is writing one; or may be, for this is a
// child of vfork), EPERM (a set-user-ID program), ENOMEM, or with what open, write or rename would say.
// hz4_profile_dump may be called from a signal handler.
enum { HZ4_PROFILE_PPROF, HZ4_PROFILE_HEAP_V2 };  // pprof's profile.proto; the text of gperftools
HZ4_API int hz4_profile_start(size_t mean_bytes);
HZ4_API int hz4_profile_stop(void);
HZ4_API int hz4_profile_dump(const char *path, int format);

// Writes the table of options (name, range, default, meaning) as text to the file descriptor.
HZ4_API void hz4_options_print(int fd);

// Walks every structure of the allocator and aborts with a message where an invariant is broken. For tests and
// debugging: it takes hz4's locks one after the other, and the caches of other threads are not looked into.
HZ4_API void hz4_check(void);

#ifdef __cplusplus
}
#endif

#endif  // HZ4_HZ4_H_
