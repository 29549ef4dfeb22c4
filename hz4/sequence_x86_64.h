// The sequences of sequence.h for x86-64. Not to be included by itself.
//
// All have one frame. 3: the descriptor (struct rseq_cs): a sequence from 1 to 2, which goes on at 4 when it was
// interrupted. 4: back to 6, to begin anew; before it the signature, without which the kernel takes no place for one to
// jump to. 6: the descriptor's address into the thread's area; then the address of the cache.
// A sequence ends by its last store, or by jumping out before it.
#define HZ4_SEQUENCE_RESTARTS 1
#define HZ4_SEQUENCE_SIGNATURE 0x53053053u

#define HZ4_SEQUENCE_BEGIN HZ4_SEQUENCE_BEGIN_IN("%[cache]")
#define HZ4_SEQUENCE_BEGIN_IN(cache)           \
  ".pushsection __rseq_cs, \"aw\"\n\t"         \
  ".balign 32\n"                               \
  "3:\n\t"                                     \
  ".long 0, 0\n\t"                             \
  ".quad 1f, 2f - 1f, 4f\n\t"                  \
  ".popsection\n\t"                            \
  ".pushsection .text.unlikely, \"ax\"\n\t"    \
  ".byte 0x0f, 0xb9, 0x3d\n\t"                 \
  ".long 0x53053053\n"                         \
  "4:\n\t"                                     \
  "jmp 6f\n\t"                                 \
  ".popsection\n"                              \
  "6:\n\t"                                     \
  "leaq 3b(%%rip), " cache "\n\t"              \
  "movq " cache ", 8(%[area])\n"               \
  "1:\n\t"                                     \
  "movslq 24(%[area]), " cache "\n\t"          \
  "shlq $13, " cache "\n\t"                    \
  "addq %[caches], " cache "\n\t"

#define HZ4_SEQUENCE_END "2:"

#define HZ4_SEQUENCE_TOP "8(%[cache], %[size_class], 8)"

HZ4_INLINE void *hz4_sequence_pop(size_t size_class) {
  void *object;
  uintptr_t cache, top;
  bool any;
  // The flags are the test's, to the end.
  __asm__ volatile(HZ4_SEQUENCE_BEGIN
                   "movq " HZ4_SEQUENCE_TOP ", %[top]\n\t"
                   "movq (%[cache], %[top]), %[object]\n\t"
                   "testq %[object], %[object]\n\t"
                   "jz 2f\n\t"
                   "leaq -8(%[top]), %[top]\n\t"
                   "movq %[top], " HZ4_SEQUENCE_TOP "\n"
                   HZ4_SEQUENCE_END
                   : [object] "=&a"(object), [cache] "=&r"(cache), [top] "=&r"(top), "=@ccnz"(any)
                   : [area] "r"(hz4_front.area), [caches] "m"(hz4_front.caches), [size_class] "r"(size_class)
                   : "memory");
  if (HZ4_UNLIKELY(!any)) return NULL;
  if (object == NULL) __builtin_unreachable();
  HZ4_SEQUENCE_ACQUIRE(object);
  return object;
}

HZ4_INLINE void *hz4_sequence_pop_counted(size_t size_class, size_t size) {
  void *object;
  uintptr_t cache, top, left;
  bool any;
  // The flags are the subtraction's, if that is the end, or else the test's.
  __asm__ volatile(HZ4_SEQUENCE_BEGIN
                   "movq " HZ4_SEQUENCE_TOP ", %[top]\n\t"
                   "movq 4008(%[cache]), %[left]\n\t"
                   "subq %[size], %[left]\n\t"
                   "jl 2f\n\t"
                   "movq (%[cache], %[top]), %[object]\n\t"
                   "testq %[object], %[object]\n\t"
                   "jz 2f\n\t"
                   "leaq -8(%[top]), %[top]\n\t"
                   "movq %[left], 4008(%[cache])\n\t"
                   "movq %[top], " HZ4_SEQUENCE_TOP "\n"
                   HZ4_SEQUENCE_END
                   : [object] "=&a"(object), [cache] "=&r"(cache), [top] "=&r"(top), [left] "=&r"(left), "=@ccg"(any)
                   : [area] "r"(hz4_front.area), [caches] "m"(hz4_front.caches), [size_class] "r"(size_class),
                     [size] "r"(size)
                   : "memory");
  if (HZ4_UNLIKELY(!any)) return NULL;
  if (object == NULL) __builtin_unreachable();
  HZ4_SEQUENCE_ACQUIRE(object);
  return object;
}

// (GCC 12 places the label of an asm goto that has outputs elsewhere: so this one has none.)
HZ4_INLINE bool hz4_sequence_push(size_t size_class, void *object) {
  HZ4_SEQUENCE_RELEASE(object);
  __asm__ goto(HZ4_SEQUENCE_BEGIN_IN("%%r8")
               "movq 8(%%r8, %[size_class], 8), %%r9\n\t"
               "cmpq 1008(%%r8, %[size_class], 8), %%r9\n\t"
               "jae %l[full]\n\t"
               "cmpq %[object], (%%r8, %%r9)\n\t"
               "je %l[full]\n\t"
               "movq %[object], 8(%%r8, %%r9)\n\t"
               "addq $8, %%r9\n\t"
               "movq %%r9, 8(%%r8, %[size_class], 8)\n"
               HZ4_SEQUENCE_END
               :
               : [area] "r"(hz4_front.area), [caches] "m"(hz4_front.caches), [size_class] "r"(size_class),
                 [object] "r"(object)
               : "memory", "cc", "r8", "r9"
               : full);
  return true;
full:
  return false;
}

HZ4_INLINE void *hz4_sequence_swap(size_t size_class, uint32_t random, void *object) {
  void *other;
  uintptr_t cache, top, bytes;
  HZ4_SEQUENCE_RELEASE(object);
  // bytes: of the newest objects, one of which it is to be.
  __asm__ volatile(HZ4_SEQUENCE_BEGIN
                   "movq " HZ4_SEQUENCE_TOP ", %[top]\n\t"
                   "movq (%[cache], %[top]), %[other]\n\t"
                   "testq %[other], %[other]\n\t"
                   "jz 2f\n\t"
                   "leaq (%[cache], %[top]), %[bytes]\n\t"
                   "subq 2008(%[cache], %[bin]), %[bytes]\n\t"
                   "cmpq %[most], %[bytes]\n\t"
                   "cmovaq %[most], %[bytes]\n\t"
                   "imulq %[random], %[bytes]\n\t"
                   "shrq $32, %[bytes]\n\t"
                   "andq $-8, %[bytes]\n\t"
                   "subq %[bytes], %[top]\n\t"
                   "movq (%[cache], %[top]), %[other]\n\t"
                   "movq %[object], (%[cache], %[top])\n"
                   HZ4_SEQUENCE_END
                   : [other] "=&r"(other), [cache] "=&r"(cache), [top] "=&r"(top), [bytes] "=&r"(bytes)
                   : [area] "r"(hz4_front.area), [caches] "m"(hz4_front.caches), [size_class] "r"(size_class),
                     [bin] "r"(size_class * HZ4_CACHE_BIN_BYTES), [random] "r"((uint64_t)random),
                     [most] "r"(HZ4_SWAP_OBJECTS * sizeof(void *)), [object] "r"(object)
                   : "memory", "cc");
  if (other != NULL) HZ4_SEQUENCE_ACQUIRE(other);
  return other;
}

HZ4_INLINE struct hz4_claim hz4_sequence_claim(size_t size_class) {
  struct hz4_claim claim;
  __asm__ volatile(HZ4_SEQUENCE_BEGIN
                   "movq " HZ4_SEQUENCE_TOP ", %[top]\n\t"
                   "cmpq $-16, %[top]\n\t"
                   "je 2f\n\t"
                   "cmpq $-32, %[top]\n\t"
                   "je 2f\n\t"
                   "movq $-16, " HZ4_SEQUENCE_TOP "\n"
                   HZ4_SEQUENCE_END
                   : [cache] "=&r"(claim.cache), [top] "=&r"(claim.top)
                   : [area] "r"(hz4_front.area), [caches] "m"(hz4_front.caches), [size_class] "r"(size_class)
                   : "memory", "cc");
  return claim;
}

// `offset`: of a counter of 64 bits in the cache.
HZ4_INLINE void hz4_sequence_add(size_t offset, uint64_t n) {
  uintptr_t cache;
  __asm__ volatile(HZ4_SEQUENCE_BEGIN
                   "addq %[n], (%[cache], %[offset])\n"
                   HZ4_SEQUENCE_END
                   : [cache] "=&r"(cache)
                   : [area] "r"(hz4_front.area), [caches] "m"(hz4_front.caches), [offset] "r"(offset), [n] "r"(n)
                   : "memory", "cc");
}
