"""Lines and branches of hz4/ that the tests and the fuzzers' corpora run, by llvm-cov.

  bazel run //tools:coverage -- [--check] [--html DIR] [TARGET...]

Builds with --config=coverage (clang-19, llvm-19), runs the tests below, or those given, and prints a table by file, and
every line that no test ran. The tests' own sources and the kernel that is a fake do not count. --check: fails below 95%
of all lines or 85% of all branches. --html: where the report goes ($TMPDIR/hz4-coverage).
"""

import argparse
import os
import subprocess
import sys
import tempfile

LEAST_LINES, LEAST_BRANCHES = 95.0, 85.0
# Not hz4/weave, which runs changed copies of the sources, and not hz4/programs, which compares outputs.
TARGETS = ["//hz4:all", "//hz4/contract:all", "//hz4/env:all", "//hz4/test:all", "//fuzz:all"]
# What is measured is hz4/NAME.c and .h.
NOT_MEASURED = r"(^|/)(hz4/[^/]+|fuzz|tools|bazel-out|external|usr)/"


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True, check=True, **options).stdout


def run_tests(targets, profiles):
    """Runs the targets so that their profiles go to the directory; False when one failed."""
    # By target: %m tells programs apart by their sizes only, and where two of one size link the same modules in another
    # order, each would count in the places of the other.
    name = profiles + "/${TEST_TARGET##*/}-%c%m.profraw"
    return subprocess.call([
        "./bazelw", "test", "--config=coverage", "--keep_going", "--nocache_test_results", "--noshow_progress",
        "--sandbox_writable_path=" + profiles,
        "--run_under=/bin/sh -c 'LLVM_PROFILE_FILE=%s exec \"$0\" \"$@\"'" % name, *targets,
    ], stdout=sys.stderr) == 0


def programs(targets):
    """The files of all programs and libraries that the targets are or run, and that have profiles."""
    query = 'kind("cc_(binary|test) rule", deps(%s)) - attr(tags, manual, //...)' % " + ".join(targets)
    labels = run(["./bazelw", "query", "--noshow_progress", query], stderr=subprocess.DEVNULL).split()
    root = run(["./bazelw", "info", "--config=coverage", "bazel-bin"], stderr=subprocess.DEVNULL).strip()
    files = [os.path.join(root, label.lstrip("/").replace(":", "/")) for label in labels]
    return [name for name in files if os.path.exists(name) and b"__llvm_covmap" in open(name, "rb").read()]


def parse_lcov(text):
    """{file: (lines, lines run, branches, branches taken, [numbers of the lines that did not run])}"""
    files, name, fields, missed = {}, None, {}, []
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "SF":
            name, fields, missed = value, {}, []
        elif key == "DA" and value.split(",")[1] == "0":
            missed.append(int(value.split(",")[0]))
        elif key in ("LF", "LH", "BRF", "BRH"):
            fields[key] = int(value)
        elif line == "end_of_record":
            files[os.path.relpath(name)] = (*(fields.get(f, 0) for f in ("LF", "LH", "BRF", "BRH")), missed)
    return files


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def print_table(files):
    """Prints one row a file and the total, and the lines that did not run; returns the total's percentages."""
    row = "%-22s %6s %6s %8s %9s %6s %8s"
    print(row % ("file", "lines", "run", "", "branches", "taken", ""))
    total = [sum(entry[i] for entry in files.values()) for i in range(4)]
    for name, (lines, lines_run, branches, taken, _) in [*sorted(files.items()), ("total", (*total, []))]:
        print(row % (name, lines, lines_run, "%.2f%%" % percent(lines_run, lines), branches, taken,
                     "%.2f%%" % percent(taken, branches)))
    for name, entry in sorted(files.items()):
        source = open(name, encoding="utf-8").read().splitlines() if entry[4] else []
        for number in entry[4]:
            print("not run: %s:%d: %s" % (name, number, source[number - 1].strip()))
    return percent(total[1], total[0]), percent(total[3], total[2])


def main():
    parser = argparse.ArgumentParser(prog="coverage", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--html", default=os.path.join(tempfile.gettempdir(), "hz4-coverage"), metavar="DIR")
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="TARGET")
    args = parser.parse_args()
    html = os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", "."), args.html)
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))

    with tempfile.TemporaryDirectory(prefix="hz4-profiles-") as profiles:
        passed = run_tests(args.targets, profiles)
        raw = [os.path.join(profiles, name) for name in os.listdir(profiles)]
        if not raw:
            sys.exit("coverage: no test left a profile")
        merged = os.path.join(profiles, "merged")
        run(["llvm-profdata-19", "merge", "-o", merged, *raw])
        first, *others = programs(args.targets)
        about = ["-instr-profile=" + merged, "-ignore-filename-regex=" + NOT_MEASURED, first]
        about += ["-object=" + name for name in others]
        files = parse_lcov(run(["llvm-cov-19", "export", "-format=lcov", *about]))
        run(["llvm-cov-19", "show", "-format=html", "-show-branches=count", "-output-dir=" + html, *about])
    lines, branches = print_table(files)
    print("HTML in " + html)
    if not passed:
        sys.exit("coverage: a test failed")
    if args.check and (lines < LEAST_LINES or branches < LEAST_BRANCHES):
        sys.exit("coverage: below %.0f%% of lines or %.0f%% of branches" % (LEAST_LINES, LEAST_BRANCHES))


if __name__ == "__main__":
    main()
