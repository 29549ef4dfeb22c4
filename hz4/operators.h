// Rank 12. operator new and delete: what operators.c, which defines them, needs of the C++ library, which hz4 does
// not link. An archive names the library's symbols (operators_archive.c); libhz4.so, which C programs load too, looks
// for them (operators_shared.c).
#ifndef HZ4_OPERATORS_H_
#define HZ4_OPERATORS_H_

#include "hz4/base.h"

// std::new_handler
typedef void (*hz4_new_handler)(void);

// std::get_new_handler, for the code at `caller`; NULL also where there is no C++ library.
hz4_new_handler hz4_operators_handler(const void *caller);

// Throws std::bad_alloc to the code at `caller`; aborts with one line where there is no C++ library.
__attribute__((noreturn, cold)) void hz4_operators_throw(const void *caller);

// ---- those by which the standard defines the others: hz4's, or what the program has in their place ----

#define HZ4_OPERATOR __attribute__((visibility("default"), weak))

HZ4_OPERATOR void *_Znwm(size_t size);
HZ4_OPERATOR void *_ZnwmSt11align_val_t(size_t size, size_t align);
HZ4_OPERATOR void _ZdlPv(void *ptr);
HZ4_OPERATOR void _ZdlPvSt11align_val_t(void *ptr, size_t align);
HZ4_OPERATOR void _ZdaPv(void *ptr);
HZ4_OPERATOR void _ZdaPvSt11align_val_t(void *ptr, size_t align);

void *hz4_Znwm(size_t size);
void *hz4_ZnwmSt11align_val_t(size_t size, size_t align);

// Whether the name is hz4's: the linker has decided, or the dynamic linker at load.
#define HZ4_OPERATOR_IS_OURS(name) HZ4_LIKELY(name == hz4##name)

#endif  // HZ4_OPERATORS_H_
