"""compare: its table, on made-up outcomes; its arguments; a run of hz4 beside one that catches nothing."""

import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import compare  # noqa: E402

BUMP = os.path.join(HERE, "..", "..", "bench", "libbump.so")


class TableTest(unittest.TestCase):
    def test_what_counts_as_caught(self):
        words = ["double", "late:double", "fault", "died", "harmless", "-", "skipped", "hung"]
        results = {
            "some": {"a_b/%d" % i: word for i, word in enumerate(words)},
            "none": {"a_b/%d" % i: "-" for i in range(8)},
        }
        for one in results.values():
            one["c/0"] = "fault"
        lines = compare.table(results, False).splitlines()
        self.assertEqual([line.split()[-3:] for line in lines[1:]], [["8", "5", "0"], ["1", "1", "1"], ["9", "6", "1"]])
        self.assertEqual(compare.table(results, True).splitlines()[2].split(), "| a b | 8 | 5 | 0 |".split())


class CommandTest(unittest.TestCase):
    def compare(self, *args):
        command = [sys.executable, os.path.join(HERE, "compare.py"), *args]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_bad_arguments_get_one_line_and_exit_2(self):
        for args, named in [(("missing.so",), "missing.so"), (("--only", "nosuch"), "nosuch"), (("--no",), "--no")]:
            done = self.compare(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, r"\Acompare: [^\n]+\n\Z")
            self.assertIn(named, done.stderr)

    def test_a_preload_without_effect_is_an_error(self):
        done = self.compare("--only", "glibc", os.path.join(HERE, "compare.py"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("had no effect", done.stderr)

    def test_hz4_beside_one_that_checks_nothing(self):
        done = self.compare("--only", "hz4", "--cases", BUMP)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertIn(["double_free/run", "free", "free", "free", "-"], lines)
        total = [int(word) for word in lines[-1][1:]]
        self.assertLess(total[1], total[2])
        self.assertLess(total[2], total[3])


if __name__ == "__main__":
    unittest.main()
