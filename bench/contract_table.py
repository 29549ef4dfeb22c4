"""Puts the contract suite (hz4/contract/suite.h) to several allocators, and prints who keeps which row of the contract.

usage: contract_table [options]

  bazel run //bench:contract_table -- --markdown

Every allocator is preloaded into the same program; that the preload took effect is checked. A cell is how many checks
of the row were kept, of how many. Below the table stand the broken checks: those of one row that broke in the same way
share a line. A check that the machine does not allow is in no figure, and is named on stderr.

Exit: 0, 1 when hz4 broke a check or a program died, 2 for bad arguments.
"""

import argparse
import collections
import os
import subprocess
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, _HERE)
import compare_stats  # noqa: E402
from allocators import Parser, add_arguments, check_preload, choose, die, environment_of, say  # noqa: E402

SUBJECT = "hz4"

Check = collections.namedtuple("Check", "state row name source detail")


def parse(argv):
    parser = Parser("contract_table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    usage=argparse.SUPPRESS, allow_abbrev=False)
    add_arguments(parser)
    parser.add_argument("--markdown", action="store_true", help="a Markdown table")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="only checks whose name begins so")
    parser.add_argument("--bin-dir", default=os.path.join(_HERE, "..", "hz4"), metavar="DIR",
                        help="where libhz4.so and contract/contract_plain are (default: beside this program)")
    options = parser.parse_args(argv)
    options.program = os.path.abspath(os.path.join(options.bin_dir, "contract", "contract_plain"))
    if not os.access(options.program, os.X_OK):
        parser.error("%s: no such program" % options.program)
    return options


def run(options, name, path):
    """The checks of one allocator."""
    environment = environment_of(options, name, path)
    done = subprocess.run([options.program, options.prefix], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace", text=True)
    if done.returncode not in (0, 1):
        last = (done.stderr.strip().splitlines() or [""])[-1]
        die(2 if done.returncode == 2 else 1, "%s: the program ended with %d: %s" % (name, done.returncode, last))
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    check_preload(name, path, lines[0][1])
    checks = [Check(*fields) for fields in lines[1:]]
    for check in checks:
        if check.state == "skipped":
            say("%s: %s was not checked: %s" % (name, check.name, check.detail))
    return checks


def cell(checks):
    count = collections.Counter(check.state for check in checks)
    return "%d/%d" % (count["kept"], count["kept"] + count["broken"])


def table(results, markdown):
    """Rows of the contract by allocators, in the order of the suite."""
    rows = list(dict.fromkeys(check.row for checks in results.values() for check in checks))
    lines = [["row", *results]]
    for row in rows:
        lines.append([row] + [cell([check for check in checks if check.row == row]) for checks in results.values()])
    lines.append(["all"] + [cell(checks) for checks in results.values()])
    return compare_stats.table(lines[0], lines[1:], markdown, left=(0,))


def broken(checks):
    """A line for each row and way to break it, with the rules and what they were broken for."""
    ways = collections.defaultdict(lambda: collections.defaultdict(list))
    for check in checks:
        if check.state == "broken":
            subject, _, rule = check.name.rpartition("/")
            ways[(check.row, check.detail)][rule].append(subject)
    lines = []
    for (row, detail), rules in ways.items():
        named = [rule + (" (%s)" % "; ".join(subjects) if subjects != [""] else "") for rule, subjects in rules.items()]
        lines.append("%s: %s: %s" % (row, detail, ", ".join(named)))
    return lines


def main(argv):
    # bazel run starts programs elsewhere: relative paths are the caller's.
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    options = parse(argv)
    allocators = choose(options, os.path.join(options.bin_dir, "libhz4.so"))
    results = {}
    for name, path in allocators.items():
        say("%s ..." % name)
        results[name] = run(options, name, path)
    print(table(results, options.markdown))
    for name, checks in results.items():
        lines = broken(checks)
        if lines:
            print("\n%s breaks %d:\n" % (name, sum(check.state == "broken" for check in checks)))
            print("\n".join(("- " if options.markdown else "  ") + line for line in lines))
    return 1 if any(check.state == "broken" for check in results.get(SUBJECT, [])) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        die(130, "interrupted")
