#include "cmd/program.h"

#include <elf.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cmd/cmd.h"

#ifndef HZ4_LIBDIR
#define HZ4_LIBDIR "../lib"  // from this program's folder
#endif

// In every file that has hz4 linked in.
#define MARK "HZ4_DIRTY_SHIFT"

enum { SCRIPTS_MOST = 5 };  // as the kernel

__attribute__((format(printf, 2, 3))) static bool no(char *why, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, PROGRAM_WHY, format, arguments);
  va_end(arguments);
  return false;
}

__attribute__((format(printf, 2, 3))) static bool yes(char *why, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, PROGRAM_WHY, format, arguments);
  va_end(arguments);
  return true;
}

// ---- files ----

bool program_library(const char *asked, char *path, size_t size, char *why) {
  static const char *const places[] = {HZ4_LIBDIR "/libhz4.so.0", "../hz4/libhz4.so"};
  char self[PATH_MAX] = "", full[PATH_MAX];
  if (asked == NULL) {
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) return no(why, "/proc is not mounted: --library says where hz4 is");
    self[length] = '\0';
    const char *folder = dirname(self);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
      if (snprintf(path, size, "%s/%s", folder, places[i]) < (int)size && realpath(path, full) != NULL) break;
      *full = '\0';
    }
    if (*full == '\0') return no(why, "libhz4.so.0 is not where this command expects it: --library says where");
  } else if (realpath(asked, full) == NULL) {
    return no(why, "%s: %s", asked, strerror(errno));
  }
  if (strpbrk(full, " :\t") != NULL) return no(why, "%s: LD_PRELOAD cannot hold a path with a blank or a colon", full);
  struct elf elf;
  if (!elf_open(full, &elf)) return no(why, "%s: %s", full, errno == ENOEXEC ? "no library" : strerror(errno));
  bool good = elf_exports(&elf, "hz4_malloc") && elf_exports(&elf, "malloc") && elf.interpreter == NULL;
  elf_close(&elf);
  if (!good) return no(why, "%s is not hz4's library", full);
  if (snprintf(path, size, "%s", full) >= (int)size) return no(why, "%s: %s", full, strerror(ENAMETOOLONG));
  return true;
}

static bool is_program(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

bool program_find(const char *name, char *path, size_t size, char *why) {
  if (strchr(name, '/') != NULL || *name == '\0') {
    struct stat status;
    if (stat(name, &status) != 0) return no(why, "%s: %s", name, strerror(errno));
    if (!is_program(name)) return no(why, "%s is no program that may be run", name);
    snprintf(path, size, "%s", name);
    return true;
  }
  const char *folders = getenv("PATH");
  if (folders == NULL) folders = "/bin:/usr/bin";
  for (const char *end; *folders != '\0'; folders = *end == '\0' ? end : end + 1) {
    end = strchrnul(folders, ':');
    int length = (int)(end - folders);
    snprintf(path, size, "%.*s%s%s", length, folders, length == 0 ? "" : "/", name);
    if (is_program(path)) return true;
  }
  return no(why, "%s: there is no such program in PATH", name);
}

// ---- programs ----

// Whether the kernel would give it rights that who starts it has not: then the dynamic linker does not trust him.
static bool is_privileged(const char *path) {
  struct stat status;
  struct statvfs mount;
  if (stat(path, &status) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return false;
  if (statvfs(path, &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0) return false;
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid()) return true;
  if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != getgid()) return true;
  return getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0;
}

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static const char *libc_of_interpreter(const char *interpreter) {
  const char *slash = strrchr(interpreter, '/');
  const char *name = slash != NULL ? slash + 1 : interpreter;
  if (begins(name, "ld-linux") || begins(name, "ld64.so") || begins(name, "ld.so")) return "glibc";
  return begins(name, "ld-musl") ? "musl" : name;
}

static const char *libc_of_library(const struct elf *library) {
  if (elf_needs(library, "libc.so.6")) return "glibc";
  return elf_needs(library, "libc.") ? "musl" : "an unknown C library";
}

// Of an ELF file alone.
static bool takes(const char *path, const struct elf *elf, const struct elf *library, char *why) {
  bool has_hz4 = elf_has_text(elf, MARK), exports = elf_exports(elf, "malloc");
  if (has_hz4 && (exports || elf_contains(elf, "malloc"))) return yes(why, "%s has hz4 linked in", path);
  if (elf->machine != library->machine || elf->wide != library->wide)
    return no(why, "%s is a program of %s, and the library of %s", path, elf_machine_name(elf->machine, elf->wide),
              elf_machine_name(library->machine, library->wide));
  if (elf->interpreter == NULL && !elf_needs(elf, "lib"))
    return no(why, "%s is linked statically, and takes no library: link it with libhz4.a", path);
  if (elf->interpreter != NULL) {
    const char *theirs = libc_of_interpreter(elf->interpreter), *ours = libc_of_library(library);
    if (strcmp(theirs, ours) != 0)
      return no(why, "%s uses the C library of %s, and the library is built for %s", path, theirs, ours);
  }
  if (is_privileged(path))
    return no(why, "%s is set-user-ID or has capabilities: the dynamic linker takes no library from who starts it", path);
  if (elf_exports(elf, "__asan_init") || elf_needs(elf, "libasan") || elf_exports(elf, "__tsan_init") ||
      elf_exports(elf, "__msan_init"))
    return no(why, "%s is built with a sanitizer, which is a malloc itself", path);
  if (exports || elf_contains(elf, "malloc"))
    return no(why, "%s has a malloc of its own, which comes before a preloaded one", path);
  return yes(why, "%s is linked dynamically, with %s", path, libc_of_library(library));
}

// The line behind "#!", cut at blanks: how many words. `line` keeps them.
static int script_words(const char *path, char line[256], char *words[8]) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  size_t length = fread(line, 1, 255, file);
  fclose(file);
  line[length] = '\0';
  if (length < 3 || line[0] != '#' || line[1] != '!' || memchr(line, '\0', length) != NULL) return 0;
  line[strcspn(line, "\n")] = '\0';
  int count = 0;
  char *rest = NULL;
  for (char *word = strtok_r(line + 2, " \t", &rest); word != NULL && count < 8; word = strtok_r(NULL, " \t", &rest))
    words[count++] = word;
  return count;
}

static bool takes_script(const char *path, const struct elf *library, char *why, int depth);

// As program_takes; `depth` scripts are above.
static bool takes_any(const char *path, const struct elf *library, char *why, int depth) {
  struct elf elf;
  if (!elf_open(path, &elf)) {
    if (errno == ENOEXEC) return takes_script(path, library, why, depth);
    if (errno == EACCES) return no(why, "%s may not be read, so that nobody knows what it takes", path);
    return no(why, "%s: %s", path, strerror(errno));
  }
  bool good = takes(path, &elf, library, why);
  elf_close(&elf);
  return good;
}

static bool takes_script(const char *path, const struct elf *library, char *why, int depth) {
  char line[256], *words[8], found[PATH_MAX], below[PROGRAM_WHY] = "";
  int count = script_words(path, line, words);
  if (count == 0) return no(why, "%s is no program: neither ELF nor a script with #!", path);
  if (depth >= SCRIPTS_MOST) return no(why, "%s is a script of a script of a script: the kernel refuses it", path);
  if (!is_program(words[0])) return no(why, "%s is a script of %s, which is no program", path, words[0]);
  bool good = takes_any(words[0], library, below, depth + 1);
  const char *base = strrchr(words[0], '/');
  if (good && strcmp(base != NULL ? base + 1 : words[0], "env") == 0) {
    int next = 1;  // env's options and assignments
    while (next < count && (words[next][0] == '-' || strchr(words[next], '=') != NULL)) ++next;
    good = next < count && program_find(words[next], found, sizeof found, below) &&
           takes_any(found, library, below, depth + 1);
  }
  snprintf(why, PROGRAM_WHY, "%s%s%s", depth == 0 ? path : "", depth == 0 ? " is a script: " : "", below);
  return good;
}

bool program_takes(const char *path, const struct elf *library, char *why) {
  return takes_any(path, library, why, 0);
}

// ---- processes ----

struct mapped {
  char **files;  // which have a malloc, each once, without the C library's; in the order of their addresses
  size_t count;
};

static bool is_libc(const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash != NULL ? slash + 1 : path;
  return begins(name, "libc.so") || begins(name, "libc-") || begins(name, "ld-") || begins(name, "libc.musl");
}

// A file as the process sees it.
static void path_of(pid_t pid, const char *file, char path[PATH_MAX]) {
  snprintf(path, PATH_MAX, "/proc/%d/root%s", (int)pid, file);
  if (access(path, R_OK) != 0) snprintf(path, PATH_MAX, "%s", file);
}

static bool file_exports(pid_t pid, const char *file, const char *name) {
  char path[PATH_MAX];
  struct elf elf;
  path_of(pid, file, path);
  // Gone since it was loaded, as after an upgrade: what it was is told by its name alone.
  if (!elf_open(path, &elf)) return begins(strrchr(file, '/') + 1, "libhz4.so");
  bool has = elf_exports(&elf, name);
  elf_close(&elf);
  return has;
}

// Of the executable mappings. `maps` is cut into lines; the files lie in it.
static struct mapped mallocs_of(pid_t pid, char *maps) {
  struct mapped found = {calloc(strlen(maps) / 32 + 1, sizeof(char *)), 0};
  char *rest = NULL;
  for (char *line = strtok_r(maps, "\n", &rest); line != NULL && found.files != NULL; line = strtok_r(NULL, "\n", &rest)) {
    char *file = strchr(line, '/'), *deleted = strstr(line, " (deleted)");
    if (file == NULL || strstr(line, " r-xp ") == NULL || is_libc(file)) continue;
    if (deleted != NULL) *deleted = '\0';
    bool seen = false;
    for (size_t i = 0; i < found.count; ++i) seen |= strcmp(found.files[i], file) == 0;
    if (!seen && file_exports(pid, file, "malloc")) found.files[found.count++] = file;
  }
  return found;
}

// Which of them comes first: of those that are preloaded; else, for a server may write over its environment, the one with
// the highest addresses, which the kernel gives to what is loaded first.
static const char *first_malloc(const struct mapped *found, const char *preload) {
  for (const char *word = preload; word != NULL && *word != '\0';) {
    const char *end = word + strcspn(word, ": "), *slash = memrchr(word, '/', (size_t)(end - word));
    const char *name = slash != NULL ? slash + 1 : word;
    for (size_t i = 0; i < found->count && end > name; ++i) {
      // By the beginning of its name, for links lead to others: libhz4.so.0 is libhz4.so.0.1.0.
      if (strncmp(strrchr(found->files[i], '/') + 1, name, (size_t)(end - name)) == 0) return found->files[i];
    }
    word = *end == '\0' ? end : end + 1;
  }
  return found->count != 0 ? found->files[found->count - 1] : NULL;
}

static bool is_secure(pid_t pid) {
  size_t size = 0;
  char *entries = cmd_read_proc(pid, "auxv", &size);
  bool secure = false;
  for (size_t i = 0; entries != NULL && i + 2 * sizeof(long) <= size; i += 2 * sizeof(long)) {
    unsigned long entry[2];
    memcpy(entry, entries + i, sizeof entry);
    if (entry[0] == AT_SECURE) secure = entry[1] != 0;
  }
  free(entries);
  return secure;
}

// Why hz4 is not in the process.
static bool why_absent(pid_t pid, const char *exe, const char *preload, char *why) {
  struct elf elf;
  bool opened = elf_open(exe, &elf), is_static = opened && elf.wide && elf.interpreter == NULL;
  if (opened) elf_close(&elf);
  if (is_static) return no(why, "it is linked statically, and takes no library: link it with libhz4.a");
  if (preload == NULL) return no(why, "it was started without: its LD_PRELOAD is not set");
  if (strstr(preload, "hz4") == NULL) return no(why, "it was started without: its LD_PRELOAD is %s", preload);
  if (is_secure(pid))
    return no(why, "it is set-user-ID or has capabilities (AT_SECURE): the dynamic linker takes no library from who starts it");
  return no(why, "the dynamic linker has not loaded LD_PRELOAD=%s: no such file for it, or of another machine or C library",
            preload);
}

bool program_has(pid_t pid, char *why) {
  char exe[64];
  snprintf(exe, sizeof exe, "/proc/%d/exe", (int)pid);
  size_t size = 0;
  char *maps = cmd_read_proc(pid, "maps", NULL);
  if (maps == NULL) return no(why, "its mappings may not be read: %s", strerror(errno));
  char *environment = cmd_read_proc(pid, "environ", &size);
  const char *preload = environment != NULL ? cmd_variable(environment, size, "LD_PRELOAD") : NULL;
  struct mapped found = mallocs_of(pid, maps);
  struct elf elf;
  const char *first = first_malloc(&found, preload);
  bool good = false;
  if (*maps == '\0') {
    no(why, "it has no memory of its own: a thread of the kernel, or a zombie");
  } else if (elf_open(exe, &elf)) {
    bool exports = elf_exports(&elf, "malloc"), contains = elf_contains(&elf, "malloc");
    bool has_hz4 = elf_has_text(&elf, MARK), is_static = elf.interpreter == NULL;
    elf_close(&elf);
    if (has_hz4 && (exports || contains || is_static)) good = yes(why, "linked in");
    else if (!is_static && (exports || contains)) no(why, "the program has a malloc of its own");
    else if (first == NULL) why_absent(pid, exe, preload, why);
    else if (file_exports(pid, first, "hz4_malloc")) good = yes(why, "%s", first);
    else no(why, "its malloc is that of %s", first);
  } else {
    no(why, "its program may not be read: %s", strerror(errno));
  }
  free(found.files);
  free(environment);
  free(maps);
  return good;
}
