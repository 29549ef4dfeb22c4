"""hz4 doctor: what it says of processes, of programs, and of machines that are made up."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from command import LIBRARY, OTHER, Running, clean, hz4, subject


def lines_of(out):
    """{name: what is said of it}"""
    return dict(re.findall(r"(?m)^(\w[\w ]*?) {2,}(.*)$", out))


class DoctorTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)

    def process(self, *command, **variables):
        with Running(*command, env=clean(**variables)) as running:
            status, out, err = hz4("doctor", running.pid)
        self.assertEqual(err, "")
        return status, lines_of(out)

    def test_preloaded(self):
        status, said = self.process(subject(), LD_PRELOAD=LIBRARY, HZ4_DIRTY_KIB="64", HZ4_NONE="1")
        self.assertEqual((status, said["active"]), (0, "yes: " + LIBRARY))
        self.assertEqual(said["options"], "HZ4_DIRTY_KIB=64")
        self.assertIn("of", said["mappings"])
        self.assertRegex(said["resident"], r"^[\d.]+ [KM]iB$")

    def test_options_that_are_ignored(self):
        for name, value, why in (("HZ4_NONE", "1", "unknown"), ("HZ4_DIRTY_KIB", "64MB", "not a value that it takes"),
                                 ("HZ4_FRONT", "x", "not a value that it takes")):
            said = self.process(subject(), LD_PRELOAD=LIBRARY, **{name: value})[1]
            self.assertEqual(said["options"], "%s=%s (%s, ignored)" % (name, value, why))

    def test_by_another_name(self):
        link = os.path.join(self.folder, "libhz4.so.0")
        os.symlink(LIBRARY, link)
        self.assertEqual(self.process(subject(), LD_PRELOAD=link)[0], 0)

    def test_the_library_was_replaced(self):
        """As by an upgrade, whose file has another name."""
        copy = os.path.join(self.folder, "libhz4.so.0.1.0")
        shutil.copy(LIBRARY, copy)
        with Running(subject(), env=clean(LD_PRELOAD=copy)) as running:
            os.remove(copy)
            status, out, err = hz4("doctor", running.pid)
        self.assertEqual((status, lines_of(out)["active"], err), (0, "yes: " + copy, ""))

    def test_who_comes_first(self):
        for first, second in ((LIBRARY, OTHER), (OTHER, LIBRARY)):
            preload = "%s:%s" % (first, second)
            for words in ((), ("hide",)):
                status, said = self.process(subject(), *words, LD_PRELOAD=preload)
                active = "yes: " + LIBRARY if first == LIBRARY else "no: its malloc is that of " + os.path.realpath(OTHER)
                self.assertEqual((status, said["active"]), (0 if first == LIBRARY else 1, active))

    def test_hz4_itself_says_so(self):
        """HZ4_VERBOSE, where it is the malloc and where it is only loaded."""
        for first, second in ((LIBRARY, OTHER), (OTHER, LIBRARY)):
            said = subprocess.run([subject()], env=clean(LD_PRELOAD="%s:%s" % (first, second), HZ4_VERBOSE="1"),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True).stderr
            (self.assertNotIn if first == LIBRARY else self.assertIn)("but malloc is another's", said)

    def test_linked(self):
        for kind in ("_linked", "_static_linked"):
            status, said = self.process(subject(kind))
            self.assertEqual((status, said["active"]), (0, "yes: linked in"))

    def test_not_active(self):
        for kind, preload, word in (("", None, "not set"), ("_own", LIBRARY, "malloc of its own"),
                                    ("_static", LIBRARY, "statically"), ("", "/none/libhz4.so", "has not loaded")):
            status, said = self.process(subject(kind), **({"LD_PRELOAD": preload} if preload else {}))
            self.assertEqual(status, 1)
            self.assertRegex(said["active"], "^no: .*" + word)

    def test_caches(self):
        status, said = self.process(subject(), LD_PRELOAD=LIBRARY, HZ4_FRONT="thread")
        self.assertEqual(said["caches"], "of threads: HZ4_FRONT=thread")
        status, said = self.process(subject(), LD_PRELOAD=LIBRARY, GLIBC_TUNABLES="glibc.pthread.rseq=0")
        self.assertIn("glibc.pthread.rseq=0", said["caches"])
        ignored = self.process(subject(), LD_PRELOAD=LIBRARY, HZ4_FRONT="threads")[1]
        self.assertNotIn("HZ4_FRONT", ignored["caches"])
        self.assertEqual(status, 0)

    def test_programs(self):
        for kind, good in (("", True), ("_linked", True), ("_static", False), ("_own", False)):
            status, out, err = hz4("doctor", subject(kind))
            self.assertEqual((status, err), (0 if good else 1, ""))
            self.assertTrue(lines_of(out)["would be"].startswith("yes: " if good else "no: "), out)

    def machine(self, **files):
        for path, text in files.items():
            path = os.path.join(self.folder, path.replace("__", "/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        status, out, err = hz4("doctor", "--root", self.folder)
        self.assertEqual((status, err), (0, ""))
        return lines_of(out)

    def test_machines(self):
        said = self.machine()
        self.assertEqual((said["huge pages"], said["cgroup"], said["mappings"]),
                         ("the kernel has none", "no limit of memory", "unknown"))
        for name, word in (("always", "used densely"), ("madvise", "used densely"), ("never", "no effect")):
            text = "always madvise never".replace(name, "[%s]" % name)
            said = self.machine(sys__kernel__mm__transparent_hugepage__enabled=text + "\n")
            self.assertTrue(said["huge pages"].startswith(name), said)
            self.assertIn(word, said["huge pages"])
        for number, word in (("0", "heuristic"), ("1", "always"), ("2", "never"), ("x", "unknown")):
            self.assertIn(word, self.machine(proc__sys__vm__overcommit_memory=number + "\n")["overcommit"])

    def test_cgroups(self):
        files = {"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__b__memory.max": "max\n",
                 "sys__fs__cgroup__a__memory.max": "%d\n" % (3 << 30), "sys__fs__cgroup__a__memory.high": "%d\n" % (2 << 30)}
        self.assertEqual(self.machine(**files)["cgroup"],
                         "2.0 GiB, by /sys/fs/cgroup/a/memory.high; HZ4_LIMIT=cgroup keeps hz4 to it")
        files = {"proc__self__cgroup": "4:memory:/c\n1:cpu:/\n0::/\n",
                 "sys__fs__cgroup__memory__c__memory.limit_in_bytes": "1048576\n",
                 "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712\n"}
        self.assertTrue(self.machine(**files)["cgroup"].startswith(
            "1.0 MiB, by /sys/fs/cgroup/memory/c/memory.limit_in_bytes;"))

    def test_bad_usage(self):
        for words, expected, named in ((("-x",), 2, "-x"), (("1", "2"), 2, "one process"), (("-l",), 2, "-l"),
                                       (("999999999",), 1, "no process"), (("99999999999999999999",), 2, "number"),
                                       (("0",), 2, "number"), (("-l", "/none"), 1, "/none")):
            status, out, err = hz4("doctor", *words)
            self.assertEqual((status, out, err.count("\n")), (expected, "", 1), (words, err))
            self.assertIn(named, err)


if __name__ == "__main__":
    unittest.main()
