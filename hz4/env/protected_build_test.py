"""libhz4.so by the flags that distributions build with: what they ask for is there, and what it costs.

protected_build_test.py <flag>... <list of imports> <list of symbols> <version script> <source>...
"""

import os
import platform
import re
import subprocess
import sys
import tempfile
import unittest

FLAGS = [argument for argument in sys.argv[1:] if argument.startswith("-")]
SOURCES = [argument for argument in sys.argv[1:] if argument.endswith(".c")]
IMPORTS, SYMBOLS = [argument for argument in sys.argv[1:] if argument.endswith(".txt")]
MAP = next(argument for argument in sys.argv[1:] if argument.endswith(".map"))

# Debian's dpkg-buildflags with hardening=+all, Ubuntu's defaults, Fedora's.
DISTRIBUTION = ["-O2", "-fstack-clash-protection", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fcf-protection=full"]
FAST_PATHS = {"malloc": 22, "free": 32}  # instructions to the first return, of which one is the mark
SLOW_WAYS = ("hz4_tcache_", "hz4_stats_", "hz4_options_")  # which have arrays on the stack


def output(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs).stdout


def listed(path):
    with open(path, encoding="utf-8") as file:
        return {line.split()[0] for line in file if line.strip() and not line.startswith("#")}


@unittest.skipIf(platform.machine() != "x86_64", "the flags are x86-64's")
class ProtectedBuildTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.library = os.path.join(cls.directory.name, "libhz4.so")
        sources = [source for source in SOURCES if not source.endswith("operators_archive.c")]
        output("gcc", *DISTRIBUTION, *FLAGS, "-shared", "-o", cls.library, *sources, "-Wl,--as-needed",
               "-Wl,--version-script=" + MAP, "-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,-z,relro", "-lpthread")
        cls.code = {}
        for name, body in re.findall(r"^[0-9a-f]+ <(\w+)[^>]*>:\n((?:.+\n)*)",
                                     output("objdump", "-d", "--no-show-raw-insn", cls.library), re.MULTILINE):
            cls.code[name] = [line.split("\t", 1)[1].strip() for line in body.splitlines() if "\t" in line]

    def test_what_is_called_by_a_pointer_begins_with_a_mark(self):
        for name in listed(SYMBOLS):
            self.assertEqual(self.code[name][0], "endbr64", name)

    def test_it_costs_malloc_and_free_one_instruction_each(self):
        for name, count in FAST_PATHS.items():
            fast = self.code[name][:self.code[name].index("ret") + 1]
            self.assertEqual(len(fast), count, "\n".join(fast))

    def test_the_child_of_vfork_leaves_the_shadow_stack_alone(self):
        self.assertIn("rdsspq %rdx", self.code["vfork"])
        self.assertIn("notrack jmp *%rdi", self.code["vfork"])

    def test_stacks_are_protected_but_for_the_fast_path(self):
        protected = {name for name, lines in self.code.items() if any("%fs:0x28" in line for line in lines)}
        self.assertFalse(protected & {"malloc", "free", "calloc", "hz4_malloc", "hz4_free"})
        for prefix in SLOW_WAYS:
            self.assertTrue(any(name.startswith(prefix) for name in protected), prefix)

    def test_segments(self):
        headers = output("readelf", "-lW", self.library)
        self.assertRegex(headers, r"GNU_RELRO")
        self.assertRegex(headers, r"GNU_STACK .* RW +0x")
        self.assertNotIn(" RWE ", headers)
        dynamic = output("readelf", "-dW", self.library)
        self.assertRegex(dynamic, r"FLAGS.*BIND_NOW|FLAGS.* NOW")
        self.assertNotRegex(dynamic, r"TEXTREL|RPATH|RUNPATH")

    def test_nothing_else_of_libc_is_needed_but_checked_forms(self):
        undefined = {line.split()[-1].partition("@")[0] for line in
                     output("nm", "-D", "--undefined-only", self.library).splitlines()}
        checked = {name for name in undefined if name.startswith("__") and name.endswith("_chk")}
        self.assertIn("__fprintf_chk", checked)
        self.assertEqual(undefined - checked - listed(IMPORTS), set())
        self.assertEqual({name[2:-len("_chk")] for name in checked} - listed(IMPORTS), set())

    def test_programs_run(self):
        environment = dict(os.environ, LD_PRELOAD=self.library, HZ4_HELLO="1")  # of which hz4 complains
        said = output("sh", "-c", "ls / | sort | wc -l; (ls /; ls /usr) | sort | md5sum", env=environment)
        self.assertIn("hz4: unknown option", said)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
