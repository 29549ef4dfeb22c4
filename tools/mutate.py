"""Seeds one-line faults into hz4/ and runs the fast tests on each: does one of them notice?

  bazel run //tools:mutate -- [--count N] [--seed N] [--only FILE] [--jobs N] [--list]

Faults are drawn from all that tools/mutations.py can make, by the seed, spread over hz4/*.c and *.h by their length.
Each is compiled, with asserts, outside the tree and outside Bazel; the tests that link what it changed are linked and
run, those of its own module first, until one fails, aborts, or exceeds its limits of time and memory. The report has a
row for each file, and every fault that no test noticed. A fault that does not compile does not count; nor one that
cannot be noticed: those are in tools/mutate_equivalent.txt with the reason. Exit: 1 when less than 90% of the others
were noticed. All happens to a copy of the tree in $TMPDIR/hz4-mutate; its objects are kept for the next run.
"""

import argparse
import concurrent.futures
import glob
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mutations  # noqa: E402

SELF = os.path.abspath(__file__)  # has the flags that the kept objects were made with
LEAST_PERCENT = 90.0
INVALID = "does not compile"

# As --config=stats, which has all the statistics.
C_FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-DHZ4_STATS_FAST=1", "-O1", "-w", "-fno-builtin"]
CXX_FLAGS = ["-std=c++17", "-DHZ4_STATS_FAST=1", "-O1", "-w", "-fsized-deallocation", "-DPAGE_BYTES=16384", "-DALL_N=0",
             "-idirafter", "/usr/lib/llvm-19/lib/clang/19/include"]  # for fuzzer/FuzzedDataProvider.h

# No part of libhz4 as tests link it: who needs a kernel, or libc's names, says which.
APART = ["sys_linux", "sys_fake", "shim", "operators", "operators_archive", "operators_shared"]
NOT_FAST = ["creep"]
# Of tests that take long, the parts that do not.
FAST_PART = {
    "aligned": "*Test.*/memalign:-*.EveryPowerOfTwo/*",
    "exhaustion": "Limit.WhatWasFreedCanBeHadAgain*:OtherKernels.*",
    "heap": "CallocTest.*",
    "memory": "*.LargeBlocksComeAndGo:*.TrimGivesBackTheCaches",
    "realloc": "*.StepsOverEveryBorder:*.OfNullIsMalloc:*.ToZeroFrees:*.FailureLeavesTheOldBlock",
    "threads": "KeyDestructorTest.*:ThreadExitTest.LiveBlocksAreFreedByOthers",
}
# hz4 is their malloc.
REPLACES_MALLOC = ["cxx_operators", "env/shim"]

FAKE_KERNEL = "hz4/test/sys_fake.c"

MEMORY_BYTES = 8 << 30  # of addresses
STEP_SECONDS = 0.1


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


class Test:
    """One test program: the objects it is made of, and what it took when nothing was wrong."""

    def __init__(self, name, sources, args=(), libraries=(), env=None):
        self.name, self.sources, self.args, self.libraries = name, sources, list(args), list(libraries)
        self.env = {**os.environ, **(env or {})}
        self.inputs = set()  # all source files that its program depends on
        self.seconds = 0.0


def all_modules():
    return sorted(glob.glob("hz4/*.c")) + [FAKE_KERNEL]


def all_tests():
    tests = []
    for path in sorted(glob.glob("hz4/test/*_test.cc")):
        name = stem(path)[:-len("_test")]
        if name in NOT_FAST:
            continue
        args = ["--gtest_filter=" + FAST_PART[name]] if name in FAST_PART else []
        tests.append(Test(name, [path], args, ["-lgtest_main", "-lgtest"]))
    for path in sorted(glob.glob("fuzz/*_fuzzer.cc")):
        sources = [path, "fuzz/replay_main.cc"]
        if "fuzz/heap_driver.h" in open(path, encoding="utf-8").read():
            sources.append("fuzz/heap_driver.cc")
        tests.append(Test("fuzz/" + stem(path), sources, ["testdata/" + stem(path)]))
    tests.append(Test("sized_harden", ["hz4/test/sized_test.cc"], [], ["-lgtest_main", "-lgtest"], {"HZ4_HARDEN": "1"}))
    tests.append(Test("env/shim", ["hz4/env/shim_test.c"]))
    return tests


class Build:
    """Objects of the tree, and of a changed copy of one file laid over it."""

    def __init__(self, directory):
        self.directory = directory

    def object_of(self, source, directory=None):
        return os.path.join(directory or self.directory, source.replace("/", "_") + ".o")

    def compile(self, source, directory=None):
        """The object's path; None when it does not compile. In `directory`, a changed copy takes precedence."""
        target = self.object_of(source, directory)
        if not directory and self.is_fresh(source):
            return target
        changed = directory and os.path.join(directory, source)
        path = changed if changed and os.path.exists(changed) else source
        compiler = ["g++", *CXX_FLAGS] if source.endswith(".cc") else ["gcc", *C_FLAGS]
        overlay = ["-I" + directory] if directory else []
        done = subprocess.run([*compiler, *overlay, "-I.", "-MMD", "-c", path, "-o", target],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return target if done.returncode == 0 else None

    def is_fresh(self, source):
        target = self.object_of(source)
        if not os.path.exists(target):
            return False
        made = os.path.getmtime(target)
        inputs = {SELF, *self.headers_of(source)}
        return all(os.path.exists(path) and os.path.getmtime(path) < made for path in inputs)

    def headers_of(self, source):
        with open(self.object_of(source)[:-1] + "d", encoding="utf-8") as file:
            return set(file.read().replace("\\\n", " ").split()[1:])

    def archive_of(self, directory):
        """The archive of all modules, with the changed objects in the place of theirs."""
        archive = os.path.join(directory, os.path.basename(self.archive))
        changed = [path for path in glob.glob(os.path.join(directory, "*.o")) if os.path.basename(path) in self.members]
        shutil.copy(self.archive, archive)
        subprocess.run(["ar", "rcs", archive, *changed], check=True)
        return archive

    def link(self, test, program, archive, directory=None):
        """Links the test, with changed objects where there are such. Returns the linker's trace, or None."""
        objects = []
        for source in self.explicit(test):
            changed = directory and self.object_of(source, directory)
            objects.append(changed if changed and os.path.exists(changed) else self.object_of(source))
        command = ["g++", "-fuse-ld=gold", "-Wl,-t", "-o", program, *objects, archive, *test.libraries]
        done = subprocess.run([*command, "-lpthread", "-ldl"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def explicit(self, test):
        headers = set().union(*(self.headers_of(source) for source in test.sources))
        fake = "hz4/test/sys_fake.h" in headers or not headers & {"hz4/hz4.h", "hz4/sys.h"}
        names = ["hz4/shim.c"] if test.name in REPLACES_MALLOC else []
        names += ["hz4/operators.c", "hz4/operators_archive.c"] if test.name == "cxx_operators" else []
        return [*test.sources, FAKE_KERNEL if fake else "hz4/sys_linux.c", *names]

    def prepare(self, tests, pool):
        modules = all_modules()
        sources = modules + sorted({source for test in tests for source in test.sources})
        for source, built in zip(sources, pool.map(self.compile, sources)):
            if built is None:
                sys.exit("mutate: %s does not compile" % source)
        members = [self.object_of(path) for path in modules if stem(path) not in APART]
        self.members = {os.path.basename(path) for path in members}
        self.archive = os.path.join(self.directory, "libhz4.a")
        subprocess.run(["ar", "rcs", self.archive, *members], check=True)
        list(pool.map(self.measure, tests))

    def measure(self, test):
        """What the test depends on, and how long it takes."""
        program = os.path.join(self.directory, test.name.replace("/", "_"))
        trace = self.link(test, program, self.archive)
        if trace is None:
            sys.exit("mutate: %s does not link" % test.name)
        used = [path for path in all_modules() if os.path.basename(self.object_of(path)) in trace]
        for source in [*test.sources, *used]:
            test.inputs |= self.headers_of(source)
        failed, test.seconds = run_test(test, program, 300)
        if failed:
            sys.exit("mutate: %s %s without any fault" % (test.name, failed))
        os.remove(program)


def copy_tree():
    """Copies what is compiled, with its times, and goes there; returns the directory for objects."""
    directory = os.path.join(tempfile.gettempdir(), "hz4-mutate")
    tree = os.path.join(directory, "tree")
    shutil.rmtree(tree, ignore_errors=True)
    for name in ["fuzz", "hz4", "testdata"]:
        shutil.copytree(name, os.path.join(tree, name))
    os.chdir(tree)
    return directory


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_test(test, program, limit):
    """Runs the program: (None when it exits with 0, else what it did; seconds). Only those count in which this process
    went on as well: where the machine, or all of this, stood still meanwhile, nothing hangs for that."""
    seconds = 0.0
    with subprocess.Popen([program, *test.args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL, preexec_fn=limit_memory, start_new_session=True,
                          env=test.env) as process:
        try:
            while seconds < limit:
                began = time.monotonic()
                try:
                    code = process.wait(STEP_SECONDS)
                    return ("fails" if code != 0 else None), seconds + min(STEP_SECONDS, time.monotonic() - began)
                except subprocess.TimeoutExpired:
                    seconds += STEP_SECONDS
            return "hangs", seconds
        finally:
            try:
                os.killpg(process.pid, 9)  # its children too, if it left any
            except ProcessLookupError:
                pass


def killer(build, tests, mutant):
    """Which test notices the fault, and how; INVALID where it does not compile; None where none does."""
    with tempfile.TemporaryDirectory(dir=build.directory) as directory:
        os.mkdir(os.path.join(directory, "hz4"))
        with open(os.path.join(directory, mutant.path), "w", encoding="utf-8") as file:
            file.write(mutant.text)
        affected = [test for test in tests if mutant.path in test.inputs]
        affected.sort(key=lambda test: (mutant.module not in test.name, test.seconds))
        modules = [path for path in all_modules() if mutant.path in build.headers_of(path)]
        if any(build.compile(path, directory) is None for path in modules):
            return INVALID
        archive = build.archive_of(directory)
        for test in affected:
            for source in test.sources:
                same = mutant.path not in build.headers_of(source)
                done = os.path.exists(build.object_of(source, directory))
                if not same and not done and build.compile(source, directory) is None:
                    return INVALID
            program = os.path.join(directory, "program")
            if build.link(test, program, archive, directory) is None:
                return INVALID
            failed, _ = run_test(test, program, 20 + 5 * test.seconds)
            if failed:
                return "%s %s" % (test.name, failed)
    return None


def report(mutants, killers, equivalent):
    row = "%-14s %8s %8s %8s %12s"
    print(row % ("file", "faults", "noticed", "missed", "equivalent"))
    names = sorted({mutant.path for mutant in mutants})
    sums = [0, 0, 0, 0]
    for name in names:
        mine = [mutant for mutant in mutants if mutant.path == name]
        same = sum(mutant.key in equivalent and killers[mutant.key] is None for mutant in mine)
        noticed = sum(killers[mutant.key] is not None for mutant in mine)
        counts = [len(mine), noticed, len(mine) - noticed - same, same]
        sums = [a + b for a, b in zip(sums, counts)]
        print(row % (os.path.basename(name), *counts))
    print(row % ("all", *sums))
    for mutant in mutants:
        if killers[mutant.key] is None:
            reason = equivalent.get(mutant.key)
            print("\n%s%s" % (mutant.diff(), "equivalent: " + reason if reason else "missed"))
    share = 100.0 * sums[1] / max(1, sums[0] - sums[3])
    print("\n%.1f%% of %d faults noticed" % (share, sums[0] - sums[3]))
    return share


def main():
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=150, metavar="N", help="about how many faults are drawn")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--only", action="append", metavar="FILE", help="of those, hz4/FILE's; may be repeated")
    parser.add_argument("--list", action="store_true", help="show the faults, run nothing")
    args = parser.parse_args()
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))

    mutants = mutations.choose(args.count, args.seed, args.only)
    if not mutants:
        sys.exit("mutate: nothing to change")
    if args.list:
        sys.stdout.writelines(mutant.diff() for mutant in mutants)
        return
    equivalent = mutations.read_equivalent("tools/mutate_equivalent.txt")
    tests = all_tests()
    killers = {}
    directory = copy_tree()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        build = Build(directory)
        build.prepare(tests, pool)
        for test in tests:
            print("%-28s %6.1f s" % (test.name, test.seconds), file=sys.stderr)
        futures = {pool.submit(killer, build, tests, mutant): mutant for mutant in mutants}
        for future in concurrent.futures.as_completed(futures):
            mutant = futures[future]
            killers[mutant.key] = future.result()
            progress = (len(killers), len(mutants), mutant.key, killers[mutant.key])
            print("%3d/%d %s: %s" % progress, file=sys.stderr, flush=True)
    valid = [mutant for mutant in mutants if killers[mutant.key] != INVALID]
    if report(valid, killers, equivalent) < LEAST_PERCENT:
        sys.exit(1)


if __name__ == "__main__":
    main()
