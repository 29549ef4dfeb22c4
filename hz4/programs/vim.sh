#!/bin/bash
# vim in Ex mode: 6,000 lines changed by patterns and macros, undone, sorted, folded, highlighted and diffed
set -eu
seq 1 6000 | awk '{ print "line", $1, $1 * 7919 % 10007, "int f" $1 "(char *word) { return " $1 "; }" }' >text.c
cat >script.vim <<'VIM'
set nocompatible undolevels=1000 noswapfile viminfo=
edit text.c
syntax on
%s/\v(\d+) (\d+)/\2-\1/g
g/7$/normal! AXx
g/33/m0
sort n /-/
v/1/d
undo
redo
undo
%s/word/\=repeat('w', line('.') % 50)/
let words = {}
for number in range(1, line('$')) | let words[getline(number)[5:8]] = number | endfor
call append('$', map(sort(keys(words)), 'v:val . words[v:val]'))
let list = map(range(1, 20000), 'string(v:val * v:val)')
call append('$', join(filter(list, 'v:val =~ "7$"'), ','))
1,2000fold
%y a
call writefile([synIDattr(synID(5, 20, 1), 'name'), string(len(@a)), string(undotree().seq_last)], 'info')
write! changed
qall!
VIM
vim -N -u NONE -i NONE -es -S script.vim </dev/null || echo "status $?"
cat info
wc -lc changed
sha256sum <changed
