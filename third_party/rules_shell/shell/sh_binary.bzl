"""sh_binary, which newer Bazels load from rules_shell and this one has built in."""

sh_binary = native.sh_binary
