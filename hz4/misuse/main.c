#include "hz4/misuse/misuse.h"

// Not declared yet everywhere. Weak: it may be that the allocator has none.
extern void free_sized(void *ptr, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *ptr, size_t alignment, size_t size) __attribute__((weak));
extern void _ZdlPvm(void *ptr, size_t size) __attribute__((weak));
extern void _ZdlPvmSt11align_val_t(void *ptr, size_t size, size_t alignment) __attribute__((weak));

static const struct {
  const char *name;
  const struct misuse_case *cases;
} families[] = {
    {"double_free", misuse_double_free},
    {"invalid_free", misuse_invalid_free},
    {"sized_free", misuse_sized_free},
    {"realloc", misuse_realloc},
    {"usable_size", misuse_usable_size},
    {"overflow", misuse_overflow},
    {"underflow", misuse_underflow},
    {"write_after_free", misuse_write_after_free},
    {"read_after_free", misuse_read_after_free},
    {"reuse", misuse_reuse},
    {"size_zero", misuse_size_zero},
    {"information", misuse_information},
    {"structure", misuse_structure},
};

// Without stdio's buffer, which would be allocated.
static void say(const char *text) {
  size_t length = strlen(text);
  if (write(STDOUT_FILENO, text, length) != (ssize_t)length) _exit(1);
}

void *announce(void *ptr) {
  char line[32];
  snprintf(line, sizeof(line), "0x%016lx\n", (unsigned long)ptr);
  say(line);
  void *volatile hidden = ptr;
  return hidden;
}

void went_on(void) {
  say("went on\n");
}

void skip(void) {
  say("skipped\n");
  _exit(0);
}

void in_thread(void *(*run)(void *), void *argument) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, argument) != 0 || pthread_join(thread, NULL) != 0) _exit(1);
}

void sized_free(void *ptr, size_t size) {
  if (free_sized != NULL) free_sized(ptr, size);
  else if (_ZdlPvm != NULL) _ZdlPvm(ptr, size);
  else skip();
}

void aligned_sized_free(void *ptr, size_t alignment, size_t size) {
  if (free_aligned_sized != NULL) free_aligned_sized(ptr, alignment, size);
  else if (_ZdlPvmSt11align_val_t != NULL) _ZdlPvmSt11align_val_t(ptr, size, alignment);
  else skip();
}

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); ++i) {
    for (const struct misuse_case *one = families[i].cases; one->name != NULL; ++one) {
      char name[64];
      snprintf(name, sizeof(name), "%s/%s", families[i].name, one->name);
      if (argc == 1) {
        say(name);
        say("\n");
      } else if (strcmp(argv[1], name) == 0) {
        say(one->run(one->size, one->by) ? "survived\n" : "harmless\n");
        return 0;
      }
    }
  }
  return argc == 1 ? 0 : 2;
}
