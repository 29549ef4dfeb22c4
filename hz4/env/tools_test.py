"""Under valgrind, gdb, strace and qemu-user a program with hz4 does what it does without them."""

import os
import re
import shutil
import subprocess
import sys
import unittest

LIBRARY, PROGRAM, STATIC_PROGRAM = (os.path.abspath(path) for path in sys.argv[1:4])
PATH = "/usr/local/bin:/usr/bin:/bin"


def run(command, preload=True):
    env = {"PATH": PATH, "LC_ALL": "C"}
    if preload:
        env["LD_PRELOAD"] = LIBRARY
    return subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )


def which(tool):
    return shutil.which(tool, path=PATH)


def skipped(tool, why="is not installed"):
    print("SKIPPED: %s %s" % (tool, why))


class ToolsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        plain = run([PROGRAM], preload=False)
        assert plain.returncode == 0, plain.stderr
        cls.expected = plain.stdout

    def check(self, command, preload=True):
        result = run(command, preload)
        self.assertEqual((result.returncode, result.stdout), (0, self.expected), result.stderr)
        self.assertNotIn("hz4: ", result.stderr)
        return result

    def test_without_a_tool(self):
        self.check([PROGRAM])

    # valgrind's tools run the program's every instruction themselves, and serialise its threads.
    def valgrind(self, *options):
        tool = which("valgrind")
        if tool is None:
            skipped("valgrind")
            return
        self.check([tool, "--quiet", *options, PROGRAM])

    def test_valgrind_none(self):
        self.valgrind("--tool=none")

    def test_memcheck_that_replaces_malloc(self):
        self.valgrind("--tool=memcheck", "--error-exitcode=9")

    def test_memcheck_that_leaves_malloc_to_hz4(self):
        self.valgrind("--tool=memcheck", "--soname-synonyms=somalloc=nouserintercepts", "--error-exitcode=9")

    def test_strace(self):
        tool = which("strace")
        if tool is None:
            skipped("strace")
            return
        if run([tool, "-o", "/dev/null", "/bin/true"], preload=False).returncode != 0:
            skipped("strace", "may not trace here")
            return
        self.check([tool, "-f", "-o", "/dev/null", PROGRAM])

    def test_gdb_calls_malloc_in_a_stopped_process(self):
        tool = which("gdb")
        if tool is None:
            skipped("gdb")
            return
        commands = [
            "set confirm off",
            "set startup-with-shell off",
            "set disable-randomization off",
            "set debuginfod enabled off",
            # Only the program gets hz4: gdb's own allocations are of no interest here.
            "set environment LD_PRELOAD " + LIBRARY,
            "break stop_here",
            "run",
            "set $small = ((void *(*)(unsigned long))malloc)(100)",
            "set $large = ((void *(*)(unsigned long))malloc)(10000000)",
            "set *(char *)$large = 1",
            "printf \"usable %lu %lu\\n\", ((unsigned long (*)(void *))hz4_malloc_usable_size)($small), "
            "((unsigned long (*)(void *))hz4_malloc_usable_size)($large)",
            "call ((void (*)(void *))free)($small)",
            "call ((void (*)(void *))free)($large)",
            "call ((void (*)(void))hz4_check)()",
            "continue",
        ]
        arguments = [word for command in commands for word in ("-ex", command)]
        result = run([tool, "-nx", "-batch", *arguments, PROGRAM], preload=False)
        if re.search("ptrace: Operation not permitted|not being run|Cannot (create|trace)", result.stderr + result.stdout):
            skipped("gdb", "may not trace here: " + result.stderr.strip().splitlines()[-1])
            return
        usable = re.search(r"usable (\d+) (\d+)", result.stdout)
        for line in self.expected.splitlines():
            self.assertIn(line, result.stdout)
        self.assertIn("exited normally", result.stdout)
        if usable is None and "Couldn't write extended state status" in result.stderr:
            skipped("gdb", "cannot call functions of a stopped process on this kernel; the rest of the session is the same")
            return
        self.assertIsNotNone(usable, result.stdout + result.stderr)
        self.assertGreaterEqual(int(usable.group(1)), 100)
        self.assertGreaterEqual(int(usable.group(2)), 10000000)

    def test_qemu_user(self):
        tool = which("qemu-x86_64") or which("qemu-x86_64-static")
        if tool is None:
            skipped("qemu-user")
            return
        self.check([tool, STATIC_PROGRAM], preload=False)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
