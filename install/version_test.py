"""hz4/hz4.h has the version; those that cannot read it there say the same."""

import re
import sys
import unittest


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


HEADER = dict(re.findall(r"^#define HZ4_VERSION_(MAJOR|MINOR|PATCH) (\d+)$", read("hz4/hz4.h"), re.MULTILINE))
VERSION = ".".join(HEADER[part] for part in ["MAJOR", "MINOR", "PATCH"])


class VersionTest(unittest.TestCase):
    def check(self, path, pattern):
        found = re.search(pattern, read(path), re.MULTILINE)
        self.assertIsNotNone(found, path)
        self.assertEqual(found.group(1), VERSION, path)

    def test_module(self):
        self.check("MODULE.bazel", r'^ *version = "(.*)",$')

    def test_changelog(self):
        """The newest heading, but for what is not released."""
        self.check("CHANGELOG.md", r"^## (\d\S*)")

    def test_debian(self):
        self.check("debian/changelog", r"^hz4 \((.*)\)")

    def test_soname(self):
        """The same in Bazel, CMake, the version script and the packages."""
        self.assertIn("SOVERSION 0", read("CMakeLists.txt"))
        self.assertRegex(read("hz4/libhz4.map"), r"(?m)^HZ4_0 \{")
        self.assertRegex(read("debian/control"), r"(?m)^Package: libhz4-0$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
