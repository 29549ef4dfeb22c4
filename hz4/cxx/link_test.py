"""A program in C++ that uses new and delete alone, linked by g++ as users link it: hz4 is its malloc.

By default Debian's and Ubuntu's g++ passes --as-needed, which drops a library whose names the program does not use, and
nobody takes a file out of an archive whose names he does not use.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SHARED, ARCHIVE, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:4])
LARGE_BYTES = 20 << 20  # of the block that the program has at its end


def run(command, **environment):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, **environment))


class LinkTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ["libhz4.so", "libhz4.so.0"]:
            shutil.copy(SHARED, os.path.join(self.folder, name))
        shutil.copy(ARCHIVE, os.path.join(self.folder, "libhz4_static.a"))

    def link(self, *arguments):
        program = os.path.join(self.folder, "program")
        run(["g++", "-O2", "-Wl,--as-needed", PROGRAM, "-o", program, "-L" + self.folder, *arguments])
        return program

    def check_new(self, program):
        """By hz4's own statistics, at the program's exit."""
        done = run([program], LD_LIBRARY_PATH=self.folder, HZ4_STATS="2")
        self.assertEqual(json.loads(done.stderr)["large_live_mapped_bytes"], LARGE_BYTES)

    def check_bindings(self, program, library):
        """By the dynamic linker's word: who answers to the program, and to the C++ library's own calls."""
        done = run([program], LD_LIBRARY_PATH=self.folder, LD_DEBUG="bindings", LD_BIND_NOW="1")
        for symbol in ["_Znwm", "_ZdlPvm", "malloc", "free"]:
            bound = re.findall(r"binding file \S+ \[0\] to (\S+) \[0\]: normal symbol `%s'" % symbol, done.stderr)
            self.assertGreaterEqual(len(bound), 1, symbol)
            self.assertEqual({os.path.basename(path) for path in bound}, {library}, symbol)

    def test_shared(self):
        program = self.link("-lhz4")
        self.assertIn("[libhz4.so.0]", run(["readelf", "-d", program]).stdout)
        self.check_new(program)
        self.check_bindings(program, "libhz4.so.0")

    def test_archive(self):
        program = self.link("-lhz4_static", "-lpthread")
        self.check_new(program)
        self.check_bindings(program, "program")

    def test_static(self):
        program = self.link("-static", "-lhz4_static", "-lpthread")
        self.check_new(program)
        names = {line.split()[-1] for line in run(["nm", program]).stdout.splitlines()}
        self.assertIn("hz4_alloc_malloc_slow", names)
        self.assertNotIn("_int_malloc", names, "glibc's malloc is in it as well")


if __name__ == "__main__":
    if shutil.which("g++") is None:
        print("SKIPPED: no g++, which links C++ as users do")
        sys.exit(0)
    unittest.main(argv=sys.argv[:1])
