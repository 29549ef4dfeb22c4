// What is done to allocators whose lists and headers lie beside the blocks, so as to be given memory of one's choice.
#include "hz4/misuse/misuse.h"

static uintptr_t target[64] __attribute__((aligned(64)));

static bool is_target(const void *block) {
  return (uintptr_t)block - (uintptr_t)target < sizeof(target);
}

static bool gets_target(size_t size) {
  bool got = false;
  for (int i = 0; i < 16; ++i) got |= is_target(malloc(size));
  return got;
}

// A freed block's first words lead to the target.
static bool forge_list(size_t size, long by) {
  uintptr_t *neighbour = malloc(size), *a = malloc(size), *b = malloc(size);
  free(a);
  free(b);
  uintptr_t *block = announce(b);
  target[1] = size + 16 | 1;
  for (int i = 0; i < 4; ++i) *(volatile uintptr_t *)&block[i] = (uintptr_t)&target[2];
  bool got = gets_target(size);
  went_on();
  free(neighbour);
  return got;
}

// The same, through the mask that glibc has: the address of the word, shifted.
static bool forge_masked_list(size_t size, long by) {
  uintptr_t *neighbour = malloc(size), *a = malloc(size), *b = malloc(size);
  free(a);
  free(b);
  uintptr_t *block = announce(b);
  *(volatile uintptr_t *)block = (uintptr_t)&target[2] ^ (uintptr_t)block >> 12;
  bool got = gets_target(size);
  went_on();
  free(neighbour);
  return got;
}

// The word before the target is what a header of that size looks like.
static bool forge_block(size_t size, long by) {
  target[1] = by;
  target[1 + by / 8] = by;
  free(announce(&target[2]));
  went_on();
  return gets_target(size);
}

// The same, inside a block of one's own.
static bool forge_inside(size_t size, long by) {
  uintptr_t *block = malloc(size);
  for (size_t i = 0; i < size / 8; ++i) block[i] = by;
  free(announce(block + 2));
  went_on();
  for (int i = 0; i < 16; ++i) {
    char *next = malloc(by - 16);
    if (next >= (char *)block && next < (char *)block + size) return true;
  }
  return false;
}

// The header before a block says that it is larger: what it overlaps is given away.
static bool forge_size(size_t size, long says) {
  char *before = malloc(size), *block = malloc(size), *behind = malloc(size), *far = malloc(size);
  uintptr_t *header = announce(block);
  *(volatile uintptr_t *)&header[-1] = says | 1;
  free(block);
  went_on();
  for (int i = 0; i < 16; ++i) {
    char *next = malloc(says - 16);
    if (next < behind + size && next + says - 16 > behind) return true;
  }
  free(before);
  free(far);
  return false;
}

// A freed neighbour's links are written through when the two become one.
static bool unlink_neighbour(size_t size, long by) {
  uintptr_t *a = malloc(size), *b = malloc(size), *behind = malloc(size);
  free(b);
  uintptr_t *links = announce(b);
  target[2] = (uintptr_t)b - 16, target[3] = (uintptr_t)b - 16;
  *(volatile uintptr_t *)&links[0] = (uintptr_t)&target[0] - 8;
  *(volatile uintptr_t *)&links[1] = (uintptr_t)&target[0];
  uintptr_t before[4];
  memcpy(before, target, sizeof(before));
  free(a);
  went_on();
  free(behind);
  return memcmp(before, target, sizeof(before)) != 0;
}

// What is behind the newest block says how much there is to come.
static bool forge_rest(size_t size, long by) {
  char *block = malloc(size);
  uintptr_t *behind = announce(block + malloc_usable_size(block));
  *(volatile uintptr_t *)behind = UINTPTR_MAX;
  long distance = (char *)target - block - 4 * (long)size;
  malloc((size_t)distance);
  went_on();
  return gets_target(size);
}

// The header of a mapping says that more is to be unmapped.
static bool forge_mapping(size_t size, long by) {
  char *block = malloc(size), *other = malloc(size);
  uintptr_t *header = announce(block);
  *(volatile uintptr_t *)&header[-1] = (2 * size + 8192) & ~(size_t)4095 | 2;
  free(block);
  went_on();
  put(other, 1);
  return false;
}

const struct misuse_case misuse_structure[] = {
    {"list_tiny", forge_list, 24},
    {"list_small", forge_list, SMALL},
    {"list_mid", forge_list, MID},
    {"masked_list", forge_masked_list, SMALL},
    {"block_small", forge_block, 80, 96},
    {"block_inside", forge_inside, 400, 96},
    {"size_small", forge_size, SMALL, 400},
    {"size_mid", forge_size, MID, 50000},
    {"unlink", unlink_neighbour, 2000},
    {"rest", forge_rest, 3000},
    {"mapping", forge_mapping, MAPPED},
    {NULL},
};
