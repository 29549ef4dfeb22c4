// Ends with 0 when operator new for too much throws std::bad_alloc.
#include <stddef.h>
#include <stdint.h>

#include <new>
#include <string>
#include <vector>

int main(int argc, char **argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  try {
    (void)::operator new(SIZE_MAX / 2 + arguments.size());
  } catch (const std::bad_alloc &) {
    return 0;
  }
  return 1;
}
