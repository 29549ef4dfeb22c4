"""Each case of the misuse programs ends as expected.txt says, at each level of HZ4_HARDEN.

    bazel run //hz4/misuse:misuse_test -- --update     # writes the table anew: look at what has changed

An update runs each case several times; cells that say that chance decides stay so, and more do where the runs differ.
"""

import os
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import outcome  # noqa: E402

EXPECTED, LINKED, PREFIXED, STATIC = [os.path.abspath(path) for path in sys.argv[1:5]]
STATIC_CASES = ["invalid_free/stack"]  # what nothing but being static is different for
LEVELS = range(3)
CHANCE = "*"
UPDATE_RUNS = 10


def read_expected():
    """The table's lines before the first case; {case: what it is to end with at each level}"""
    with open(EXPECTED, encoding="utf-8") as file:
        lines = file.read().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [line for line in lines if line.startswith("#")], {case: levels for case, *levels in rows}


def outcomes(runs):
    """Of (program, case, level), in their order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return pool.map(lambda run: outcome.outcome(*run[:2], {"HZ4_HARDEN": str(run[2])}), runs)


class MisuseTest(unittest.TestCase):
    expected = read_expected()[1]

    def test_the_table_has_every_case(self):
        self.assertEqual(list(self.expected), outcome.cases(LINKED))
        self.assertTrue(all(len(levels) == len(LEVELS) for levels in self.expected.values()))

    def test_outcomes(self):
        runs = [(program, case, level) for program in (LINKED, PREFIXED) for case in self.expected for level in LEVELS]
        runs += [(STATIC, case, level) for case in STATIC_CASES for level in LEVELS]
        for (program, case, level), got in zip(runs, outcomes(runs)):
            with self.subTest(program=os.path.basename(program), case=case, level=level):
                wanted = self.expected[case][level]
                if wanted != CHANCE:
                    self.assertEqual(got, wanted)


def update():
    comments, old = read_expected()
    cases = outcome.cases(LINKED)
    runs = [(program, case, level) for case in cases for level in LEVELS for program in (LINKED, PREFIXED)
            for _ in range(UPDATE_RUNS)]
    found = {}
    for (_, case, level), got in zip(runs, outcomes(runs)):
        found.setdefault((case, level), set()).add(got)
    lines, family = comments, None
    for case in cases:
        cells = [found[case, level].pop() if len(found[case, level]) == 1 else CHANCE for level in LEVELS]
        cells = [CHANCE if was == CHANCE else cell for cell, was in zip(cells, old.get(case, cells))]
        if case.split("/")[0] != family:
            lines.append("")
            family = case.split("/")[0]
        lines.append(("%-36s %-11s %-11s %s" % (case, *cells)).rstrip())
    with open(EXPECTED, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if "--update" in sys.argv[5:]:
        EXPECTED = os.path.realpath(EXPECTED)
        update()
    else:
        unittest.main(argv=sys.argv[:1])
