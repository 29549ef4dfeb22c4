#include "hz4/random.h"

uint64_t hz4_random_shared;
uint64_t hz4_random_secret = 1;

void hz4_random_seed(uint64_t seed) {
  hz4_random_secret = seed | 1;
}
