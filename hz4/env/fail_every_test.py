"""python3 with hz4 preloaded, while every n-th mmap, munmap, madvise or mremap fails: it prints the same, or ends by a
MemoryError or an exit code. A signal is hz4's, unless the same python3 with glibc's malloc gets it at the same n.

fail_every.c makes the calls fail. A fourth argument "all": more values of n, for minutes."""

import os
import re
import shutil
import subprocess
import sys
import unittest

LIBRARY, FAIL_EVERY, WORKLOAD = (os.path.abspath(path) for path in sys.argv[1:4])
ALL = sys.argv[4:] == ["all"]

PATH = "/usr/bin:/bin"
KINDS = ["mmap", "munmap", "madvise", "mremap", "mmap,munmap,madvise,mremap"]
N_MAX = 10000
NO_FILTERS = 99  # fail_every's exit code


def values_of_n():
    if not ALL:
        return [*range(1, 13), 20, 50, 200, 1000, 3000, N_MAX]
    values = list(range(1, 301))
    while values[-1] < N_MAX:
        values.append(min(values[-1] + values[-1] // 32, N_MAX))
    return values


def run(calls, n, start, turns, preload=True):
    env = {"PATH": PATH, "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
    env["PYTHONMALLOC"] = "malloc"  # python's own arenas would take most of the failures
    # glibc's heap is mostly brk's, which is not made to fail.
    env.update({"LD_PRELOAD": LIBRARY} if preload else {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=16384"})
    return subprocess.run(
        [FAIL_EVERY, calls, str(n), start, "python3", WORKLOAD, str(turns)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )


def was_killed(result):
    return result.returncode >= 128


def counted(result):
    """Calls, and failures among them."""
    return [int(word) for word in re.search(r"fail_every: (\d+) calls, (\d+) failed\n$", result.stderr).groups()]


class FailEveryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.skipped = None
        if shutil.which("python3", path=PATH) is None:
            cls.skipped = "no python3 in " + PATH
            return
        plain = run("mmap", 1 << 40, "exec", 0, preload=False)
        if plain.returncode == NO_FILTERS:
            cls.skipped = "no seccomp filters with notifications here"
            return
        assert plain.returncode == 0, plain.stderr
        cls.expected = plain.stdout

    def setUp(self):
        if self.skipped:
            print("SKIPPED: " + self.skipped)
            self.skipTest(self.skipped)

    def check(self, calls, n, start, turns):
        """True: it came to its end."""
        result = run(calls, n, start, turns)
        where = (calls, n, start, result.returncode, result.stderr)
        self.assertNotIn("hz4: ", result.stderr, where)
        if was_killed(result):
            glibc = run(calls, n, start, turns, preload=False)
            self.assertEqual(result.returncode, glibc.returncode, where)
            print("%s, every %d from %s on: signal %d, with glibc too" % (calls, n, start, result.returncode - 128))
            return False
        if result.returncode == 0:
            self.assertEqual(result.stdout, self.expected, where)
        elif start == "yield":
            self.assertIn("MemoryError", result.stderr, where)
        self.assertTrue(counted(result)[1] > 0 or start == "exec", where)
        return result.returncode == 0

    def test_once_it_runs(self):
        """From a point in the program on. Then python answers to every failure."""
        for calls in KINDS:
            values = values_of_n()
            ended = [n for n in values if self.check(calls, n, "yield", n)]
            print("every n-th %s: %d of %d values of n ran to the end" % (calls, len(ended), len(values)))
            # Only mmap's failures are the program's to bear, and few enough leave room to try again.
            self.assertEqual([n for n in values if n not in ended and (n >= 20 or "mmap" not in calls)], [])

    def test_from_the_first_call_on(self):
        """The dynamic linker's calls and hz4's first ones included: what fails then fails to start."""
        values = range(1, 201 if ALL else 41)
        ended = [self.check("mmap", n, "exec", 0) for n in values]
        print("every n-th mmap from exec on: %d of %d values of n ran to the end" % (sum(ended), len(ended)))
        self.assertGreater(sum(ended), len(ended) // 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
