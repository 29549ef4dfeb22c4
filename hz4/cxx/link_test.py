"""A program in C++ that uses new and delete alone, linked by g++ as users link it: hz4 is its malloc.

By default Ubuntu's g++ and others pass --as-needed, which drops a library whose names the program does not use; and
nobody takes a file out of an archive whose names he does not use.
"""

import os
import shutil
import sys
import tempfile
import unittest

from linked import check_bindings, check_new, check_static, run

SHARED, ARCHIVE, PROGRAM, CATCH = (os.path.abspath(path) for path in sys.argv[1:5])


class LinkTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ["libhz4.so", "libhz4.so.0"]:
            shutil.copy(SHARED, os.path.join(self.folder, name))
        shutil.copy(ARCHIVE, os.path.join(self.folder, "libhz4_static.a"))

    def link(self, *arguments, source=PROGRAM):
        program = os.path.join(self.folder, "program")
        run(["g++", "-O2", "-Wl,--as-needed", source, "-o", program, "-L" + self.folder, *arguments])
        return program

    def test_shared(self):
        program = self.link("-lhz4")
        check_new(self, program, self.folder)
        check_bindings(self, program, self.folder, "libhz4.so.0")

    def test_archive(self):
        program = self.link("-lhz4_static", "-lpthread")
        check_new(self, program, self.folder)
        check_bindings(self, program, self.folder, "program")

    def test_static(self):
        program = self.link("-static", "-lhz4_static", "-lpthread")
        check_new(self, program, self.folder)
        check_static(self, program)

    def test_bad_alloc_of_a_library_inside_the_program(self):
        program = self.link("-static-libstdc++", "-lhz4", source=CATCH)
        self.assertNotIn("libstdc++", run(["readelf", "-d", program]).stdout)
        run([program], LD_LIBRARY_PATH=self.folder)


if __name__ == "__main__":
    if shutil.which("g++") is None:
        print("SKIPPED: no g++, which links C++ as users do")
        sys.exit(0)
    unittest.main(argv=sys.argv[:1])
