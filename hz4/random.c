#include "hz4/random.h"

__thread uint64_t hz4_random_state __attribute__((tls_model("initial-exec")));
uint64_t hz4_random_secret = 1;

void hz4_random_seed(uint64_t seed) {
  hz4_random_secret = seed | 1;
}
