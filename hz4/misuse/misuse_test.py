"""Each case of the misuse programs ends as expected.txt says, at each level of HZ4_HARDEN."""

import os
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import outcome  # noqa: E402

EXPECTED, *PROGRAMS = [os.path.abspath(path) for path in sys.argv[1:]]
STATIC_CASES = ["invalid_free/stack"]  # what nothing but being static is different for


def read_expected():
    """{case: what it is to end with at each level}"""
    with open(EXPECTED, encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {case: levels for case, *levels in rows}


class MisuseTest(unittest.TestCase):
    expected = read_expected()

    def test_the_table_has_every_case_once(self):
        with open(EXPECTED, encoding="utf-8") as file:
            names = [line.split()[0] for line in file if "/" in line.split(" ")[0]]
        self.assertEqual(names, outcome.cases(PROGRAMS[0]))
        self.assertTrue(all(len(levels) == 3 for levels in self.expected.values()))

    def test_outcomes(self):
        runs = []
        for program in PROGRAMS:
            chosen = STATIC_CASES if program.endswith("_static") else self.expected
            runs += [(program, case, level) for case in chosen for level in range(3)]

        def run(one):
            program, case, level = one
            return outcome.outcome(program, case, {"HZ4_HARDEN": str(level)})

        with ThreadPoolExecutor(2) as pool:
            for (program, case, level), got in zip(runs, pool.map(run, runs)):
                with self.subTest(program=os.path.basename(program), case=case, level=level):
                    wanted = self.expected[case][level]
                    if wanted != "*":
                        self.assertEqual(got, wanted)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
