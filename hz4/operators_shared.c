// Rank 12. The C++ library's part for libhz4.so, and the operators new that do not throw.
//
// The library may come with the program, or later and for one plugin alone (a C program that loads C++): then it is
// looked for when memory has run out, in what the caller itself was linked with.
#include <dlfcn.h>

#include "hz4/alloc.h"
#include "hz4/operators.h"

// Part of libc since glibc 2.34; before that hz4 does without.
#pragma weak dladdr
#pragma weak dlclose
#pragma weak dlopen
#pragma weak dlsym

// Where the library came with the program. Named here, they are exported by a program that has it inside
// (-static-libstdc++).
#pragma weak _ZSt15get_new_handlerv
#pragma weak _ZSt17__throw_bad_allocv
hz4_new_handler _ZSt15get_new_handlerv(void);  // std::get_new_handler
void _ZSt17__throw_bad_allocv(void);           // std::__throw_bad_alloc

// The symbol as the object sees it that holds `caller`; NULL: not at all.
static void *find(const char *symbol, const void *caller) {
  Dl_info object;
  if (dladdr == NULL || dlopen == NULL || dlsym == NULL || dlclose == NULL || dladdr(caller, &object) == 0) return NULL;
  void *handle = dlopen(object.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == NULL) return NULL;
  void *found = dlsym(handle, symbol);
  dlclose(handle);  // the caller is in it, so that it stays
  return found;
}

hz4_new_handler hz4_operators_handler(const void *caller) {
  hz4_new_handler (*get)(void) = _ZSt15get_new_handlerv;
  if (get == NULL) *(void **)&get = find("_ZSt15get_new_handlerv", caller);
  return get != NULL ? get() : NULL;
}

void hz4_operators_throw(const void *caller) {
  void (*throw)(void) = _ZSt17__throw_bad_allocv;
  if (throw == NULL) *(void **)&throw = find("_ZSt17__throw_bad_allocv", caller);
  if (throw != NULL) throw();
  hz4_panic("operator new: no memory, and no C++ library to throw std::bad_alloc");
}

// ---- new that does not throw ----

static void *library_operator(const char *name, const void *caller) {
  void *next = dlsym != NULL ? dlsym(RTLD_NEXT, name) : NULL;
  return next != NULL ? next : find(name, caller);
}

// Without a handler nothing need be thrown, unless the program has a throwing new of its own. Else the C++ library's
// does what is left: it calls the throwing new, and catches.
static void *new(const char *name, size_t size, const void *nothrow, const void *caller) {
  if (HZ4_OPERATOR_IS_OURS(_Znwm)) {
    void *block = hz4_alloc_malloc(size);
    if (HZ4_LIKELY(block != NULL) || hz4_operators_handler(caller) == NULL) return block;
  }
  void *(*library_new)(size_t, const void *);
  *(void **)&library_new = library_operator(name, caller);
  return library_new != NULL ? library_new(size, nothrow) : NULL;
}

static void *new_aligned(const char *name, size_t size, size_t align, const void *nothrow, const void *caller) {
  if (HZ4_OPERATOR_IS_OURS(_ZnwmSt11align_val_t)) {
    void *block = hz4_alloc_aligned(align, size);
    if (HZ4_LIKELY(block != NULL) || hz4_operators_handler(caller) == NULL) return block;
  }
  void *(*library_new)(size_t, size_t, const void *);
  *(void **)&library_new = library_operator(name, caller);
  return library_new != NULL ? library_new(size, align, nothrow) : NULL;
}

#define DEFINE_NOTHROW(name)                                                                                  \
  HZ4_OPERATOR void *name##RKSt9nothrow_t(size_t size, const void *nothrow) {                                 \
    return new(#name "RKSt9nothrow_t", size, nothrow, __builtin_return_address(0));                           \
  }                                                                                                           \
  HZ4_OPERATOR void *name##St11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *nothrow) {    \
    return new_aligned(#name "St11align_val_tRKSt9nothrow_t", size, align, nothrow, __builtin_return_address(0)); \
  }
DEFINE_NOTHROW(_Znwm)
DEFINE_NOTHROW(_Znam)
