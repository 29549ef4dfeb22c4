"""sh_test, which newer Bazels load from rules_shell and this one has built in."""

sh_test = native.sh_test
