#include "hz4/shard.h"

#include "hz4/syscall.h"
#include "hz4/writer.h"

HZ4_IN_DATA struct hz4_shards hz4_shards;

struct cpus {
  uint64_t bits[HZ4_SHARD_CPUS_MAX / 64];
};

#define PRESENT UINT32_MAX

// Those that share the third level of caches with the CPU, which is the last of what hz4 knows of; or all that are PRESENT.
// False: there is no such file.
static bool read_cpus(const char *root, uint32_t cpu, struct cpus *cpus) {
  char text[1024] = {0};  // the path; and then a list, "0-7,64-71", of which MemorySanitizer does not see that it is read
  if (cpu == PRESENT) hz4_format(text, 256, "%s/present", root);
  else hz4_format(text, 256, "%s/cpu%u/cache/index3/shared_cpu_list", root, cpu);
  *cpus = (struct cpus){0};
  size_t length = hz4_read_file(text, text, sizeof(text) - 1);
  text[length] = '\0';
  for (const char *at = text; *at >= '0' && *at <= '9';) {
    uint32_t first = (uint32_t)hz4_parse_digits(&at), last = first;
    if (*at == '-') ++at, last = (uint32_t)hz4_parse_digits(&at);
    for (; first <= last && first < HZ4_SHARD_CPUS_MAX; ++first) cpus->bits[first / 64] |= (uint64_t)1 << first % 64;
    if (*at == ',') ++at;
  }
  return length != 0;
}

static uint32_t read_shards(const char *root) {
  struct cpus left, shared;
  uint32_t count = 0;
  if (!read_cpus(root, PRESENT, &left)) return 0;
  for (uint32_t cpu = 0; cpu < HZ4_SHARD_CPUS_MAX; ++cpu) {
    if ((left.bits[cpu / 64] >> cpu % 64 & 1) == 0) continue;
    if (!read_cpus(root, cpu, &shared)) {
      if (count == 0) return 0;
      continue;  // it is offline
    }
    for (uint32_t other = cpu, n = 0; other < HZ4_SHARD_CPUS_MAX; ++other) {
      if ((shared.bits[other / 64] >> other % 64 & 1) == 0) continue;
      if (n++ == HZ4_SHARD_CPUS) n = 1, ++count;
      hz4_store_relaxed(&hz4_shards.of_cpu[other], (uint8_t)(count % HZ4_SHARDS_MAX));
    }
    for (uint32_t i = 0; i < HZ4_SHARD_CPUS_MAX / 64; ++i) left.bits[i] &= ~shared.bits[i];
    ++count;
  }
  return count;
}

void hz4_shard_find(uint32_t split, const char *root) {
  uint32_t count = split != 0 ? split : read_shards(root);
  for (uint32_t cpu = 0; cpu < HZ4_SHARD_CPUS_MAX && split > 1; ++cpu) {
    hz4_store_relaxed(&hz4_shards.of_cpu[cpu], (uint8_t)(cpu % split));
  }
  if (count < 1) count = 1;
  hz4_store_release(&hz4_shards.count, count < HZ4_SHARDS_MAX ? count : HZ4_SHARDS_MAX);  // pairs with hz4_shard_count
}

uint32_t hz4_shard_cpu(void) {
  uint32_t cpu = 0;
  hz4_syscall(SYS_getcpu, &cpu, 0, 0);
  return cpu;
}
