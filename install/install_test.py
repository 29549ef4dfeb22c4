"""Installs hz4 by CMake into a folder, and builds a program as users do, by pkg-config and by find_package, with the
shared library and with the archive: hz4 is its malloc.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from linked import check_bindings, check_new, check_static, run

ROOT = os.getcwd()
PROGRAM, SYMBOLS = (os.path.abspath(path) for path in sys.argv[1:3])

CONSUMER = """
cmake_minimum_required(VERSION 3.16)
project(consumer CXX)
set(HZ4_USE_STATIC_LIBS %s)
find_package(hz4 0.1 REQUIRED)
add_executable(malloc %s)
target_link_libraries(malloc hz4::malloc)
add_executable(hz4 names.cc)
target_link_libraries(hz4 hz4::hz4)
"""
NAMES = """
#include <hz4/hz4.h>
#include <string.h>
int main() { hz4_free(hz4_malloc(100)); return strcmp(hz4_version(), HZ4_VERSION_STRING); }
"""


def cmake(source, build, *arguments):
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run(["cmake", "-S", source, "-B", build, *generator, *arguments])
    run(["cmake", "--build", build])


def listed_symbols():
    with open(SYMBOLS) as lines:
        return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.prefix = os.path.join(cls.folder, "prefix")
        build = os.path.join(cls.folder, "build")
        cmake(ROOT, build, "-DCMAKE_INSTALL_PREFIX=" + cls.prefix, "-DCMAKE_INSTALL_LIBDIR=lib")
        run(["cmake", "--install", build])
        cls.lib = os.path.join(cls.prefix, "lib")

    def installed(self, *names):
        return os.path.join(self.prefix, *names)

    def test_files(self):
        found = {os.path.relpath(os.path.join(folder, name), self.prefix)
                 for folder, _, names in os.walk(self.prefix) for name in names}
        version = self.version()
        self.assertEqual({name for name in found if not name.startswith("lib/cmake/")}, {
            "bin/hz4", "bin/hz4-options", "include/hz4/hz4.h", "lib/libhz4.a", "lib/libhz4.so", "lib/libhz4.so.0",
            "lib/libhz4.so." + version, "lib/pkgconfig/hz4.pc", "share/man/man1/hz4-options.1", "share/man/man1/hz4.1",
            "share/man/man3/hz4.3", "share/man/man7/hz4.7", "share/bash-completion/completions/hz4",
            "share/fish/vendor_completions.d/hz4.fish", "share/zsh/vendor-completions/_hz4"})
        self.assertEqual(os.readlink(self.installed("lib", "libhz4.so")), "libhz4.so.0")

    def version(self):
        path = self.installed("lib", "pkgconfig")
        return run(["pkg-config", "--modversion", "hz4"], PKG_CONFIG_PATH=path).stdout.strip()

    def test_library(self):
        library = self.installed("lib", "libhz4.so")
        dynamic = run(["readelf", "-dW", library]).stdout
        self.assertIn("soname: [libhz4.so.0]", dynamic)
        self.assertEqual(set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)), {"libc.so.6"})
        self.assertIn("NODELETE", dynamic)
        names = {line.split()[-1] for line in run(["nm", "-D", "--defined-only", library]).stdout.splitlines()}
        self.assertEqual({name.partition("@")[0] for name in names if name != "HZ4_0"}, listed_symbols())
        self.assertEqual({name for name in names if name.startswith("hz4_") and not name.endswith("@@HZ4_0")}, set())
        with open(library, "rb") as file:
            self.assertFalse(b"locks are taken in rising rank" in file.read(), "asserts are for debug builds")

    def pkg_config(self, compiler_arguments, *arguments):
        flags = run(["pkg-config", *arguments, "--cflags", "--libs", "hz4"],
                    PKG_CONFIG_PATH=self.installed("lib", "pkgconfig")).stdout.split()
        program = os.path.join(self.folder, "program")
        run(["g++", "-O2", "-Wl,--as-needed", *compiler_arguments, PROGRAM, "-o", program, *flags])
        return program

    def test_pkg_config_shared(self):
        program = self.pkg_config([])
        check_new(self, program, self.lib)
        check_bindings(self, program, self.lib, "libhz4.so.0")

    def test_pkg_config_static(self):
        program = self.pkg_config(["-static"], "--static")
        check_new(self, program, "")
        check_static(self, program)

    def find_package(self, static):
        source = os.path.join(self.folder, "consumer" + static)
        os.mkdir(source)
        with open(os.path.join(source, "CMakeLists.txt"), "w") as file:
            file.write(CONSUMER % (static, PROGRAM))
        with open(os.path.join(source, "names.cc"), "w") as file:
            file.write(NAMES)
        build = os.path.join(source, "build")
        cmake(source, build, "-DCMAKE_PREFIX_PATH=" + self.prefix, "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed")
        run([os.path.join(build, "hz4")])
        return os.path.join(build, "malloc")

    def test_find_package_shared(self):
        program = self.find_package("OFF")
        check_new(self, program, "")
        check_bindings(self, program, "", "libhz4.so.0")

    def test_find_package_archive(self):
        program = self.find_package("ON")
        self.assertNotIn("libhz4", run(["readelf", "-d", program]).stdout)
        check_new(self, program, "")
        check_bindings(self, program, "", "malloc")

    def test_command(self):
        """It finds the library, and the manual and bash's completion know all that it says of itself."""
        command = self.installed("bin", "hz4")
        self.assertIn("/lib/libhz4.so." + self.version(), run([command, "run", "-n", self.pkg_config([])]).stdout)
        with open(self.installed("share", "man", "man1", "hz4.1")) as page:
            text = page.read()
        listed = re.findall(r"(?m)^  (\w+) ", run([command, "--help"]).stdout)
        self.assertEqual(re.findall(r"(?m)^\.It Cm (\w+)$", text), listed)
        completion = self.installed("share", "bash-completion", "completions", "hz4")
        ask = ". %s; COMP_WORDS=(hz4 %s) COMP_CWORD=%d; _hz4; echo ${COMPREPLY[@]}"
        self.assertEqual(run(["bash", "-c", ask % (completion, "''", 1)]).stdout.split()[:len(listed)], listed)
        for name in listed:
            options = re.findall(r"(?m)^  -\w, --([\w-]+)", run([command, name, "--help"]).stdout)
            (part,) = re.findall(r"(?ms)^\.It Cm %s$(.*?)(?=^\.It Cm|^\.Sh)" % name, text)
            documented = re.findall(r"(?m)^\.It Fl \w , -([\w-]+)", part)
            self.assertEqual(documented + ["help"], options)

    def test_options_are_those_of_the_manual(self):
        listed = re.findall(r"^(HZ4_\w+) ", run([self.installed("bin", "hz4-options")]).stdout, re.MULTILINE)
        with open(self.installed("share", "man", "man7", "hz4.7")) as page:
            documented = re.findall(r"^\.It Ev (HZ4_\w+)$", page.read(), re.MULTILINE)
        self.assertEqual(sorted(documented), sorted(listed))  # the manual has them by what they are for

    def test_functions_are_those_of_the_manual(self):
        with open(self.installed("share", "man", "man3", "hz4.3")) as page:
            text = page.read()
        functions = sorted(name for name in listed_symbols() if name.startswith("hz4_"))
        self.assertEqual(sorted(re.findall(r"^\.Nm (hz4_\w+)", text, re.MULTILINE)), functions)
        self.assertEqual(sorted(re.findall(r"^\.Fn (hz4_\w+) [\"v]", text, re.MULTILINE)), functions)

    def test_manual_is_clean(self):
        if shutil.which("mandoc") is None:
            self.skipTest("no mandoc, which looks for mistakes in manual pages")
        found = os.walk(self.installed("share", "man"))
        pages = [os.path.join(folder, name) for folder, _, names in found for name in names]
        done = subprocess.run(["mandoc", "-Tlint", *pages], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True)
        # Whether a page that is referred to is installed here is no matter.
        self.assertEqual([line for line in done.stdout.splitlines() if "referenced manual not found" not in line], [])


if __name__ == "__main__":
    missing = [tool for tool in ["cmake", "pkg-config", "gcc", "g++"] if shutil.which(tool) is None]
    if missing:
        print("SKIPPED: no " + ", ".join(missing))
        sys.exit(0)
    unittest.main(argv=sys.argv[:1])
