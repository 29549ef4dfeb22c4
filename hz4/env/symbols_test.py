"""What libhz4.so shows to the dynamic linker: its symbols, its TLS, its segments and its flags.

And which symbols the archives define that programs are linked with.
"""

import re
import subprocess
import sys
import unittest

LIBRARY, SYMBOLS, IMPORTS, HEADER, *ARCHIVES = sys.argv[1:]

# gold exports the linker's own marks from every library.
LINKER_MARKS = {"__bss_start", "_edata", "_end"}
STATIC_TLS_BYTES_MAX = 256
SONAME = "libhz4.so.0"
VERSION = "HZ4_0"  # of hz4's own names


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def expected_symbols():
    with open(SYMBOLS) as lines:
        return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def exported_symbols():
    """What libhz4.so exports: the kind of each name, and its version."""
    rows = [line.split() for line in run("nm", "-D", "--defined-only", "--with-symbol-versions", LIBRARY).splitlines()]
    found = {}
    for _, kind, versioned in rows:
        name, _, version = versioned.partition("@@")
        if kind in "TW" and name not in LINKER_MARKS:
            found[name] = kind, version.replace("Base", "")
    return found


def program_headers():
    """Pairs of a segment's type and the rest of its line, split."""
    rows = re.findall(r"^ +([A-Z_]+) +(0x.*)$", run("readelf", "-lW", LIBRARY), re.MULTILINE)
    return [(kind, rest.split()) for kind, rest in rows]


class SymbolsTest(unittest.TestCase):
    def test_symbols_are_those_of_the_list(self):
        self.assertEqual(sorted(exported_symbols()), sorted(expected_symbols()))

    def test_else_there_is_only_the_version(self):
        rows = [line.split() for line in run("nm", "-D", "--defined-only", LIBRARY).splitlines()]
        others = {(kind, name.partition("@")[0]) for _, kind, name in rows if kind.isupper() and kind not in "TW"}
        self.assertEqual({(kind, name) for kind, name in others if name not in LINKER_MARKS}, {("A", VERSION)})

    def test_names_of_hz4_alone_have_a_version(self):
        """Others would not answer to programs that ask for libc's."""
        for name, (_, version) in exported_symbols().items():
            self.assertEqual(version, VERSION if name.startswith("hz4_") else "", name)

    def test_operators_alone_are_weak(self):
        for name, (kind, _) in exported_symbols().items():
            self.assertEqual(kind, "W" if re.match("_Zn|_Zd", name) else "T", name)

    def test_the_list_has_what_the_header_declares(self):
        with open(HEADER) as header:
            declared = set(re.findall(r"^HZ4_API .*?\b(hz4_\w+)\(", header.read(), re.MULTILINE))
        listed = {name for name in expected_symbols() if name.startswith("hz4_")}
        self.assertEqual(sorted(declared), sorted(listed))

    def test_string_functions_are_left_to_libc(self):
        self.assertFalse(exported_symbols().keys() & {"reallocarray", "strdup", "strndup"})


class ImportsTest(unittest.TestCase):
    """What others may have taken the name of is not called while hz4 holds a lock: so each import has its reason."""

    def test_every_import_has_its_reason(self):
        reasons = {}
        with open(IMPORTS) as lines:
            for line in lines:
                if line.strip() and not line.startswith("#"):
                    name, reason = line.split(None, 1)
                    reasons[name] = reason
        rows = [line.split() for line in run("nm", "-D", "--undefined-only", LIBRARY).splitlines()]
        imported = {row[-1].split("@")[0] for row in rows}
        self.assertIn("abort", imported)
        self.assertEqual(sorted(imported - set(reasons)), [], "not in imports.txt")


class SequencesTest(unittest.TestCase):
    def test_aarch64_begins_anew_without_a_veneer(self):
        """A jump into the middle of another section may be led over code that changes registers."""
        for archive in ARCHIVES:
            jumps = re.findall(r"R_AARCH64_JUMP26 .* (\.text\S* \+ [1-9a-f].*)", run("readelf", "-rW", archive))
            self.assertEqual(jumps, [], archive)


class ArchivesTest(unittest.TestCase):
    def defined(self, name):
        """The sets of names that the archive's forms define, for position-independent programs and others."""
        found = [path for path in ARCHIVES if "/%s." % name in path]
        self.assertTrue(found)
        for path in found:
            rows = [line.split() for line in run("nm", "-g", "--defined-only", path).splitlines()]
            yield {row[2] for row in rows if len(row) == 3}

    def test_shim_defines_the_names_of_libc_and_no_others(self):
        listed = {name for name in expected_symbols() if not re.match("hz4_|_Zn|_Zd", name)}
        for defined in self.defined("libshim"):
            self.assertEqual(sorted(defined), sorted(listed))

    def test_operators_are_those_that_need_not_catch(self):
        listed = {name for name in expected_symbols() if re.match("_Zd|_Zn(?!.*nothrow)", name)}
        self.assertEqual(len(listed), 16)
        for defined in self.defined("liboperators"):
            self.assertEqual(sorted(name for name in defined if not name.startswith("hz4_")), sorted(listed))

    def test_whole_archive_defines_the_list_and_else_only_its_own_prefix(self):
        listed = {name for name in expected_symbols() if not re.match("_Zn.*nothrow", name)}
        for defined in self.defined("libhz4_static"):
            self.assertEqual(sorted(listed - defined), [])
            # Notes of probes, whoever's, refer to one base.
            others = defined - listed - {"_.stapsdt.base"}
            self.assertEqual([name for name in others if not name.startswith("hz4_")], [])


class SegmentsTest(unittest.TestCase):
    def test_static_tls_is_small(self):
        sizes = [int(rest[4], 16) for kind, rest in program_headers() if kind == "TLS"]
        self.assertEqual(len(sizes), 1)
        self.assertLessEqual(sizes[0], STATIC_TLS_BYTES_MAX)
        print("static TLS: %d bytes" % sizes[0])

    def test_nothing_is_writable_and_executable(self):
        headers = program_headers()
        self.assertIn("LOAD", [kind for kind, _ in headers])
        for kind, rest in headers:
            flags = "".join(rest[5:-1])
            self.assertFalse("W" in flags and "E" in flags, (kind, rest))

    def test_stack_is_declared_and_relro_is_there(self):
        kinds = [kind for kind, _ in program_headers()]
        self.assertIn("GNU_STACK", kinds)
        self.assertIn("GNU_RELRO", kinds)


class DynamicTest(unittest.TestCase):
    def setUp(self):
        self.dynamic = run("readelf", "-dW", LIBRARY)

    def test_soname(self):
        self.assertEqual(re.findall(r"\(SONAME\).*\[(.*)\]", self.dynamic), [SONAME])

    def test_flags(self):
        flags_1 = re.search(r"\(FLAGS_1\)\s+Flags: (.*)", self.dynamic).group(1).split()
        self.assertIn("NODELETE", flags_1)
        self.assertIn("NOW", flags_1)

    def test_no_text_relocations(self):
        self.assertNotIn("TEXTREL", self.dynamic)

    def test_needs_only_the_system_libraries(self):
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", self.dynamic))
        self.assertEqual(needed, {"libc.so.6"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
