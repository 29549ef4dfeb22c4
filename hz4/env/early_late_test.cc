// malloc before every constructor of the program and after the last of its destructors: argv[1] is a library whose
// constructor has used malloc already, when it is preloaded. hz4 is the malloc of this program.
#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <unistd.h>

#include "hz4/hz4.h"

namespace {

[[noreturn]] void Fail(const char *what) {
  ssize_t written = write(STDERR_FILENO, what, strlen(what));
  (void)written;
  _exit(1);
}

// Allocates in all ranges, from hz4: hz4_malloc_usable_size aborts on any other pointer.
void Use(const char *where) {
  for (size_t size : {1, 100, 5000, 300000, 3000000}) {
    auto *block = static_cast<unsigned char *>(malloc(size));
    if (block == nullptr || hz4_malloc_usable_size(block) < size) Fail(where);
    memset(block, 0x42, size);
    block = static_cast<unsigned char *>(realloc(block, size * 2));
    if (block == nullptr || block[size - 1] != 0x42) Fail(where);
    free(block);
  }
}

char *from_constructor;
int steps;

void Step(int expected, const char *where) {
  if (steps++ != expected) Fail(where);
  Use(where);
}

// Before the constructors of any library, a preloaded one's included: nothing but the dynamic linker ran before.
void PreInit() { Step(0, "preinit_array\n"); }
__attribute__((section(".preinit_array"), used)) void (*const pre_init)() = PreInit;

// The lowest number that the compiler lets a program have is 101; 0 to 100 are the implementation's.
__attribute__((constructor(101))) void FirstConstructor() {
  Step(1, "first constructor\n");
  from_constructor = strdup("from the first constructor");
}

__attribute__((destructor(101))) void LastDestructor() {
  Step(8, "last destructor\n");
  if (strcmp(from_constructor, "from the first constructor") != 0) Fail("content\n");
  free(from_constructor);
  hz4_check();
  static const char done[] = "last destructor done\n";
  if (write(STDOUT_FILENO, done, sizeof(done) - 1) < 0) Fail("write\n");
}

struct Global {
  std::vector<std::string> strings;
  Global() {
    Step(2, "global constructor\n");
    for (int i = 0; i < 1000; i++) strings.emplace_back(100, 'g');
  }
  ~Global() {
    Step(7, "global destructor\n");
    if (strings[999] != std::string(100, 'g')) Fail("global content\n");
  }
} global;

struct PerThread {
  std::vector<std::string> strings{10, std::string(1000, 't')};
  bool of_main;
  explicit PerThread(bool main) : of_main(main) {}
  ~PerThread() {
    if (of_main) Step(4, "thread_local destructor of main\n");
    else Use("thread_local destructor\n");
    if (strings[9] != std::string(1000, 't')) Fail("thread_local content\n");
  }
};

void InThread() {
  thread_local PerThread mine(false);
  mine.strings.emplace_back(5000, 'u');
}

}  // namespace

int main() {
  thread_local PerThread mine(true);
  if (mine.strings.size() != 10) Fail("thread_local\n");
  for (int i = 0; i < 50; i++) {
    std::thread(InThread).join();
  }
  Step(3, "main\n");
  // Handlers run in the reverse order, after the thread_local destructors of main.
  atexit([] { Step(6, "atexit 2\n"); });
  atexit([] { Step(5, "atexit 1\n"); });
  // The preloaded library left a block; it was allocated before any code of this program ran.
  auto **early = static_cast<char **>(dlsym(RTLD_DEFAULT, "early_block"));
  if (getenv("LD_PRELOAD") != nullptr) {
    if (early == nullptr || *early == nullptr || strcmp(*early, "early") != 0) Fail("early block\n");
    if (hz4_malloc_usable_size(*early) < 6) Fail("early block is not of hz4\n");
  }
  printf("main done\n");
  fflush(stdout);
  return 0;
}
