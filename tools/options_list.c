// Prints the table of options, as hz4 knows it.
#include <unistd.h>

#include "hz4/hz4.h"

int main(void) {
  hz4_options_print(STDOUT_FILENO);
  return 0;
}
