#!/bin/bash
# gdb: a program with threads stopped, its stacks and variables printed, also by gdb's python
set -eu
cat >program.c <<'C'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct node { int id; char name[20]; struct node *next; };
static struct node *list;
static void visit(int depth) {
  struct node *node = malloc(sizeof *node);
  *node = (struct node){.id = depth, .next = list};
  snprintf(node->name, sizeof node->name, "node %d", depth);
  list = node;
  if (depth > 0) visit(depth - 1);
}
static void *run(void *argument) { visit(30); return argument; }
int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, run, NULL);
  pthread_join(thread, NULL);
  int count = 0;
  for (struct node *node = list; node; node = node->next) count++;
  printf("%d nodes, %zu\n", count, strlen(list->name));
  return 0;
}
C
gcc -g -O0 program.c -o program -lpthread
cat >script.py <<'PY'
import gdb
node, names = gdb.parse_and_eval("list"), []
while node:
    names.append(node["name"].string() * 100)
    node = node["next"]
print(len(names), sum(map(len, names)), names[-1][:7])
print(sorted(field.name for field in gdb.lookup_type("struct node").fields()))
PY
gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'set startup-with-shell off' -ex 'set width 0' \
  -ex 'break visit if depth == 0' -ex run -ex 'backtrace -full 31' -ex 'print *list' -ex 'print *list->next->next' \
  -ex finish -ex 'source script.py' -ex 'tbreak 23' -ex continue -ex 'info locals' -ex continue ./program 2>&1 |
  sed -E 's/0x[0-9a-f]+|[0-9]{12,}/ADDRESS/g; s/\(LWP [0-9]+\)/(LWP)/g; s/process [0-9]+/process/'
gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'info functions' -ex 'info types' -ex 'ptype struct node' \
  -ex 'disassemble main' ./program | sha256sum
gdb -nx -batch -ex 'info functions ^std::' -ex 'maint print msymbols' "$(command -v gdb)" | sha256sum
