"""How many of the misuse cases each of several allocators catches, by kind.

usage: compare [options] [LIBRARY]...

  bazel run //hz4/misuse:compare -- --markdown /path/libjemalloc.so

Each is preloaded: hz4 with HZ4_HARDEN=0, 1 and 2, glibc's own malloc, Debian's packages as //bench:compare knows them, and each
LIBRARY, by its file's name; --peer gives another name, and environment variables. Caught is a case that ends by a signal or an
error, at once or later, or that did no harm (hz4/misuse/misuse.h). What an allocator has no call for is not caught.

Exit: 0, 1 when a preload had no effect, 2 for bad arguments.
"""

import argparse
import collections
import os
import sys
from concurrent.futures import ThreadPoolExecutor

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.join(_HERE, "..", "..", "bench")]
import allocators  # noqa: E402
import compare_stats  # noqa: E402
import outcome  # noqa: E402

HZ4 = "hz4"
PROGRAM = os.path.join(_HERE, "misuse_plain")


def parse(argv):
    parser = allocators.Parser("compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                               usage=argparse.SUPPRESS, allow_abbrev=False)
    allocators.add_arguments(parser)
    add = parser.add_argument
    add("--markdown", action="store_true", help="a Markdown table")
    add("--cases", action="store_true", help="each case, and what became of it, before the table")
    add("libraries", nargs="*", metavar="LIBRARY")
    options = parser.parse_args(argv)
    for path in options.libraries:
        name = os.path.basename(path).split(".so")[0]
        options.peer.append("%s=%s" % (name[3:] if name.startswith("lib") else name, path))
    return options


def environments(options):
    """{name: the environment of each run}"""
    chosen = allocators.choose(options, os.path.join(_HERE, "..", "libhz4.so"))
    made = {}
    for name, path in chosen.items():
        environment = allocators.environment_of(options, name, path)
        if path is not None and not outcome.takes_malloc_from(PROGRAM, path, environment):
            allocators.die(1, "%s: the preload of %s had no effect" % (name, path))
        for level in "012" if name == HZ4 else [""]:
            made[name + (" " + level if level else "")] = dict(environment, **({"HZ4_HARDEN": level} if level else {}))
    return made


def table(results, markdown):
    """results: {name: {case: outcome}}"""
    kinds = collections.Counter(case.split("/")[0] for case in next(iter(results.values())))
    lines = [["caught, of", "all", *results]]
    for kind, count in [*kinds.items(), ("all", sum(kinds.values()))]:
        caught = [sum(outcome.is_caught(word) for case, word in words.items() if kind in (case.split("/")[0], "all"))
                  for words in results.values()]
        lines.append([kind.replace("_", " "), str(count), *map(str, caught)])
    return compare_stats.table(lines[0], lines[1:], markdown, left=(0,))


def main(argv):
    # bazel run starts programs elsewhere: relative paths are the caller's.
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    options = parse(argv)
    cases, results = outcome.cases(PROGRAM), {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, environment in environments(options).items():
            allocators.say("%s ..." % name)
            words = pool.map(lambda case, e=environment: outcome.outcome(PROGRAM, case, e), cases)
            results[name] = dict(zip(cases, words))
    if options.cases:
        body = [[case] + [words[case] for words in results.values()] for case in cases]
        print(compare_stats.table(["case", *results], body, options.markdown, left=(0,)) + "\n")
    print(table(results, options.markdown))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        allocators.die(130, "interrupted")
