// Rank 2. What the process has mapped, as the kernel tells (/proc/self/maps, man 5 proc), by system calls alone. One at a
// time: the line is kept in one place.
#ifndef HZ4_MAPS_H_
#define HZ4_MAPS_H_

#include "hz4/base.h"

HZ4_BEGIN_DECLS

struct hz4_map {
  uintptr_t start, end;
  uint64_t offset;   // in the file
  bool is_code;
  const char *path;  // as the kernel writes it; empty: there is no name
  uintptr_t image;   // where the file's first byte is mapped, before this; 0: nowhere
};

// Calls each(context, line, map) for each mapping in rising order; line and path end with the call.
void hz4_maps_read(void (*each)(void *context, const char *line, const struct hz4_map *map), void *context);

// The file's build-id in hexadecimal, from what of it is in memory. False: it has none.
#define HZ4_BUILD_ID_TEXT_BYTES 65
bool hz4_maps_build_id(const struct hz4_map *map, char text[HZ4_BUILD_ID_TEXT_BYTES]);

HZ4_END_DECLS

#endif  // HZ4_MAPS_H_
