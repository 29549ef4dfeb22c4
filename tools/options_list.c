// Prints the table of options, as hz4 knows it.
#include <stdio.h>
#include <unistd.h>

#include "hz4/hz4.h"

int main(int argc, char **argv) {
  if (argc > 1) {
    fprintf(stderr, "hz4-options: unexpected argument %s; it takes none, and prints the options\n", argv[1]);
    return 2;
  }
  hz4_options_print(STDOUT_FILENO);
  return 0;
}
