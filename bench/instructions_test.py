"""What hz4 costs in each bench: its instructions for one operation, as callgrind counts them, between two bounds.

    bazel run //bench:instructions_test -- --update     # measures, and writes the golden file anew

Only instructions of libhz4.so count, not the bench's own, nor libc's. One thread does the same instructions each time,
and so do several that libturns.so lets run in turn: what is left is hz4's clock (0.3%). So all have 3% of air above what
was measured. The lower bound, 10% below, is for a count that no longer counts, and for gains: those are to be
kept. The golden file holds for the compiler that it names.
"""

import os
import re
import sys
import unittest

import callgrind

LIBRARY, GOLDEN, BENCHES = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
TURNS = os.path.join(BENCHES, "libturns.so")
SKIP = "--skip" in sys.argv[4:]

# Seeds are the benches' own. Matched: else the frees depend on whose turn it is when a ring is full.
LANES = {
    "malloc_args": "malloc_args 1000000 400 16 32768",
    "guard_1": "mt_remote 1 500000 400 16 2048 90 65536",
    "guard_2": "mt_remote 2 500000 400 16 2048 90 1024 matched",
    "main_1": "mt_remote 1 500000 400 16 32768 90 65536",
    "main_2": "mt_remote 2 500000 400 16 32768 90 1024 matched",
    "prodcons_1_1": "prodcons 1 1 500000 16 2048 1024",
    "prodcons_1_3": "prodcons 1 3 300000 16 2048 1024",
    "prodcons_3_1": "prodcons 3 1 200000 16 2048 1024",
    "churn_4": "churn 4 100 400 16 32768",
}


def measure(lane):
    bench, *arguments = LANES[lane].split()
    program = os.path.join(BENCHES, bench + "_system")
    printed, counted = callgrind.count(LIBRARY, program, *arguments, preload=[TURNS])
    return sum(counted.values()) / int(re.search(r" ops=(\d+) ", printed).group(1))


def golden_text():
    lines = ["# " + callgrind.compiler(LIBRARY), "# lane, at least, at most, measured: instructions for an operation"]
    for lane in LANES:
        measured = measure(lane)
        lines.append("%s %.2f %.2f %.2f" % (lane, measured * 0.9, measured * 1.03, measured))
    return "\n".join(lines) + "\n"


class InstructionsTest(unittest.TestCase):
    def setUp(self):
        if SKIP:
            self.skipTest("SKIPPED: this is not the code that ships")
        if os.uname().machine != "x86_64":
            self.skipTest("SKIPPED: the golden file is of x86-64")
        if not callgrind.available():
            self.skipTest("SKIPPED: valgrind is not installed")

    def test_within_bounds(self):
        with open(GOLDEN, encoding="utf-8") as golden:
            compiler, _, *lines = golden.read().splitlines()
        if compiler != "# " + callgrind.compiler(LIBRARY):
            self.skipTest("SKIPPED: the golden file is of another compiler than " + callgrind.compiler(LIBRARY))
        self.assertEqual([line.split()[0] for line in lines], list(LANES))
        for line in lines:
            lane, least, most, _ = line.split()
            with self.subTest(lane=lane):
                measured = measure(lane)
                print("%s: %.2f instructions for an operation, of %s to %s" % (lane, measured, least, most))
                hint = "if it is meant: bazel run //bench:instructions_test -- --update"
                self.assertLessEqual(measured, float(most), hint)
                self.assertGreaterEqual(measured, float(least), hint)


if __name__ == "__main__":
    callgrind.main("instructions.x86_64.golden", golden_text)
