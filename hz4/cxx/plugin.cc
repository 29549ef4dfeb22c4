// A C++ library that a C program loads for itself alone: exceptions and new_handlers must find its C++ library.
#include <stddef.h>
#include <stdint.h>

#include <new>
#include <stdexcept>

namespace {

volatile size_t too_much = SIZE_MAX - 100;
int handled;

struct OwnError {};
void GiveUpAtThird() {
  if (++handled == 3) std::set_new_handler(nullptr);
}
void ThrowOwn() { throw OwnError(); }

}  // namespace

// What went wrong, or null.
extern "C" __attribute__((visibility("default"))) const char *RunPlugin() {
  try {
    (void)::operator new(too_much);
    return "operator new gave something";
  } catch (const std::bad_alloc &) {
  }
  try {
    (void)::operator new(too_much, std::align_val_t{4096});
    return "the aligned operator new gave something";
  } catch (const std::bad_alloc &) {
  }
  if (::operator new(too_much, std::nothrow) != nullptr) return "the nothrow operator new gave something";

  std::set_new_handler(GiveUpAtThird);
  try {
    (void)::operator new(too_much);
    return "operator new with a handler gave something";
  } catch (const std::bad_alloc &) {
  }
  if (handled != 3) return "the handler ran another number of times than three";

  std::set_new_handler(ThrowOwn);
  try {
    (void)::operator new(too_much);
    return "operator new with a handler that throws gave something";
  } catch (const OwnError &) {
  }
  if (::operator new(too_much, std::nothrow) != nullptr) return "with a handler that throws, nothrow gave something";
  if (::operator new[](too_much, std::align_val_t{64}, std::nothrow) != nullptr) return "new[] gave something";
  std::set_new_handler(nullptr);

  int *array = new int[1000];
  for (int i = 0; i < 1000; i++) array[i] = i;
  delete[] array;
  return nullptr;
}
