"""The fast paths of malloc and free: instruction for instruction as in the golden file, and counted as they run.

    bazel run //hz4:fast_path_test -- --update     # writes the golden file anew

The golden file holds for the compiler that it names; another one's code is only counted.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY, PAIRS, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:4])
UPDATE, SKIP = ("--update" in sys.argv[4:], "--skip" in sys.argv[4:])

# Of malloc and free together.
INSTRUCTIONS_MAX = 35
COUNT = 100000


def output(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True, **kwargs).stdout


def compiler():
    """What libhz4.so was compiled with, by its own word."""
    text = output("readelf", "-p", ".comment", LIBRARY)
    return "\n".join(sorted(set(re.findall(r"\]\s+(.*)", text))))


def fast_path(function):
    """The instructions from the entry to the first return: branches that leave the fast path are not taken."""
    listing = output("objdump", "-d", "--no-show-raw-insn", "--disassemble=" + function, LIBRARY)
    instructions = []
    for line in re.findall(r"^\s+[0-9a-f]+:\t(.*)$", listing, re.MULTILINE):
        # Where things lie is not what they are.
        line = re.sub(r"\s*[#<].*", "", line)
        line = re.sub(r"-?0x[0-9a-f]+\(%rip\)", "(%rip)", line)
        line = re.sub(r"^(j\w+\s+)[0-9a-f]+", r"\1slow", line)
        instructions.append(" ".join(line.split()))
        if instructions[-1] == "ret":
            return instructions
    raise AssertionError("no return in " + function)


def golden_text():
    parts = ["# " + compiler()]
    for function in ("malloc", "free"):
        parts += [function + ":"] + ["  " + line for line in fast_path(function)]
    return "\n".join(parts) + "\n"


class FastPathTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if SKIP:
            self.skipTest("SKIPPED: this is not the code that ships")
        if os.uname().machine != "x86_64":
            self.skipTest("SKIPPED: the golden file is of x86-64")

    def test_golden(self):
        with open(GOLDEN, encoding="utf-8") as golden:
            expected = golden.read()
        if expected.splitlines()[0] != "# " + compiler():
            self.skipTest("SKIPPED: the golden file is of another compiler than " + compiler())
        self.assertEqual(expected, golden_text(), "if it is meant: bazel run //hz4:fast_path_test -- --update")

    def count(self, size):
        """Instructions that callgrind counted in malloc and free, for COUNT pairs."""
        with tempfile.TemporaryDirectory() as directory:
            out = os.path.join(directory, "out")
            tool = ["valgrind", "--quiet", "--tool=callgrind", "--callgrind-out-file=" + out]
            environment = {"LD_PRELOAD": LIBRARY, "PATH": "/usr/bin:/bin"}
            subprocess.run(tool + [PAIRS, str(COUNT), str(size)], check=True, env=environment)
            listing = output("callgrind_annotate", "--threshold=100", out)
        lines = re.findall(r"^\s*([\d,]+) .*?:(malloc|free) ", listing, re.MULTILINE)
        counted = {name: int(number.replace(",", "")) for number, name in lines}
        return counted["malloc"], counted["free"]

    def test_count(self):
        if shutil.which("valgrind") is None or shutil.which("callgrind_annotate") is None:
            self.skipTest("SKIPPED: valgrind is not installed")
        for size in (64, 4096, 32768):
            with self.subTest(size=size):
                malloc, free = (n / COUNT for n in self.count(size))
                print("%d bytes: malloc %.2f, free %.2f instructions" % (size, malloc, free))
                # What happens once (the first malloc, the program's start) is within a hundredth.
                self.assertLessEqual(malloc + free, INSTRUCTIONS_MAX + 0.01)


if __name__ == "__main__":
    if UPDATE:
        target = os.path.join(os.environ["BUILD_WORKSPACE_DIRECTORY"], "testdata", "fast_path.x86_64.golden")
        with open(target, "w", encoding="utf-8") as golden:
            golden.write(golden_text())
    else:
        unittest.main(argv=sys.argv[:1])
