#!/bin/sh
# run.sh MACHINE PROGRAM ARGUMENT...: for --run_under. The program, and all that it starts, may be of that machine: the
# kernel is told to run such files by qemu-user. Unless it knows already, it is told so in namespaces of our own.
set -eu
machine=$1
shift
binfmt=/proc/sys/fs/binfmt_misc
[ ! -e "$binfmt/qemu-$machine" ] || exec "$@"

case $machine in
  aarch64) elf_machine='\xb7\x00' ;;
  riscv64) elf_machine='\xf3\x00' ;;
esac
export RULE=":qemu-$machine:M:18:$elf_machine::/usr/bin/qemu-$machine-static:F" BINFMT=$binfmt
# shellcheck disable=SC2016 # the inner shell's variables
exec unshare --user --map-current-user --mount sh -c '
  if ! { mount -t binfmt_misc none "$BINFMT" && printf "%s" "$RULE" >"$BINFMT/register"; } then
    echo "run.sh: needs qemu-user-static, and Linux 6.7 or one that runs such programs already (binfmt_misc)" >&2
    exit 1
  fi
  unset RULE BINFMT
  exec "$@"' sh "$@"
