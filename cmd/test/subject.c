// Prints whose malloc it has, and what it was told; then waits for the end of its input. "hide": writes over its environment,
// as servers do for their titles.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef OWN
static char memory[1 << 20];
static size_t used;

void *malloc(size_t size) {
  void *block = memory + used;
  used += (size + 15) / 16 * 16;
  return block;
}

void *calloc(size_t count, size_t size) { return malloc(count * size); }

void *realloc(void *block, size_t size) { return block == NULL ? malloc(size) : NULL; }

void free(void *block) { (void)block; }
#endif

static void hide(char **variables) {
  for (; *variables != NULL; ++variables) memset(*variables, ' ', strlen(*variables));
}

int main(int argc, char **argv, char **environment) {
  free(malloc(100));
  const char *owner = "static";
#ifndef STATIC
  Dl_info info;
  void *found = dlsym(RTLD_DEFAULT, "malloc");
  owner = dladdr(found, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "?";
  if (dlsym(RTLD_DEFAULT, "hz4_malloc") != NULL && strstr(owner, "hz4") != NULL) owner = "hz4";
#endif
  printf("%s", owner);
  for (int i = 1; i < argc; ++i) printf(" %s", argv[i]);
  const char *variables[] = {"HZ4_DIRTY_KIB", "HZ4_FRONT", "HZ4_STATS"};
  for (size_t i = 0; i < sizeof variables / sizeof variables[0]; ++i)
    if (getenv(variables[i]) != NULL) printf(" %s=%s", variables[i], getenv(variables[i]));
  if (argc > 1 && strcmp(argv[1], "hide") == 0) hide(environment);
  puts("");
  fflush(stdout);
  char c;
  while (read(STDIN_FILENO, &c, 1) > 0) {
  }
  return 7;
}
