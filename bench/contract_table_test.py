"""contract_table: its tables and lists, on made-up checks; its arguments; small runs under allocators good and bad."""

import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import contract_table  # noqa: E402
from contract_table import Check  # noqa: E402

BUMP = os.path.join(HERE, "libbump.so")


def checks(*states, row="row", rule="rule"):
    return [Check(state, row, "%s/%s" % (i, rule), "source", "" if state == "kept" else "why")
            for i, state in enumerate(states)]


class TableTest(unittest.TestCase):
    RESULTS = {
        "hz4": checks("kept", "kept") + checks("kept", row="other row"),
        "bad": checks("kept", "broken") + checks("skipped", row="other row"),
    }

    def test_cells_count_what_was_kept_of_what_was_checked(self):
        lines = [line.split() for line in contract_table.table(self.RESULTS, False).splitlines()]
        self.assertEqual(lines, [["row", "hz4", "bad"], ["row", "2/2", "1/2"], ["other", "row", "1/1", "0/0"],
                                 ["all", "3/3", "1/2"]])

    def test_markdown(self):
        lines = [line.split() for line in contract_table.table(self.RESULTS, True).splitlines()]
        self.assertEqual(lines[0], "| row | hz4 | bad |".split())
        self.assertEqual(lines[2], "| row | 2/2 | 1/2 |".split())

    def test_broken_checks_that_broke_alike_share_a_line(self):
        made = checks("broken", "kept", "broken") + checks("broken", rule="other")
        made += [Check("broken", "row", "alone", "source", "because")]
        self.assertEqual(contract_table.broken(made), ["row: why: rule (0; 2), other (0)", "row: because: alone"])


class CommandTest(unittest.TestCase):
    def contract_table(self, *args):
        command = [sys.executable, os.path.join(HERE, "contract_table.py"), *args]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_bad_arguments_get_one_line_and_exit_2(self):
        for args, named in [
            (("--peer", "x=missing.so"), "missing.so"),
            (("--peer", "missing.so"), "NAME=PATH"),
            (("--peer", "glibc=/bin/sh"), "taken"),
            (("--only", "nosuch"), "nosuch"),
            (("--hz4", "missing.so"), "missing.so"),
            (("--bin-dir", "nosuch"), "nosuch"),
            (("--nosuch",), "nosuch"),
            (("word",), "word"),
        ]:
            with self.subTest(args=args):
                done = self.contract_table(*args)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertRegex(done.stderr, r"\Acontract_table: [^\n]+\n\Z")
                self.assertIn(named, done.stderr)

    def test_a_prefix_of_nothing(self):
        done = self.contract_table("--only", "glibc", "--prefix", "no such check")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no check begins with", done.stderr)

    def test_hz4_beside_one_that_breaks_checks(self):
        done = self.contract_table("--only", "hz4,glibc", "--peer", "bump=" + BUMP, "--prefix", "a small number/")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual(lines[0], ["row", "hz4", "glibc", "bump"])
        self.assertEqual(lines[1][-3:], ["3/3", "0/3", "0/3"])
        self.assertEqual(lines[2], ["all", "3/3", "0/3", "0/3"])
        self.assertIn("glibc breaks 3:", done.stdout)
        self.assertNotIn("hz4 breaks", done.stdout)

    def test_an_hz4_that_breaks_a_check_fails(self):
        done = self.contract_table("--only", "hz4", "--hz4", BUMP, "--prefix", "a small number/")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("hz4 breaks 3:", done.stdout)

    def test_a_preload_that_does_nothing_is_an_error(self):
        done = self.contract_table("--only", "glibc", "--peer", "fake=" + os.path.join(HERE, "contract_table.py"),
                                   "--prefix", "a small number/")
        self.assertEqual(done.returncode, 1)
        self.assertIn("had no effect", done.stderr.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
