// What tests must know of qemu-user, which stands between the program and the kernel: it takes any advice about memory and
// follows little of it, limits no addresses, keeps books of its own for each page, and when a program aborts adds a line to
// what that said.
#ifndef HZ4_TEST_QEMU_H_
#define HZ4_TEST_QEMU_H_

#include <sys/mman.h>

namespace hz4_test {

inline bool UnderQemu() { return madvise(nullptr, 0, -1) == 0; }

}  // namespace hz4_test

// For what a death test expects on stderr: a report's line may end with a size class, and more lines follow it.
#define HZ4_TEST_LAST_LINE_END "(, size class [0-9]+)?\n(hz4:   [^\n]*\n)*(qemu: [^\n]*\n)?$"

#endif  // HZ4_TEST_QEMU_H_
