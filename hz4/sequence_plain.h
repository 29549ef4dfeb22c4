// The sequences of sequence.h where there is no assembly for them: each thread has a cache of its own, and nobody can
// interfere. Not to be included by itself.
#define HZ4_SEQUENCE_RESTARTS 0
#define HZ4_SEQUENCE_SIGNATURE 0u

HZ4_INLINE uintptr_t *hz4_sequence_top(char *cache, size_t size_class) {
  return (uintptr_t *)(cache + HZ4_CACHE_TOP_OFFSET) + size_class;
}

HZ4_INLINE void *hz4_sequence_pop(size_t size_class) {
  char *cache = hz4_sequence_cache();
  uintptr_t *top = hz4_sequence_top(cache, size_class);
  void *object = *(void **)(cache + *top);
  if (object != NULL) *top -= sizeof(void *);
  return object;
}

HZ4_INLINE void *hz4_sequence_pop_counted(size_t size_class, size_t size) {
  int64_t *left = (int64_t *)(hz4_sequence_cache() + HZ4_CACHE_LEFT_OFFSET);
  void *object = *left >= (int64_t)size ? hz4_sequence_pop(size_class) : NULL;
  if (object != NULL) *left -= (int64_t)size;
  return object;
}

HZ4_INLINE bool hz4_sequence_push(size_t size_class, void *object) {
  char *cache = hz4_sequence_cache();
  uintptr_t *top = hz4_sequence_top(cache, size_class);
  if (*top >= *(uintptr_t *)(cache + HZ4_CACHE_LIMIT_OFFSET + size_class * sizeof(uintptr_t))) return false;
  if (*(void **)(cache + *top) == object) return false;
  *top += sizeof(void *);
  *(void **)(cache + *top) = object;
  return true;
}

HZ4_INLINE void *hz4_sequence_swap(size_t size_class, uint32_t random, void *object) {
  char *cache = hz4_sequence_cache();
  void **newest = (void **)(cache + *hz4_sequence_top(cache, size_class));
  if (*newest == NULL) return NULL;
  void ***slots = (void ***)(cache + HZ4_CACHE_BINS_OFFSET + size_class * HZ4_CACHE_BIN_BYTES);
  void **chosen = newest - hz4_sequence_depth((uint64_t)(newest - *slots), random), *other = *chosen;
  *chosen = object;
  return other;
}

HZ4_INLINE struct hz4_claim hz4_sequence_claim(size_t size_class) {
  char *cache = hz4_sequence_cache();
  uintptr_t *top = hz4_sequence_top(cache, size_class);
  struct hz4_claim claim = {cache, *top};
  if (claim.top != HZ4_TOP_CLAIMED && claim.top != HZ4_TOP_CLAIMED_REMOTE) *top = HZ4_TOP_CLAIMED;
  return claim;
}

// `offset`: of a counter of 64 bits in the cache.
HZ4_INLINE void hz4_sequence_add(size_t offset, uint64_t n) {
  *(uint64_t *)(hz4_sequence_cache() + offset) += n;
}
