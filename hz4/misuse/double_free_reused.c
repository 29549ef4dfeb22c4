#include "hz4/misuse/misuse.h"

int main(void) {
  void *neighbour = malloc(100);
  void *block = malloc(100);
  free(announce(block));
  void *reused = malloc(100);
  if (reused != block) abort();
  free(announce(block));  // reused: its owner cannot know
  free(neighbour);
  return survived();
}
