"""Under valgrind, gdb, strace and qemu-user a program with hz4 does what it does without them."""

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
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


def gdb(tool, commands):
    return run([tool, "-nx", "-batch", *[word for command in commands for word in ("-ex", command)]], preload=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sequences():
    """Where each sequence of the static program starts and ends, by the kernel's descriptors: addresses, for it is not PIE."""
    with tempfile.NamedTemporaryFile() as content:
        copy = ["objcopy", "-O", "binary", "--only-section=__rseq_cs", STATIC_PROGRAM, content.name]
        run(copy, preload=False).check_returncode()
        words = struct.iter_unpack("<IIQQQ", content.read())
        return [(start, start + length) for _, _, start, length, _ in words]


def sequence_in(function):
    """The first one in a function."""
    listing = run(["nm", "-S", STATIC_PROGRAM], preload=False).stdout
    found = re.search(r"^(\w+) (\w+) [TtWw] %s$" % function, listing, re.MULTILINE)
    low, size = int(found.group(1), 16), int(found.group(2), 16)
    return next((sequence for sequence in sorted(sequences()) if low <= sequence[0] < low + size), None)


GDB_SETTINGS = [
    "set confirm off",
    "set startup-with-shell off",
    "set disable-randomization off",
    "set debuginfod enabled off",
]

# malloc and free, called by gdb in a process that stands still.
GDB_CALLS = [
    "set $small = ((void *(*)(unsigned long))malloc)(100)",
    "set $large = ((void *(*)(unsigned long))malloc)(10000000)",
    "set *(char *)$large = 1",
    "printf \"usable %lu %lu\\n\", ((unsigned long (*)(void *))malloc_usable_size)($small), "
    "((unsigned long (*)(void *))malloc_usable_size)($large)",
    "call ((void (*)(void *))free)($small)",
    "call ((void (*)(void *))free)($large)",
]


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

    # Neither has sequences of its own: there each thread has a cache.
    def test_caches_belong_to_threads(self):
        for name, options in (("valgrind", ["-q", "--tool=none"]), ("qemu-x86_64", [])):
            tool = which(name)
            if tool is None:
                skipped(name)
                continue
            session = run(["/usr/bin/env", "HZ4_STATS=1", tool, *options, STATIC_PROGRAM], preload=False)
            self.assertIn("by_cpu=0 ", session.stderr)

    def test_strace(self):
        tool = which("strace")
        if tool is None:
            skipped("strace")
            return
        if run([tool, "-o", "/dev/null", "/bin/true"], preload=False).returncode != 0:
            skipped("strace", "may not trace here")
            return
        self.check([tool, "-f", "-o", "/dev/null", PROGRAM])

    def check_calls(self, session):
        text = session.stdout + session.stderr
        usable = re.search(r"usable (\d+) (\d+)", text)
        self.assertIn("exited normally", text)
        if usable is None and "Couldn't write extended state status" in text:
            skipped("gdb", "cannot call functions of a stopped process on this kernel; the rest of the session is the same")
            return
        self.assertIsNotNone(usable, text)
        self.assertGreaterEqual(int(usable.group(1)), 100)
        self.assertGreaterEqual(int(usable.group(2)), 10000000)

    def test_gdb_calls_malloc_in_a_stopped_process(self):
        tool = which("gdb")
        if tool is None:
            skipped("gdb")
            return
        # Only the program gets hz4: gdb's own allocations are of no interest here.
        preload = "set environment LD_PRELOAD " + LIBRARY
        commands = [*GDB_SETTINGS, "file " + PROGRAM, preload, "break stop_here", "run", *GDB_CALLS]
        session = gdb(tool, [*commands, "call ((void (*)(void))hz4_check)()", "continue"])
        text = session.stdout + session.stderr
        if re.search("ptrace: Operation not permitted|not being run|Cannot (create|trace)", text):
            skipped("gdb", "may not trace here: " + session.stderr.strip().splitlines()[-1])
            return
        for line in self.expected.splitlines():
            self.assertIn(line, session.stdout)
        self.check_calls(session)

    # The program stops in malloc's or free's sequence. A debugger that stops a thread there makes it begin anew: so it comes
    # again and again to a breakpoint in a sequence, and by single steps never to its end; but it does once the breakpoint is
    # gone, and by anything that lets it run.
    def step_in_sequence(self, *commands):
        tool = which("gdb")
        if tool is None:
            skipped("gdb")
            return None
        start = ["file " + STATIC_PROGRAM, "break stop_here", "run", "delete"]
        session = gdb(tool, [*GDB_SETTINGS, *start, *commands])
        text = session.stdout + session.stderr
        if re.search("ptrace: Operation not permitted|Cannot (create|trace)", text):
            skipped("gdb", "may not trace here: " + session.stderr.strip().splitlines()[-1])
            return None
        self.assertIn("exited normally", text)
        return session

    def test_gdb_steps_over_malloc_and_free(self):
        session = self.step_in_sequence("tbreak malloc", "continue", "finish", *["nexti"] * 100, "continue")
        if session is not None:
            self.assertIn("Temporary breakpoint 2, ", session.stdout)
            self.assertIn("child 17", session.stdout)

    def test_gdb_stops_in_a_sequence(self):
        if which("objcopy") is None or sequence_in("malloc") is None:
            skipped("objcopy, or a sequence,")
            return
        start, end = sequence_in("malloc")
        stop = ["break *%d" % (start + 4), *["continue"] * 5]
        session = self.step_in_sequence(*stop, "delete", "continue")
        if session is not None:
            self.assertIn("Breakpoint 2, ", session.stdout)
            self.assertIn("child 17", session.stdout)
        # Single steps, and then off: by a breakpoint behind it, or by finish.
        for leave in (["finish"], ["tbreak *%d" % end, "continue"]):
            session = self.step_in_sequence(*stop, "delete", *["stepi"] * 60, *leave, "continue")
            if session is not None:
                self.assertIn("child 17", session.stdout)

    def qemu(self):
        tool = which("qemu-x86_64") or which("qemu-x86_64-static")
        if tool is None:
            skipped("qemu-user")
        return tool

    # qemu-user's madvise does nothing, says yes, and keeps the content.
    def test_qemu_user(self):
        tool = self.qemu()
        if tool is not None:
            self.check([tool, STATIC_PROGRAM], preload=False)
            self.check([tool, "-E", "LD_PRELOAD=" + LIBRARY, PROGRAM], preload=False)

    # qemu writes the registers of its machine, where a kernel may refuse gdb those of a process.
    def test_gdb_calls_malloc_in_qemu_user(self):
        tool, debugger = self.qemu(), which("gdb")
        if tool is None or debugger is None:
            skipped("gdb with qemu-user")
            return
        port = free_port()
        machine = subprocess.Popen(
            [tool, "-g", str(port), STATIC_PROGRAM], stdout=subprocess.PIPE, universal_newlines=True
        )
        try:
            remote = ["set tcp connect-timeout 60", "target remote localhost:%d" % port]  # it tries until then
            commands = [*GDB_SETTINGS, "file " + STATIC_PROGRAM, *remote, "break stop_here", "continue", *GDB_CALLS]
            session = gdb(debugger, [*commands, "continue"])
            output = machine.communicate()[0]
        finally:
            machine.kill()
            machine.wait()
        self.assertEqual(output, self.expected)
        self.check_calls(session)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
