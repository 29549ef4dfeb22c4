#include "hz4/maps.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "hz4/syscall.h"

// ---- lines ----

// The widest is that of a path of full length.
static struct {
  int fd;
  size_t used, at;
  char buffer[4096], line[PATH_MAX + 128];
} in;

// False: that was all.
static bool next_line(void) {
  size_t length = 0;
  for (;;) {
    if (in.at == in.used) {
      long n = hz4_syscall(SYS_read, in.fd, in.buffer, sizeof(in.buffer));
      if (n == -EINTR) continue;
      if (n <= 0) return false;
      in.used = (size_t)n;
      in.at = 0;
    }
    char c = in.buffer[in.at++];
    if (c == '\n') break;
    if (length < sizeof(in.line) - 1) in.line[length++] = c;
  }
  in.line[length] = '\0';
  return true;
}

static uint64_t parse_hex(const char **text) {
  uint64_t value = 0;
  for (;; ++*text) {
    char c = **text;
    if (c >= '0' && c <= '9') value = value * 16 + (uint64_t)(c - '0');
    else if (c >= 'a' && c <= 'f') value = value * 16 + (uint64_t)(c - 'a' + 10);
    else return value;
  }
}

static void skip(const char **text, bool blanks) {
  while (**text != '\0' && (**text == ' ') == blanks) ++*text;
}

// "start-end rwxp offset device inode   path"
static void parse(const char *line, struct hz4_map *map) {
  map->start = parse_hex(&line);
  if (*line == '-') ++line;
  map->end = parse_hex(&line);
  skip(&line, true);
  map->is_code = strlen(line) >= 3 && line[2] == 'x';
  skip(&line, false);
  skip(&line, true);
  map->offset = parse_hex(&line);
  for (int field = 0; field < 2; ++field) {
    skip(&line, true);
    skip(&line, false);
  }
  skip(&line, true);
  map->path = line;
}

void hz4_maps_read(void (*each)(void *context, const char *line, const struct hz4_map *map), void *context) {
  static char last_path[PATH_MAX + 128];
  long fd = hz4_syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  in.fd = (int)fd;
  in.used = in.at = 0;
  last_path[0] = '\0';
  struct hz4_map map = {0};
  while (next_line()) {
    parse(in.line, &map);
    bool same = strcmp(map.path, last_path) == 0 && map.offset != 0;
    if (!same) map.image = map.offset == 0 && map.path[0] != '\0' ? map.start : 0;
    for (size_t i = 0; !same && i <= strlen(map.path); ++i) last_path[i] = map.path[i];
    each(context, in.line, &map);
  }
  hz4_syscall(SYS_close, fd);
}

// ---- build-ids ----

// By the kernel, which fails where memory is not there any more.
static bool read_memory(int fd, uintptr_t at, void *out, size_t bytes) {
  return hz4_syscall(SYS_pread64, fd, out, bytes, at) == (long)bytes;
}

static bool find_in_notes(int fd, uintptr_t at, uintptr_t end, char *text) {
  enum { ID_BYTES_MAX = (HZ4_BUILD_ID_TEXT_BYTES - 1) / 2 };
  Elf64_Nhdr note;
  while (at < end && read_memory(fd, at, &note, sizeof(note))) {
    uintptr_t name_at = at + sizeof(note), id_at = name_at + hz4_round_up(note.n_namesz, 4);
    char name[4];
    uint8_t id[ID_BYTES_MAX];
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz <= ID_BYTES_MAX &&
        read_memory(fd, name_at, name, 4) && memcmp(name, "GNU", 4) == 0 && read_memory(fd, id_at, id, note.n_descsz)) {
      for (uint32_t i = 0; i < 2 * note.n_descsz; ++i) text[i] = "0123456789abcdef"[id[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
      text[2 * note.n_descsz] = '\0';
      return true;
    }
    at = id_at + hz4_round_up(note.n_descsz, 4);
  }
  return false;
}

static bool find_build_id(int fd, uintptr_t image, char *text) {
  Elf64_Ehdr head;
  if (!read_memory(fd, image, &head, sizeof(head)) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return false;
  for (uint32_t i = 0; i < head.e_phnum; ++i) {
    Elf64_Phdr part;
    if (!read_memory(fd, image + head.e_phoff + i * sizeof(part), &part, sizeof(part))) return false;
    // The first bytes of a file, where its notes are, are mapped as they stand in it.
    uintptr_t at = image + part.p_offset;
    if (part.p_type == PT_NOTE && find_in_notes(fd, at, at + part.p_memsz, text)) return true;
  }
  return false;
}

bool hz4_maps_build_id(const struct hz4_map *map, char text[HZ4_BUILD_ID_TEXT_BYTES]) {
  if (map->image == 0) return false;
  long fd = hz4_syscall(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return false;
  bool found = find_build_id((int)fd, map->image, text);
  hz4_syscall(SYS_close, fd);
  return found;
}
