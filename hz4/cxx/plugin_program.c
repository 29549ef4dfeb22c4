// A C program, which has no C++ library, and loads a library that has: plugin_program <plugin>. With "-" in its place
// it calls operator new for too much itself, as a program would that was linked so by mistake.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "hz4/env/check.h"

int main(int argc, char **argv) {
  CHECK(argc == 2);
  CHECK(dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv") == NULL);
  void *(*operator_new)(size_t);
  *(void **)&operator_new = dlsym(RTLD_DEFAULT, "_Znwm");
  CHECK(operator_new != NULL);
  if (strcmp(argv[1], "-") == 0) {
    CHECK(operator_new(100) != NULL);
    operator_new(SIZE_MAX);
    return 1;
  }
  void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(plugin != NULL);
  const char *(*run)(void);
  *(void **)&run = dlsym(plugin, "RunPlugin");
  CHECK(run != NULL);
  const char *wrong = run();
  if (wrong != NULL) fprintf(stderr, "%s\n", wrong);
  CHECK(wrong == NULL);
  CHECK(dlclose(plugin) == 0);
  puts("PASSED");
  return 0;
}
