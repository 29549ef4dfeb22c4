// Rank 0. Every constant of the allocator, with its unit and its reason. No other file has a tunable number.
#ifndef HZ4_CONFIG_H_
#define HZ4_CONFIG_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- Build switches: constants, so that what is switched off still compiles. ----

#ifdef NDEBUG
#define HZ4_DEBUG 0
#else
#define HZ4_DEBUG 1
#endif

// --config=stats: count every malloc and free. Costs two instructions on each fast path.
#ifndef HZ4_STATS_FAST
#define HZ4_STATS_FAST 0
#endif

// ---- options ----

// Of an option that is text, its end included: a path as long as most are.
#define HZ4_OPTION_TEXT_BYTES 1024

// ---- Page map and page runs ----

// The granule of the page map and of page runs, 64 KiB: one span of the smallest size, and a multiple of every page
// size Linux has on x86-64 and aarch64.
#define HZ4_PAGE_SHIFT 16
#define HZ4_PAGE_BYTES ((size_t)1 << HZ4_PAGE_SHIFT)

// User addresses: 47 bits on x86-64 and 48 on aarch64, unless a program asks for more by a hint, which hz4 never does.
#define HZ4_ADDRESS_BITS 48

// A huge page on x86-64, and on aarch64 with system pages of 4 KiB. Segments have as much beyond 4 MiB of them.
#define HZ4_HUGE_BYTES ((size_t)2 << 20)

// A process that has mapped more than this is no small one any more: only then is the system asked for what it says in files
// (16 us, of the 90 that the first malloc takes and the library's loading: as much as nine page faults).
#define HZ4_GROWN_BYTES ((size_t)8 << 20)
// A mapping from this size on is one block's. A huge page at its end is little of it: so what the system makes of it is left to
// the system.
#define HZ4_HUGE_LEFT_BYTES ((size_t)16 << 20)

// Segments in huge pages (huge.h). They come when of a segment of small pages all but 1/2^this is resident (programs have from
// 92% on, what is thinned or touched in part a fifth);
#define HZ4_HUGE_SPARSE_SHIFT 3
// so many in a row, and then one of small pages;
#define HZ4_HUGE_TURN 7
// and none for a while after one that took longer than this, which is longer than with small pages: 512 faults cost 250 us, or
// 850 in a virtual machine; a huge page 110 to 290, but 4 ms where the hypervisor must find it first;
#define HZ4_HUGE_SLOW_NS 1000000
// nor after one that was found sparse: a while is so many segments. So either is lost once in 128 MiB.
#define HZ4_HUGE_PAUSE 32

// A segment has at most as many pages as a word has bits: 4 MiB.
#define HZ4_SEGMENT_PAGES_MAX 64
// Small programs start with segments of 1 MiB, for the sake of `ulimit -v`.
#define HZ4_SEGMENT_PAGES_MIN 16
// A segment grows the heap by a quarter until segments have their full size.
#define HZ4_SEGMENT_GROWTH_SHIFT 2

// What one call of malloc or free purges at most: the rest goes with later calls. That is a third of a millisecond. And
// how many runs by one system call, which lie on the stack, of which a call has 4 KiB: a run of one system page costs 1.5 us
// alone, 1.0 by four, 0.75 by sixteen, 0.58 by 64, 0.56 by 256 or 1,024.
#define HZ4_PURGE_BYTES ((size_t)4 << 20)
#define HZ4_PURGE_RUNS 32
// Spans that one call looks at for what is free inside them.
#define HZ4_PURGE_LOOKS 512

// A malloc that the system refuses trims the heap and tries again: after so many trims in vain in a row 1, 3, 7 ... failures
// go by without, at most 2^the other - 1. (A trim of a large heap takes a millisecond.)
#define HZ4_VAIN_TRIMS 4
#define HZ4_VAIN_TRIM_DOUBLINGS 10

// ---- Size classes ----

// 16-byte steps to 128 bytes, then 8 classes for each doubling up to 256 KiB: at most 12.5% internal waste. (Spacing of
// 1/4 was equal in speed.) Class 0 means "not an object of a size class".
#define HZ4_CLASS_COUNT 96
#define HZ4_CLASS_MAX_BYTES ((size_t)256 << 10)
// The first classes, whose objects are smaller than a cache line, are told apart by the cache whose spans they are from
// (sizeclass.h), modulo so many caches.
#define HZ4_TINY_CLASSES 3
#define HZ4_HOMES 8
// Class 0, and that of blocks of no bytes, are the two beside.
#define HZ4_CLASS_SLOTS (HZ4_CLASS_COUNT + 2 + HZ4_TINY_CLASSES * (1 + HZ4_HOMES))
// Sampled objects have spans of their own, of powers of two from 128 bytes: a descriptor has a pointer for each object, and
// is to be one block of meta's.
#define HZ4_SAMPLE_CLASSES 12
#define HZ4_MID_CLASSES (HZ4_CLASS_SLOTS + HZ4_SAMPLE_CLASSES)
// "Small" and "mid" are ranges in the statistics, not code paths.
#define HZ4_SMALL_MAX_BYTES ((size_t)2 << 10)

// A span holds at least this many objects, or one page's worth.
#define HZ4_SPAN_OBJECTS_MIN 8
#define HZ4_SPAN_PAGES_MAX 16

// ---- what is kept ----

// Of free pages, and likewise of free large ranges, so much keeps its addresses without memory. (maps_test with many large
// blocks: 51 mappings with 16 MiB of free segments, 41 with 256.)
#define HZ4_RETAIN_BYTES ((size_t)256 << 20)

// ---- thrashing ----

// Thrashing begins when more than 1/2^this of what was ever in use was wanted too soon, in so many swings or more: the
// first is what it costs to find out; of the second a program that fills and empties its heap has one each time.
#define HZ4_THRASHING_PEAK_SHIFT 2
#define HZ4_THRASHING_SWINGS 8
// How long thrashing lasts, as a multiple of HZ4_REFAULT_MS. What swings once in that time pays for its pages once.
#define HZ4_THRASHING_LASTS 10

// ---- tcache ----

// Slots of a bin, sentinel included, are a power of two between these; a bin starts with the first, or with this many
// bytes.
#define HZ4_BIN_SLOTS_MIN 8
#define HZ4_BIN_SLOTS_MAX 256
#define HZ4_BIN_FIRST_BYTES ((size_t)128 << 10)
// A full bin has at most this many slots and bytes; or more slots, of objects so small that they fit in fewer bytes.
// (docs/design.md has what 256 slots of every size cost.)
#define HZ4_BIN_SLOTS_FEW 64
#define HZ4_BIN_MAX_BYTES ((size_t)2 << 20)
#define HZ4_BIN_MANY_BYTES ((size_t)64 << 10)
// That of a cache which shares the class with no other (HZ4_MID_ALONE_VISITS) has up to so many slots and bytes, for what comes
// and goes in waves: 256 objects of the largest class. (256 KiB to 64 MiB at once: 7 to 8 ns for an object instead of 35 to 200.)
#define HZ4_BIN_SLOTS_ALONE 1024
#define HZ4_BIN_ALONE_BYTES ((size_t)64 << 20)
// But not before it was missed so often after something had left it: a heap that is filled and emptied a few times is no
// reason. (More often than what makes thrashing; at most four bits.)
#define HZ4_BIN_SWINGS 15
// A bin that is only ever found empty, or only ever found full, grows up to this; that of larger objects than these not
// beyond its first bytes, for a cache may have a bin of each size. (docs/design.md has what was tried.)
#define HZ4_BIN_ONE_WAY_BYTES ((size_t)512 << 10)
#define HZ4_BIN_ONE_WAY_OBJECT_MAX ((size_t)32 << 10)
// And beyond its first bytes only after as many misses or overflows as this: so that who frees little keeps little.
#define HZ4_BIN_ONE_WAY_AFTER 16
// Objects that a refill or a flush moves at once, by way of the stack: 1 KiB of it; and bins that are claimed remotely at
// once, likewise.
#define HZ4_MOVE_OBJECTS 128
#define HZ4_REMOTE_BINS 24
// Objects from this size on calloc takes from fresh memory one by one, and does not clear them. (Of 4,096 objects of
// 20,000 bytes with one byte written in each 16 MB are resident instead of 80; of smaller ones less is gained.)
#define HZ4_CALLOC_FRESH_MIN ((size_t)16 << 10)
// A refill that must open fresh memory takes at most this much, so as not to spread over pages nobody needs yet.
#define HZ4_REFILL_FRESH_BYTES ((size_t)64 << 10)
// A thread that had so many overflows and no miss only frees: it does not fetch the lines of what it frees any more.
#define HZ4_AHEAD_OVERFLOWS 16
// What makes no address of any address.
#define HZ4_NOWHERE ((uintptr_t)1 << 62)
// Words that open claims are counted in: a thread takes that of its CPU's cache, so that few threads share one.
#define HZ4_CLAIM_WORDS 32
// How many bins are looked at for one to shrink, when as many bins in need found the budget spent.
#define HZ4_BIN_SHRINK_TRIES 8
#define HZ4_BIN_SHRINK_AFTER 64
// The least and the greatest share of the budget that a cache gets, however many or few caches there are: two such bins.
#define HZ4_TCACHE_BYTES_MIN ((size_t)256 << 10)
#define HZ4_TCACHE_BYTES_MAX ((size_t)128 << 20)

// ---- hardened ----

// Of how many of a bin's newest objects one makes room for what is freed: so many frees pass in the mean, once there are
// as many, until malloc may come to it. (They are two lines of the bin's array.)
#define HZ4_SWAP_OBJECTS 16
// What the first refill asks for, so that there is something to choose from.
#define HZ4_HARDEN_REFILL 8

// With HZ4_HARDEN=2: bytes behind the requested size, a word, that are looked at when the block is freed, where it has as
// many; and objects up to this size are cleared when they are freed.
#define HZ4_CANARY_BYTES 8
#define HZ4_CLEAR_MAX HZ4_SMALL_MAX_BYTES

// ---- inbox ----

// Objects in one batch node: 512 bytes with its header.
#define HZ4_BATCH_OBJECTS 62
// Empty batches that a cache keeps.
#define HZ4_BATCH_CACHE 8
// An inbox refuses a batch of a class when as many wait in it already, or would exceed this many bytes: what an owner who
// sleeps can withhold. Larger objects than this go to the depot: so few of them leave a bin at once that it is nearer.
// (docs/design.md has the figures.)
#define HZ4_INBOX_BATCHES_MAX 4
#define HZ4_INBOX_BYTES_MAX ((size_t)512 << 10)
#define HZ4_INBOX_OBJECT_MAX ((size_t)8 << 10)
// How many caches' inboxes are looked into before a fresh span is opened.
#define HZ4_STEAL_TRIES 16
// How many objects of an overflow batch are asked for their owner.
#define HZ4_OWNER_SAMPLES 4

// ---- shards ----

// Where more CPUs share a last-level cache they are several shards: the locks of one would be busy most of the time
// (docs/scaling.md).
#define HZ4_SHARD_CPUS 16
// More shards, or CPUs, are counted modulo.
#define HZ4_SHARDS_MAX 32
#define HZ4_SHARD_CPUS_MAX 1024

// ---- Mid ----

// Objects that wait in a class's depot: at most 1/2^this of those that are out of its spans, or the class's allowance,
// which grows up to this many bytes' worth; never more than DEPOT_OBJECTS_MAX.
#define HZ4_DEPOT_SHARE_SHIFT 2
#define HZ4_DEPOT_ALLOWANCE_BYTES ((size_t)1 << 20)
#define HZ4_DEPOT_OBJECTS_MAX 16384
// A fall by less than both of these is no decline.
#define HZ4_DECLINE_OBJECTS_MIN 32
#define HZ4_DECLINE_BYTES_MIN ((size_t)256 << 10)
// The heap has declined when of the most that was out 1/2^this, and at least so many bytes, are out no more: then all caches of
// CPUs are emptied.
// (256 MB of blocks of 2 to 256 KiB made by eight threads, freed by eight others: 3 MB stay, at most 8; at half 2 and 4, but up
// to 143 instead of 116 of 16 bytes to 4 KiB when a tenth is still live; by the visits to each cache 19 and 22.)
#define HZ4_HEAP_DECLINE_SHIFT 2
#define HZ4_HEAP_DECLINE_BYTES_MIN ((size_t)4 << 20)
// What a class has more or less out than was last known is told when it is so much.
#define HZ4_DECLINE_REPORT_BYTES ((size_t)64 << 10)
// So many declines in a row, each to a half, until free memory inside spans is purged. At the first, mt_remote with
// 16 threads, which fall idle one by one at its end, had 0.95 and 0.87 of the speed; at the second 0.98 and 0.96.
#define HZ4_DECLINES_TO_PURGE 2
// And of which spans: where so many of 8 parts are free.
#define HZ4_DECLINE_PURGE_EIGHTHS 4
// A cache that took and gave its own objects of a class so many times in a row shares them with nobody. No fewer than a
// bin has objects: it may take one at a time of what another gives by the bin.
#define HZ4_MID_ALONE_VISITS 256
// Pointers in a depot's first array.
#define HZ4_DEPOT_SLOTS_MIN 128
// Spans that one call of malloc or free meets, about: each costs 13 ns, and 100 where its lines are in another CPU's cache.
// (With 8 or 12 the 99.9th percentile of free is the same, for each call costs 150 ns besides.)
#define HZ4_MID_SPANS 16
// Lists of partial spans by fullness.
#define HZ4_MID_BUCKETS 4

// ---- large ----

// The share of what is live (1/2^this) that is kept of what is free. (policy.c has how what is kept rises and falls.)
#define HZ4_LARGE_SHARE_SHIFT 3
// Purges after which memory was wanted again until the bound rises: a heap that is filled and emptied a few times is no
// reason, nor is a shift from some sizes to others.
#define HZ4_LARGE_SWINGS 4
// And to what it rises at most: so much stays of a program that swings, and then does nothing more.
#define HZ4_LARGE_KEEP_MAX ((size_t)256 << 20)
// Nor beyond what was live at once, lately, and 1/2^this of it: some of it does not fit.
#define HZ4_LARGE_LOSS_SHIFT 3
// A turn: 2^this times of what is live and kept was taken. Then what is needed is found out anew.
#define HZ4_LARGE_TURN_SHIFT 5
// It goes back by so many bytes at least.
#define HZ4_LARGE_BATCH_BYTES ((size_t)1 << 20)
// Addresses without memory are kept beside those of HZ4_RETAIN_BYTES, 2^this times as many as were live at once. (An hour of
// random steps with 300 blocks of up to 8 MiB at once, maps_test: 27 mappings; with as many as were live 71, as are live now
// 192; glibc 25.)
#define HZ4_LARGE_RETAIN_SHIFT 1
// All that is kept, with memory or without, is at most 1/2^this of the addresses that the process may have.
#define HZ4_LARGE_ADDRESS_SHIFT 3
// The system is asked for 1/2^this of what there is, and at most so much, where a block needs less.
#define HZ4_LARGE_GROWTH_SHIFT 2
#define HZ4_LARGE_GROWTH_MAX ((size_t)4 << 20)
// What realloc makes grow by a half or less, to this or more, has room for that once more. (16 bytes to 64 KiB by steps of a
// half take 0.5 of the time; from 8 KiB on 0.75. Without the upper bound of a half, doubling to 64 KiB takes 1.4 times as long.)
#define HZ4_REALLOC_ROOM_MIN ((size_t)1 << 10)
// A block that grows is put where it can grow to so many times its size.
#define HZ4_LARGE_ROOM 4
// And from this size on, which a class has.
#define HZ4_LARGE_REUSE_MIN ((size_t)64 << 10)
// Zeros are made by clearing used memory up to this, and above it by the system.
#define HZ4_LARGE_CLEAR_MAX ((size_t)4 << 20)
// Spare descriptors.
#define HZ4_LARGE_SPARES 64

// ---- limit ----

// A trim is due above all but 1/2^this of the limit; the next when that much more is used than after the last. If it were less, a
// program that swings by more would pay for its pages again at each pause; if it were more, less could be live undisturbed.
#define HZ4_LIMIT_NEAR_SHIFT 4
// When use has fallen to all but 1/2^this of the limit, the next trim is due as the first was.
#define HZ4_LIMIT_OVER_SHIFT 2
// From one trim to the next, at least, and for each byte that went back, which costs 0.5 ns to purge and to fault in again: so
// that trims take about an eighth of the time at most.
#define HZ4_LIMIT_PAUSE_NS ((uint64_t)20000000)
#define HZ4_LIMIT_PAUSE_NS_PER_BYTE 4
// All caches together hold at most 1/2^this of the limit (a quarter: malloc_args, which uses 95% of a soft limit without one,
// has 0.6 of the speed; an eighth: 0.4). And 1/2^the second of what the container has, where nothing else bounds them.
#define HZ4_LIMIT_CACHES_SHIFT 1
#define HZ4_LIMIT_CONTAINER_SHIFT 2
// What HZ4_LIMIT=cgroup leaves to the rest of the process, and to the other processes of the group.
#define HZ4_LIMIT_CGROUP_PERCENT 90

// ---- guards ----

// Guards that are mappings of their own, where the system does not note them: each costs up to two, and a process has
// 65,530 (vm.max_map_count).
#define HZ4_GUARDS_MAX 8192
// Metadata lies anywhere below this: half of what a program has on x86-64. Where there is less, the system chooses.
#define HZ4_GUARD_ADDRESS_BITS 46
// Guards of 64 KiB in a segment, each behind as much as the first span needed and up to so many pages more.
#define HZ4_GUARD_PAGES_MAX 4
// How far before a fault a report looks for the block whose guard it may be: some 30 us.
#define HZ4_GUARD_LOOK_BYTES ((size_t)1 << 30)
// Freed large blocks that stay inaccessible: so many, of so many bytes in all. They hold no memory; each costs two mappings.
#define HZ4_QUARANTINE_BLOCKS 256
#define HZ4_QUARANTINE_BYTES ((size_t)256 << 20)

// ---- meta ----

#define HZ4_META_UNIT 64
#define HZ4_META_MAX_BYTES 8192
// The first chunk is small for the sake of `ulimit -v`.
#define HZ4_META_CHUNK_MIN ((size_t)64 << 10)
#define HZ4_META_CHUNK_MAX ((size_t)512 << 10)

// ---- probes ----

// Mean bytes between samples for tracers: what OpenTelemetry's profiler expects.
#define HZ4_PROBE_SAMPLE_BYTES ((size_t)512 << 10)

// ---- statistics ----

// Rises when a name of the JSON goes, or means something else; not when one comes.
#define HZ4_STATS_SCHEMA 1
// The report has a line for each size whose spans are at least 1/this of all: so few that it fits a terminal.
#define HZ4_STATS_CLASSES_SHOWN 24
// What is printed at exit or by a signal, by one call: statistics as JSON with each size have some 20 KiB, leaks 120 lines.
// Touched only then.
#define HZ4_EXIT_TEXT_BYTES (32 << 10)

// ---- lock ----

// Times that a waiter looks at a taken lock before it sleeps. (Spinning against sleeping at once: inside the noise.)
#define HZ4_LOCK_SPINS 64
// How long a thread waits for a fork at each lock before it takes the way without locks; a malloc meets up to seven. The
// fork of a small process is over by then, and in a large one the kernel makes such a thread wait in mmap. Where fork
// waits for a lock of libc's that this thread holds, it is what the fork is delayed by.
#define HZ4_LOCK_FORK_PATIENCE_NS 500000

#define HZ4_CACHE_LINE 64

// ---- stacks, samples ----

// How far the frame of a function is from its caller's, at most: what is farther is no frame pointer.
#define HZ4_STACK_STEP_MAX ((uintptr_t)256 << 10)
// Rules for going from a return address's frame to its caller's that are remembered, 16 bytes each; a power of two.
#define HZ4_UNWIND_RULES 2048
// Return addresses that are kept of a sample: as many as heap profiles of others have.
#define HZ4_SAMPLE_FRAMES 64
// While there is sampling a cache looks after so many bytes whether its mean is the right one still.
#define HZ4_SAMPLE_STRIDE (16 << 20)
// A thread has at most about 2,000 samples a second, which are 0.2% of its time. (malloc_args has one each 0.5 us at 512 KiB,
// and took 1.6 times as long.) The clock is good to 4 ms. A finer mean than the last is asked for in order to see all.
#define HZ4_SAMPLE_PACE 32
#define HZ4_SAMPLE_PACE_NS 16000000
#define HZ4_SAMPLE_PACED_MIN ((size_t)64 << 10)
#define HZ4_SAMPLE_DOUBLINGS_MAX 20

// ---- heap profile ----

// Chains of sites: a program has some thousands.
#define HZ4_PROFILE_CHAINS 4096
// Records that are looked at for one to use again before another is made.
#define HZ4_PROFILE_RECORD_TRIES 8
// An estimated number of objects has a fraction of so many bits: of a block as large as the mean a sample stands for 1.6.
#define HZ4_PROFILE_PART_SHIFT 16
// Objects up to 1/2^this of the mean have a proxy: they cost as much as a thirty-second of what is live.
#define HZ4_PROFILE_STAND_IN_SHIFT 5
// A peak is written when it is 1/2^this above the last that was, and so many samples.
#define HZ4_PROFILE_PEAK_SHIFT 3
#define HZ4_PROFILE_PEAK_SAMPLES 16
// Code that a profile knows the file of, at most: mappings that may be executed.
#define HZ4_PROFILE_MAPPINGS 4096
// Functions that readers leave out with all that they call: where the compiler made no jump of malloc's call of its slow
// path, malloc is the first frame.
#define HZ4_PROFILE_DROPPED "hz4_.*|malloc|calloc|realloc|memalign|aligned_alloc|posix_memalign|p?valloc|operator new.*"
// What is written by one system call.
#define HZ4_PROFILE_BUFFER_BYTES 8192
// Sites that the summary of leaks names, and frames of each.
#define HZ4_PROFILE_LEAK_SITES 10
#define HZ4_PROFILE_LEAK_FRAMES 12

// ---- tables ----

// Spreads addresses over a table: 2^64 over the golden ratio (D. Knuth, TAOCP 3, 6.4).
#define HZ4_HASH_FACTOR UINT64_C(0x9e3779b97f4a7c15)
// Places in the program of which HZ4_REPORT=warn reports wrong use: more is a program that nobody looks at.
#define HZ4_REPORT_PLACES 64
// Return addresses in a report.
#define HZ4_REPORT_FRAMES 16
// Guarded slots: 18 MiB of addresses, and a page of memory or two for each that is in use. As many objects at most are
// guarded at once, and as many frees at least lie between the free of an object and the next use of its slot, less the live ones.
#define HZ4_SLOTS 512
#define HZ4_SLOT_BYTES_MAX ((size_t)32 << 10)
// Return addresses of where an object was allocated, and where freed.
#define HZ4_SLOT_FRAMES 32

#endif  // HZ4_CONFIG_H_
