"""The fast paths of malloc and free: instruction for instruction as in the golden file, and counted as they run.

    bazel run //hz4/test:fast_path_test -- --update     # writes the golden file anew

The golden file, one for each machine, holds for the compiler that it names; another one's code is only counted. That
of another machine is not counted: callgrind does not run it.
"""

import os
import re
import sys
import unittest

import callgrind

LIBRARY, PAIRS, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:4])
MACHINE = os.path.basename(GOLDEN).split(".")[1]
IS_NATIVE = MACHINE == os.uname().machine
SKIP = "--skip" in sys.argv[4:]

# Of malloc and free together.
INSTRUCTIONS_MAX = 53
COUNT = 100000


# Where things lie is not what they are.
PLACES = {
    "x86_64": [
        (r"\s*[#<].*", ""),
        (r"-?0x[0-9a-f]+\(%rip\)", "(%rip)"),
        (r"^(j\w+\s+)[0-9a-f]+", r"\1slow"),
    ],
    "aarch64": [
        (r"\s*(<|//).*", ""),
        (r"^(adrp\s+\w+, )[0-9a-f]+", r"\1page"),
        (r"^((?:b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,)\s+)[0-9a-f]+", r"\1slow"),
    ],
}


def fast_path(function):
    """The instructions from the entry to the first return: branches that leave the fast path are not taken."""
    objdump = "objdump" if IS_NATIVE else MACHINE + "-linux-gnu-objdump"
    listing = callgrind.output(objdump, "-d", "--no-show-raw-insn", "--disassemble=" + function, LIBRARY)
    instructions = []
    for line in re.findall(r"^\s+[0-9a-f]+:\t(.*)$", listing, re.MULTILINE):
        for pattern, replacement in PLACES[MACHINE]:
            line = re.sub(pattern, replacement, line)
        if instructions and instructions[-1].startswith("adrp"):
            line = re.sub(r"#\w+", "#in_page", line)
        instructions.append(" ".join(line.split()))
        if instructions[-1] == "ret":
            return instructions
    raise AssertionError("no return in " + function)


def golden_text():
    parts = ["# " + callgrind.compiler(LIBRARY)]
    for function in ("malloc", "free"):
        parts += [function + ":"] + ["  " + line for line in fast_path(function)]
    return "\n".join(parts) + "\n"


class FastPathTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if SKIP:
            self.skipTest("SKIPPED: this is not the code that ships, or not of a machine with a golden file")

    def test_golden(self):
        with open(GOLDEN, encoding="utf-8") as golden:
            expected = golden.read()
        if expected.splitlines()[0] != "# " + callgrind.compiler(LIBRARY):
            self.skipTest("SKIPPED: the golden file is of another compiler than " + callgrind.compiler(LIBRARY))
        self.assertEqual(expected, golden_text(), "if it is meant: bazel run //hz4/test:fast_path_test -- --update")

    def test_count(self):
        if not IS_NATIVE:
            self.skipTest("SKIPPED: callgrind runs no program of another machine")
        if MACHINE != "x86_64":
            self.skipTest("SKIPPED: the bound is of x86-64")
        if not callgrind.available():
            self.skipTest("SKIPPED: valgrind is not installed")
        for size in (64, 4096, 32768):
            with self.subTest(size=size):
                _, counted = callgrind.count(LIBRARY, PAIRS, str(COUNT), str(size))
                malloc, free = counted["malloc"] / COUNT, counted["free"] / COUNT
                print("%d bytes: malloc %.2f, free %.2f instructions" % (size, malloc, free))
                # What happens once (the first malloc, the program's start) is within a hundredth.
                self.assertLessEqual(malloc + free, INSTRUCTIONS_MAX + 0.01)


if __name__ == "__main__":
    callgrind.main(os.path.basename(GOLDEN), golden_text)
