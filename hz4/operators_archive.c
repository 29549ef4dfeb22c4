// Rank 12. The C++ library's part for operators that lie in an archive: only a C++ program has them linked in, and it
// has that library.
#include <stdlib.h>

#include "hz4/operators.h"

hz4_new_handler _ZSt15get_new_handlerv(void);   // std::get_new_handler
_Noreturn void _ZSt17__throw_bad_allocv(void);  // std::__throw_bad_alloc

// Who uses the operators has shim.c out of the archive as well, and with it all of malloc.
__attribute__((used)) static void *(*const shim)(size_t) = malloc;

hz4_new_handler hz4_operators_handler(const void *caller) {
  (void)caller;
  return _ZSt15get_new_handlerv();
}

void hz4_operators_throw(const void *caller) {
  (void)caller;
  _ZSt17__throw_bad_allocv();
}
