"""sh_library, which newer Bazels load from rules_shell and this one has built in."""

sh_library = native.sh_library
