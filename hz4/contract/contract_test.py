"""The contract suite on hz4: over its own names, linked as the program's malloc (hardened too, and static), and preloaded.

Every check is kept.
"""

import os
import subprocess
import sys
import unittest

HZ4_NAMES, LINKED, PLAIN, STATIC, LIBRARY = (os.path.abspath(path) for path in sys.argv[1:6])
LIBC = sys.argv[6]
IS_GLIBC = LIBC == "libc.so.6"

LEAST_CHECKS = 300
ROWS = {  # of docs/contract.md, "Corner cases"; checked over every set of names
    "size too large, overflow", "malloc(0)", "realloc(NULL, n), realloc(p, 0)", "failing realloc", "growing realloc",
    "alignment of every size", "aligned_alloc", "memalign", "posix_memalign", "alignments to 64 MiB and above",
    "pvalloc", "free, free_sized keep errno", "malloc_usable_size", "calloc is zero",
    "foreign, unaligned, interior pointers",
}
# Of docs/contract.md, "Symbols"; there is nothing of it over hz4's own names.
ANY_LIBC_ROWS = {"what libc allocates itself"}
GLIBC_ROWS = {"names, all from one allocator", "old names", "statistics and tuning"}
LIBC_ROWS = ANY_LIBC_ROWS | (GLIBC_ROWS if IS_GLIBC else set())


def run(program, *arguments, **environment):
    return subprocess.run([program, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


class ContractTest(unittest.TestCase):
    def checks(self, done, rows, malloc):
        """What holds for every program."""
        self.assertEqual(done.stderr, "")
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        self.assertEqual(lines[0][0], "malloc")
        self.assertEqual(os.path.basename(lines[0][1]), malloc)
        checks = lines[1:]
        self.assertEqual({len(fields) for fields in checks}, {5})
        for state, _, name, _, detail in checks:
            if state == "skipped":
                print("SKIPPED: %s: %s" % (name, detail))
        self.assertEqual([fields for fields in checks if fields[0] not in ("kept", "skipped")], [])
        self.assertEqual(done.returncode, 0)

        names = [fields[2] for fields in checks]
        self.assertGreaterEqual(len(names), LEAST_CHECKS)
        self.assertEqual(len(names), len(set(names)), "a name stands for two checks")
        self.assertEqual([fields[2] for fields in checks if not fields[3].strip()], [], "no source")
        self.assertEqual({fields[1] for fields in checks}, rows)
        print("%d checks kept" % sum(fields[0] == "kept" for fields in checks))

    def test_hz4_names(self):
        self.checks(run(HZ4_NAMES), ROWS, LIBC)

    def test_libc_names_linked(self):
        self.checks(run(LINKED), ROWS | LIBC_ROWS, os.path.basename(LINKED))

    def test_libc_names_static(self):
        self.checks(run(STATIC), ROWS | ANY_LIBC_ROWS, "?")

    def test_libc_names_hardened(self):
        for level in "12":
            self.checks(run(LINKED, HZ4_HARDEN=level), ROWS | LIBC_ROWS, os.path.basename(LINKED))

    def test_libc_names_preloaded(self):
        self.checks(run(PLAIN, LD_PRELOAD=LIBRARY), ROWS | LIBC_ROWS, os.path.basename(LIBRARY))


@unittest.skipUnless(IS_GLIBC, "SKIPPED: another libc breaks other checks")
class RunnerTest(unittest.TestCase):
    """glibc 2.36 breaks known checks, by an answer and by a crash: that is seen, and costs those checks alone."""

    def test_broken_checks_are_seen(self):
        done = run(PLAIN, "a small number/")
        self.assertEqual(done.returncode, 1)
        lines = done.stdout.splitlines()[1:]
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertTrue(line.startswith("broken\t"), line)
            self.assertTrue(line.endswith("SIGSEGV, not SIGABRT"), line)

    def test_prefix_of_nothing(self):
        done = run(PLAIN, "no such check")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, "contract: no check begins with 'no such check'\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
