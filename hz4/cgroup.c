#include "hz4/cgroup.h"

#include <string.h>

#include "hz4/sys.h"

#define ROOT_BYTES_MAX 200
#define FILE_BYTES_MAX 32  // "/memory/memory.limit_in_bytes", which is the longest

// What the names of groups may need, for a while: the text that has them, and a path.
struct scratch {
  char text[56 << 10], path[8 << 10];
};

// Lowers the limit to the number in a file. "max" is none, nor what is larger than any memory, which is how version 1 says it.
// False: there is no such file.
static bool read_limit(const char *path, uint64_t *limit) {
  char text[32] = {0};  // MemorySanitizer does not see what is read
  const char *end = text;
  size_t length = hz4_read_file(path, text, 20);
  uint64_t value = hz4_parse_digits(&end);
  if (end != text && value < (uint64_t)1 << 62 && value < *limit) *limit = value;
  return length != 0;
}

static size_t append(char *path, size_t length, const char *text, size_t bytes) {
  memcpy(path + length, text, bytes);
  path[length + bytes] = '\0';
  return length + bytes;
}

// Of the group at `path`, and of all above it, down to `least` characters.
static void walk(char *path, size_t length, size_t least, bool version1, struct hz4_cgroup_limits *limits) {
  const char *max = version1 ? "/memory.limit_in_bytes" : "/memory.max", *high = "/memory.high";
  for (;;) {
    append(path, length, max, strlen(max));
    if (read_limit(path, &limits->max) && !version1) {
      append(path, length, high, strlen(high));
      read_limit(path, &limits->high);
    }
    if (length == least) return;
    do {
      --length;
    } while (length > least && path[length] != '/');
  }
}

// group: as in the file, from its '/' on. What begins with "/.." is outside of what this process may see.
static void read_group(const char *root, const char *group, size_t bytes, bool version1, char *path, size_t path_bytes,
                       struct hz4_cgroup_limits *limits) {
  size_t least = append(path, 0, root, strlen(root));
  if (version1) least = append(path, least, "/memory", strlen("/memory"));
  size_t length = least;
  bool is_root = bytes <= 1 || strncmp(group, "/..", 3) == 0 || least + bytes + FILE_BYTES_MAX >= path_bytes;
  if (!is_root) length = append(path, least, group, bytes);
  walk(path, length, least, version1, limits);
}

// Whether the list, as "cpu,memory", ends at a ':' and has it.
static bool names_memory(const char *list) {
  static const char name[] = "memory";
  for (;;) {
    if (strncmp(list, name, strlen(name)) == 0 && (list[strlen(name)] == ',' || list[strlen(name)] == ':')) return true;
    while (*list != ',' && *list != ':') ++list;
    if (*list++ == ':') return false;
  }
}

// A line, which ends in '\0': "4:cpu,memory:/a/b" of version 1, "0::/a/b" of version 2.
static void read_line(const char *root, const char *line, struct scratch *scratch, struct hz4_cgroup_limits *limits) {
  const char *list = strchr(line, ':'), *end = list != NULL ? strchr(list + 1, ':') : NULL;
  if (end == NULL) return;
  bool version1 = end != list + 1;
  if (version1 && !names_memory(list + 1)) return;
  read_group(root, end + 1, strlen(end + 1), version1, scratch->path, sizeof(scratch->path), limits);
}

static void read_groups(const char *groups, const char *root, struct scratch *scratch,
                        struct hz4_cgroup_limits *limits) {
  size_t length = hz4_read_file(groups, scratch->text, sizeof(scratch->text) - 1);
  scratch->text[length] = '\0';
  for (char *line = scratch->text, *end; *line != '\0'; line = end) {
    for (end = line; *end != '\0' && *end != '\n';) ++end;
    if (*end == '\n') *end++ = '\0';
    read_line(root, line, scratch, limits);
  }
}

struct hz4_cgroup_limits hz4_cgroup_read(const char *groups, const char *root) {
  struct hz4_cgroup_limits limits = {UINT64_MAX, UINT64_MAX};
  if (strlen(root) > ROOT_BYTES_MAX) return limits;
  // Of the system, for the stack may be small.
  struct scratch *scratch = hz4_sys_mmap(NULL, sizeof(*scratch));
  if (scratch == NULL) return limits;
  if (groups != NULL) {
    read_groups(groups, root, scratch, &limits);
  } else {
    read_group(root, "/", 1, false, scratch->path, sizeof(scratch->path), &limits);
    if (limits.max == UINT64_MAX) read_group(root, "/", 1, true, scratch->path, sizeof(scratch->path), &limits);
  }
  hz4_sys_munmap(scratch, sizeof(*scratch));
  return limits;
}
