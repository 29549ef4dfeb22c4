#!/bin/bash
# valgrind: memcheck, helgrind, massif and callgrind over a program that leaks, races and reads beyond its block
set -eu
cat >program.c <<'C'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static int counter;
static void *run(void *argument) {
  for (int i = 0; i < 300; i++) {
    char *block = malloc(i * 7 + 1);
    block[i] = 1;
    counter += block[i];
    free(block);
  }
  return argument;
}
int main(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, run, NULL);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  volatile int *leak = malloc(100);
  printf("%d\n", leak[25] == leak[24]);
  leak = malloc(200);
  return leak == NULL;
}
C
gcc -g -O0 program.c -o program -lpthread
# Lines without process numbers, addresses and the versions of libraries.
say() { sed -E 's/^(==|--)[0-9]+(==|--) //; s/0x[0-9A-Fa-f]+/ADDRESS/g' "$1" | grep -E "$2"; }
valgrind --log-file=memcheck.log --leak-check=full ./program
say memcheck.log 'Invalid read|ADDRESS is 0 bytes after|definitely lost:|in use at exit|ERROR SUMMARY'
valgrind --tool=helgrind --log-file=helgrind.log ./program
say helgrind.log 'Possible data race' | head -n 1
valgrind --tool=massif --massif-out-file=massif.out --log-file=massif.log ./program
ms_print massif.out | grep -o 'program.c:[0-9]*' | sort -u
valgrind --tool=callgrind --callgrind-out-file=callgrind.out --log-file=callgrind.log ./program
callgrind_annotate callgrind.out | grep -o 'program.c:run'
