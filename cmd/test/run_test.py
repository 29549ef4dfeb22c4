"""hz4 run: the program's malloc is hz4, or it says why not, and the program is not run."""

import os
import platform
import shutil
import struct
import subprocess
import tempfile
import unittest

from command import HZ4, LIBRARY, clean, hz4, patched, subject


class RunTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def script(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), 0o755)
        return self.path(name)

    def refused(self, word, *arguments, **variables):
        status, out, err = hz4("run", *arguments, env=clean(**variables))
        self.assertEqual((status, out, err.count("\n")), (1, "", 1), err)
        self.assertRegex(err, r"\Ahz4 run: ")
        self.assertIn(word, err)

    def test_its_malloc_is_hz4(self):
        self.assertEqual(hz4("run", "--", subject(), "a", "-b"), (7, "hz4 a -b\n", ""))
        self.assertEqual(hz4("run", subject(), "-o", "x"), (7, "hz4 -o x\n", ""), "options behind are the program's")
        self.assertEqual(hz4("run", "-l", LIBRARY, subject()), (7, "hz4\n", ""))

    def test_the_program_is_looked_for(self):
        found = {"PATH": os.path.dirname(subject())}
        self.assertEqual(hz4("run", "subject", env=clean(**found))[:2], (7, "hz4\n"))
        self.refused("no such program", "subject_none", **found)

    def test_options(self):
        words = ("-o", "dirty_kib=64", "--option=HZ4_FRONT=thread", "-s")
        status, out, err = hz4("run", *words, subject())
        self.assertEqual((status, out), (7, "hz4 HZ4_DIRTY_KIB=64 HZ4_FRONT=thread HZ4_STATS=1\n"))
        self.assertIn("HZ4_", err)
        self.assertNotIn("ignored", err)

    def test_a_preload_that_is_there_stays_behind(self):
        line = self.script("env", "#!/bin/sh\necho \"$LD_PRELOAD\"\n")
        other = self.path("other.so")
        shutil.copy(LIBRARY, other)
        self.assertEqual(hz4("run", line, env=clean(LD_PRELOAD=other))[1], "%s:%s\n" % (LIBRARY, other))

    def test_dry(self):
        status, out, err = hz4("run", "-n", subject())
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"linked dynamically, .* would be .*libhz4\.so")

    def test_hz4_linked_in(self):
        for kind, owner in (("_linked", os.path.basename(subject("_linked"))), ("_static_linked", "static")):
            status, out, _ = hz4("run", subject(kind))
            self.assertEqual(status, 7, out)
            self.assertIn("linked in", hz4("run", "-n", subject(kind))[1])

    def test_refusals(self):
        self.refused("statically", subject("_static"))
        self.refused("malloc of its own", subject("_own"))
        self.refused("No such file", "-l", self.path("none"), subject())
        self.refused("No such file", self.path("none"))
        self.refused("no program that may be run", self.folder)
        os.chmod(self.script("text", "echo"), 0o644)
        self.refused("no program that may be run", self.path("text"))
        self.refused("neither ELF nor a script", self.script("nothing", "echo\n"))
        self.refused("no library", "-l", self.script("nothing", "echo\n" * 99), subject())
        self.refused("not hz4's", "-l", subject(), subject())

    def test_another_machine(self):
        with open(subject(), "rb") as file:
            head = file.read(20)
        other = 183 if platform.machine() == "x86_64" else 62
        patched(subject(), self.path("other"), head, head[:18] + struct.pack("<H", other))
        self.refused("is a program of " + ("aarch64" if other == 183 else "x86-64"), self.path("other"))

    def test_another_libc(self):
        linker = b"/ld-linux"
        patched(subject(), self.path("other"), linker, b"/ld-musl-")
        self.refused("C library of musl", self.path("other"))

    def test_privileges(self):
        if os.getuid() != 0:
            self.skipTest("SKIPPED: only root may give a file away")
        shutil.copy(subject(), self.path("other"))
        try:
            os.chown(self.path("other"), 65534, -1)
            os.chmod(self.path("other"), 0o4755)
        except OSError as error:
            self.skipTest("SKIPPED: no file can be given away here: %s" % error.strerror)
        if os.statvfs(self.folder).f_flag & os.ST_NOSUID:
            self.skipTest("SKIPPED: a file system without set-user-ID")
        with open("/proc/self/status", encoding="utf-8") as status:
            if "NoNewPrivs:\t1" in status.read():
                self.skipTest("SKIPPED: no set-user-ID here (a sandbox)")
        self.refused("set-user-ID", self.path("other"))

    def test_scripts(self):
        good = self.script("good", "#!%s first\n" % subject())
        if len(subject()) > 200:
            self.skipTest("SKIPPED: the path is too long for #!")
        self.assertEqual(hz4("run", good, "second")[:2], (7, "hz4 first %s second\n" % good))
        self.refused("is a script: " + subject("_static"), self.script("bad", "#! %s\n" % subject("_static")))
        self.refused("which is no program", self.script("bad", "#!/nowhere/none\n"))
        self.refused("neither ELF nor a script", self.script("bad", "#!\n"))
        env = shutil.which("env")
        found = {"PATH": os.path.dirname(subject())}
        self.refused("statically", self.script("bad", "#!%s subject_static\n" % env), **found)
        self.assertEqual(hz4("run", "-n", self.script("good", "#!%s -S A=1 subject\n" % env), env=clean(**found))[0], 0)
        name = self.path("self")
        self.refused("the kernel refuses it", self.script("self", "#!%s\n" % name))

    def test_files_that_lie(self):
        with open(subject(), "rb") as file:
            whole = file.read()
        for length in [*range(0, 2000, 37), *range(2000, len(whole), 1009)]:
            with open(self.path("part"), "wb") as file:
                file.write(whole[:length])
            os.chmod(self.path("part"), 0o755)
            status, _, err = hz4("run", "-n", self.path("part"))
            self.assertIn((status, err.count("\n")), [(1, 1), (0, 0)], (length, err))
        for offset in range(16, 64):
            with open(self.path("part"), "wb") as file:
                file.write(whole[:offset] + b"\xff" + whole[offset + 1:])
            status, _, err = hz4("run", "-n", self.path("part"))
            self.assertIn((status, err.count("\n")), [(1, 1), (0, 0)], (offset, err))

    def test_bad_usage(self):
        for words, named in (((), "which program"), (("--none",), "--none"), (("-x", "a"), "-x"), (("-o",), "-o"),
                             (("-o", "a"), "NAME=VALUE"), (("-o", "=1"), "NAME=VALUE"), (("-o", "none=1"), "HZ4_NONE"),
                             (("-o", "dirty_kib=64MB", "a"), "64MB"), (("-o", "front=2", "a"), "HZ4_FRONT"),
                             (("-o", "limit=2Gb", "a"), "HZ4_LIMIT"),
                             (("-l",), "-l"), (("--stats=1", "a"), "--stats"), (("-o", "x" * 99 + "=1"), "NAME=VALUE")):
            status, out, err = hz4("run", *words)
            self.assertEqual((status, out, err.count("\n")), (2, "", 1), (words, err))
            self.assertIn(named, err)

    def test_help(self):
        for words in (("run", "--help"), ("doctor", "-h"), ("--help",), ("help",), ("doctor",)):
            status, out, err = hz4(*words)
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out.startswith("usage: hz4 " if words != ("doctor",) else "hz4 "), out)
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([HZ4, *words], env=clean(), stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 1))
        self.assertRegex(hz4("--version")[1], r"\Ahz4 \d+\.\d+\.\d+\n\Z")
        for words in ((), ("none",), ("--none",)):
            status, out, err = hz4(*words)
            self.assertEqual((status, out, err.count("\n")), (2, "", 1))


if __name__ == "__main__":
    unittest.main()
