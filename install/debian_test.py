"""Builds Debian's packages out of the tree, puts lintian to them, and links a program with what is in them."""

import glob
import os
import shutil
import sys
import tempfile
import unittest

from linked import check_bindings, check_new, run

ROOT = os.getcwd()
PROGRAM = os.path.abspath(sys.argv[1])
PACKAGES = ["hz4-tools", "libhz4-0", "libhz4-dev"]
ENVIRONMENT = {"DEB_BUILD_OPTIONS": "noautodbgsym", "LC_ALL": "C.UTF-8", "PERL_BADLANG": "0"}


class DebianTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        source = os.path.join(cls.folder, "hz4")
        os.mkdir(source)
        for name in ["CMakeLists.txt", "LICENSE", "cmake", "cmd", "debian", "hz4", "man", "tools"]:
            copy = shutil.copytree if os.path.isdir(name) else shutil.copy
            copy(os.path.join(ROOT, name), os.path.join(source, name))
        os.chdir(source)
        run(["dpkg-buildpackage", "--unsigned-source", "--unsigned-changes", "--build=full"], **ENVIRONMENT)
        os.chdir(cls.folder)
        cls.debs = sorted(glob.glob("*.deb"))
        cls.root = os.path.join(cls.folder, "root")
        for deb in cls.debs:
            run(["dpkg-deb", "-x", deb, cls.root])

    def test_packages(self):
        self.assertEqual([deb.split("_")[0] for deb in self.debs], PACKAGES)

    def test_lintian(self):
        (changes,) = glob.glob("*.changes")
        done = run(["lintian", "--allow-root", "--fail-on", "error,warning", changes], **ENVIRONMENT)
        self.assertEqual([line for line in done.stdout.splitlines() if line[:2] in ("E:", "W:")], [])

    def test_program(self):
        (library,) = glob.glob(os.path.join(self.root, "usr/lib/*/libhz4.so"))
        folder = os.path.dirname(library)
        program = os.path.join(self.folder, "program")
        run(["g++", "-O2", "-Wl,--as-needed", PROGRAM, "-o", program, "-I" + os.path.join(self.root, "usr/include"),
             "-L" + folder, "-lhz4"])
        check_new(self, program, folder)
        check_bindings(self, program, folder, "libhz4.so.0")


if __name__ == "__main__":
    missing = [tool for tool in ["dpkg-buildpackage", "dh", "lintian", "cmake", "g++"] if shutil.which(tool) is None]
    if missing:
        print("SKIPPED: no " + ", ".join(missing))
        sys.exit(0)
    unittest.main(argv=sys.argv[:1])
