"""A program of a workspace of its own that depends on hz4, built in Bazel's default mode, which does not optimise: hz4
is its malloc, and its fast path is as short as where hz4 itself is built."""

import os
import re
import subprocess
import sys
import unittest

import callgrind

COUNT = 100000

WORKSPACE = "testdata/consumer"
# Bazel 4.2.3 has no network here: its own wish for rules_java, and a consumer's for rules_cc, are met as hz4's are.
THIRD_PARTY = os.path.join(os.path.dirname(os.path.realpath("MODULE.bazel")), "third_party")
OFFLINE = ["--override_repository=%s=%s/%s" % (name, THIRD_PARTY, name) for name in ("rules_cc", "rules_java")]


def build(target):
    """Has Bazel build the target in its default mode; returns where it is."""
    prefix = os.path.join(os.environ["TEST_TMPDIR"], "consumer-")
    bazel = ["bazel", "--batch", "--nohome_rc", "--output_user_root=%sbazel" % prefix]
    options = OFFLINE + ["--symlink_prefix=" + prefix, "--spawn_strategy=local", "--color=no", "--curses=no"]
    # Of the environment, what Bazel's own tests set is not for another Bazel.
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["TEST_TMPDIR"]}
    done = subprocess.run(bazel + ["build"] + options + [target], cwd=WORKSPACE, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode != 0:
        raise AssertionError(done.stdout)
    return prefix + "bin/" + target.strip("/:")


class ConsumerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = build("//:program")

    def test_hz4_is_the_malloc(self):
        subprocess.run([self.program, "1", "64"], check=True)

    def test_fast_path(self):
        if os.uname().machine != "x86_64":
            self.skipTest("SKIPPED: the golden file is of x86-64")
        if not callgrind.available():
            self.skipTest("SKIPPED: valgrind is not installed")
        with open(sys.argv[1], encoding="utf-8") as golden:
            most = len(re.findall("^  ", golden.read(), re.M))
        for size in (64, 4096, 32768):
            with self.subTest(size=size):
                _, counted = callgrind.count(self.program, self.program, str(COUNT), str(size))
                pair = (counted["malloc"] + counted["free"]) / COUNT
                print("%d bytes: malloc and free are %.2f instructions" % (size, pair))
                # What happens once (the first malloc, the program's start) is within a hundredth.
                self.assertGreater(pair, 0)
                self.assertLessEqual(pair, most + 0.01)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
