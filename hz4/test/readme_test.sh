#!/bin/sh
# README.md's list of options is what the table in options.h says.  Its program takes no arguments.
set -eu
"$1" | while IFS= read -r line; do
  grep -qxF -e "$line" "$2" || {
    echo "README.md lacks this line: $line"
    exit 1
  }
done
listed=$("$1" | wc -l)
in_readme=$(grep -c '^HZ4_[A-Z_]* (' "$2")
[ "$listed" -eq "$in_readme" ] || {
  echo "README.md lists $in_readme options, the table has $listed"
  exit 1
}
if said=$("$1" --none 2>&1) || [ "$said" != "hz4-options: unexpected argument --none; it takes none, and prints the options" ]; then
  echo "an argument is taken, or: $said"
  exit 1
fi
