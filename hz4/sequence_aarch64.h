// The sequences of sequence.h for aarch64. Not to be included by itself; sequence_x86_64.h explains their frame.
//
// 4 lies in the function's own section: a jump from another one, in a program of more than 128 MiB, the linker may lead over
// code of its own, which changes x16 and x17.
//
// A bin is published by a release. pop and push load its slots, and its limit, by addresses that depend on its top, and so
// need no barrier; claim's load is an acquire, for what its caller goes on to read.
#define HZ4_SEQUENCE_RESTARTS 1
#define HZ4_SEQUENCE_SIGNATURE 0xd428bc00u

#define HZ4_SEQUENCE_BEGIN                           \
  ".pushsection __rseq_cs, \"aw\"\n\t"               \
  ".balign 32\n"                                     \
  "3:\n\t"                                           \
  ".long 0, 0\n\t"                                   \
  ".quad 1f, 2f - 1f, 4f\n\t"                        \
  ".popsection\n\t"                                  \
  ".subsection 1\n\t"                                \
  ".inst 0xd428bc00\n"                               \
  "4:\n\t"                                           \
  "b 6f\n\t"                                         \
  ".subsection 0\n"                                  \
  "6:\n\t"                                           \
  "adrp %[cache], 3b\n\t"                            \
  "add %[cache], %[cache], :lo12:3b\n\t"             \
  "str %[cache], [%[area], #8]\n"                    \
  "1:\n\t"                                           \
  "ldrsw %[cache], [%[area], #24]\n\t"               \
  "add %[cache], %[caches], %[cache], lsl #13\n\t"

#define HZ4_SEQUENCE_END "2:"

// The address of the class's top.
#define HZ4_SEQUENCE_BIN "add %[bin], %[cache], %[size_class], lsl #3\n\t"

HZ4_INLINE void *hz4_sequence_pop(size_t size_class) {
  void *object;
  uintptr_t cache, bin, top;
  __asm__ volatile(HZ4_SEQUENCE_BEGIN HZ4_SEQUENCE_BIN
                   "ldr %[top], [%[bin], #8]\n\t"
                   "ldr %[object], [%[cache], %[top]]\n\t"
                   "cbz %[object], 2f\n\t"
                   "sub %[top], %[top], #8\n\t"
                   "str %[top], [%[bin], #8]\n"
                   HZ4_SEQUENCE_END
                   : [object] "=&r"(object), [cache] "=&r"(cache), [bin] "=&r"(bin), [top] "=&r"(top)
                   : [area] "r"(hz4_front.area), [caches] "r"(hz4_front.caches), [size_class] "r"(size_class)
                   : "memory");
  if (HZ4_UNLIKELY(object == NULL)) return NULL;
  HZ4_SEQUENCE_ACQUIRE(object);
  return object;
}

HZ4_INLINE void *hz4_sequence_pop_counted(size_t size_class, size_t size) {
  void *object;
  uintptr_t cache, bin, top, left;
  __asm__ volatile(HZ4_SEQUENCE_BEGIN HZ4_SEQUENCE_BIN
                   "ldr %[left], [%[cache], #4008]\n\t"
                   "subs %[left], %[left], %[size]\n\t"
                   "mov %[object], xzr\n\t"
                   "b.lt 2f\n\t"
                   "ldr %[top], [%[bin], #8]\n\t"
                   "ldr %[object], [%[cache], %[top]]\n\t"
                   "cbz %[object], 2f\n\t"
                   "sub %[top], %[top], #8\n\t"
                   "str %[left], [%[cache], #4008]\n\t"
                   "str %[top], [%[bin], #8]\n"
                   HZ4_SEQUENCE_END
                   : [object] "=&r"(object), [cache] "=&r"(cache), [bin] "=&r"(bin), [top] "=&r"(top), [left] "=&r"(left)
                   : [area] "r"(hz4_front.area), [caches] "r"(hz4_front.caches), [size_class] "r"(size_class),
                     [size] "r"(size)
                   : "memory", "cc");
  if (HZ4_UNLIKELY(object == NULL)) return NULL;
  HZ4_SEQUENCE_ACQUIRE(object);
  return object;
}

HZ4_INLINE bool hz4_sequence_push(size_t size_class, void *object) {
  uintptr_t cache, bin, top, limit;
  bool fits;
  HZ4_SEQUENCE_RELEASE(object);
  __asm__ volatile(HZ4_SEQUENCE_BEGIN HZ4_SEQUENCE_BIN
                   "ldr %[top], [%[bin], #8]\n\t"
                   "ldr %[limit], [%[cache], %[top]]\n\t"
                   "cmp %[limit], %[object]\n\t"
                   "b.eq 2f\n\t"
                   "eor %[limit], %[top], %[top]\n\t"
                   "add %[limit], %[limit], %[bin]\n\t"
                   "ldr %[limit], [%[limit], #1008]\n\t"
                   "subs %[limit], %[limit], %[top]\n\t"
                   "b.ls 2f\n\t"
                   "add %[top], %[top], #8\n\t"
                   "str %[object], [%[cache], %[top]]\n\t"
                   "str %[top], [%[bin], #8]\n"
                   HZ4_SEQUENCE_END
                   : [cache] "=&r"(cache), [bin] "=&r"(bin), [top] "=&r"(top), [limit] "=&r"(limit),
                     "=@cchi"(fits)
                   : [area] "r"(hz4_front.area), [caches] "r"(hz4_front.caches), [size_class] "r"(size_class),
                     [object] "r"(object)
                   : "memory");
  return HZ4_LIKELY(fits);
}

HZ4_INLINE void *hz4_sequence_swap(size_t size_class, uint32_t random, void *object) {
  void *other;
  uintptr_t cache, bin, top, bytes;
  HZ4_SEQUENCE_RELEASE(object);
  __asm__ volatile(HZ4_SEQUENCE_BEGIN HZ4_SEQUENCE_BIN
                   "ldr %[top], [%[bin], #8]\n\t"
                   "ldr %[other], [%[cache], %[top]]\n\t"
                   "cbz %[other], 2f\n\t"
                   "eor %[bytes], %[top], %[top]\n\t"
                   "add %[bytes], %[bytes], %[bin]\n\t"
                   "add %[bytes], %[bytes], %[size_class], lsl #3\n\t"
                   "ldr %[bytes], [%[bytes], #2008]\n\t"
                   "add %[bin], %[cache], %[top]\n\t"
                   "sub %[bytes], %[bin], %[bytes]\n\t"
                   "cmp %[bytes], %[most]\n\t"
                   "csel %[bytes], %[most], %[bytes], hi\n\t"
                   "mul %[bytes], %[bytes], %[random]\n\t"
                   "lsr %[bytes], %[bytes], #35\n\t"
                   "sub %[top], %[top], %[bytes], lsl #3\n\t"
                   "ldr %[other], [%[cache], %[top]]\n\t"
                   "str %[object], [%[cache], %[top]]\n"
                   HZ4_SEQUENCE_END
                   : [other] "=&r"(other), [cache] "=&r"(cache), [bin] "=&r"(bin), [top] "=&r"(top),
                     [bytes] "=&r"(bytes)
                   : [area] "r"(hz4_front.area), [caches] "r"(hz4_front.caches), [size_class] "r"(size_class),
                     [random] "r"((uint64_t)random), [most] "r"(HZ4_SWAP_OBJECTS * sizeof(void *)),
                     [object] "r"(object)
                   : "memory", "cc");
  if (other != NULL) HZ4_SEQUENCE_ACQUIRE(other);
  return other;
}

HZ4_INLINE struct hz4_claim hz4_sequence_claim(size_t size_class) {
  struct hz4_claim claim;
  uintptr_t bin;
  __asm__ volatile(HZ4_SEQUENCE_BEGIN HZ4_SEQUENCE_BIN
                   "add %[bin], %[bin], #8\n\t"
                   "ldar %[top], [%[bin]]\n\t"
                   "cmn %[top], #16\n\t"
                   "b.eq 2f\n\t"
                   "cmn %[top], #32\n\t"
                   "b.eq 2f\n\t"
                   "str %[claimed], [%[bin]]\n"
                   HZ4_SEQUENCE_END
                   : [cache] "=&r"(claim.cache), [bin] "=&r"(bin), [top] "=&r"(claim.top)
                   : [area] "r"(hz4_front.area), [caches] "r"(hz4_front.caches), [size_class] "r"(size_class),
                     [claimed] "r"(HZ4_TOP_CLAIMED)
                   : "memory", "cc");
  return claim;
}

// `offset`: of a counter of 64 bits in the cache.
HZ4_INLINE void hz4_sequence_add(size_t offset, uint64_t n) {
  uintptr_t cache, sum;
  __asm__ volatile(HZ4_SEQUENCE_BEGIN
                   "ldr %[sum], [%[cache], %[offset]]\n\t"
                   "add %[sum], %[sum], %[n]\n\t"
                   "str %[sum], [%[cache], %[offset]]\n"
                   HZ4_SEQUENCE_END
                   : [cache] "=&r"(cache), [sum] "=&r"(sum)
                   : [area] "r"(hz4_front.area), [caches] "r"(hz4_front.caches), [offset] "r"(offset), [n] "r"(n)
                   : "memory");
}
