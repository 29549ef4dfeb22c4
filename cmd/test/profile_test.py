"""hz4 profile: which tool it has draw a profile; that tool is made up."""

import glob
import gzip
import os
import re
import shutil
import tempfile
import unittest

from command import clean, hz4, subject

TEXT = b"heap profile: 1: 100 [1: 100] @ heap_v2/524288\n"


class ProfileTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.tools = os.path.join(self.folder, "tools")
        os.mkdir(self.tools)
        self.tool("dot")

    def file(self, text):
        path = os.path.join(self.folder, "profile")
        with open(path, "wb") as file:
            file.write(text)
        return path

    def tool(self, name):
        path = os.path.join(self.tools, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho \"${0##*/} $*\"\nexit 5\n")
        os.chmod(path, 0o755)

    def profile(self, *arguments):
        return hz4("profile", *arguments, env=clean(PATH=self.tools))

    def test_nobody_draws(self):
        status, out, err = self.profile(self.file(TEXT))
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn("pprof", err)
        os.remove(os.path.join(self.tools, "dot"))
        self.tool("pprof")
        self.assertIn("graphviz", self.profile(self.file(TEXT))[2])
        self.assertEqual(self.profile("-t", self.file(TEXT))[0], 5)

    def test_pprof(self):
        path = self.file(gzip.compress(b"\n\0"))
        self.tool("google-pprof")
        self.assertEqual(self.profile(path)[0], 1, "it does not read these")
        self.tool("go")
        self.assertEqual(self.profile(path), (5, "go tool pprof -sample_index=inuse_space -svg -output %s.svg %s\n" %
                                              (path, path), ""))
        self.tool("pprof")
        words = ("-t", "-s", "alloc_objects", path, "program")
        self.assertEqual(self.profile(*words), (5, "pprof -sample_index=alloc_objects -text program %s\n" % path, ""))
        self.assertEqual(self.profile("-n", *words)[:2], (0, "pprof -sample_index=alloc_objects -text program %s\n" % path))

    def test_names_that_begin_as_options(self):
        self.tool("pprof")
        shutil.copy(self.file(gzip.compress(b"\n\0")), "-x.pb")
        self.addCleanup(os.remove, "-x.pb")
        self.assertEqual(self.profile("-t", "--", "-x.pb")[1], "pprof -sample_index=inuse_space -text ./-x.pb\n")
        status, out, err = self.profile("-t", "-")
        self.assertEqual((status, out, err.count("\n")), (1, "", 1), err)

    def test_a_profile_as_text(self):
        path = self.file(TEXT)
        self.tool("jeprof")
        self.assertEqual(self.profile("-t", path, "program"), (5, "jeprof --inuse_space --text program %s\n" % path, ""))
        self.tool("google-pprof")
        self.assertEqual(self.profile("-o", path + ".x", path, "program"), (5, "", ""))
        with open(path + ".x", encoding="utf-8") as file:
            self.assertEqual(file.read(), "google-pprof --inuse_space --svg program %s\n" % path)

    def test_hz4_itself(self):
        """What the library writes is what the command takes for a profile."""
        self.tool("pprof")
        prefix = os.path.join(self.folder, "of")
        self.assertEqual(hz4("run", "-o", "profile=" + prefix, "-o", "profile_bytes=1", subject())[0], 7)
        (written,) = glob.glob(prefix + "*")
        self.assertEqual(self.profile("-t", written), (5, "pprof -sample_index=inuse_space -text %s\n" % written, ""))

    def test_a_picture_is_one_file(self):
        """By the real tools: an SVG that a browser shows without another file or a server."""
        if shutil.which("go") is None or shutil.which("dot") is None:
            self.skipTest("SKIPPED: go or graphviz is not installed")
        prefix = os.path.join(self.folder, "of")
        self.assertEqual(hz4("run", "-o", "profile=" + prefix, "-o", "profile_bytes=1", subject())[0], 7)
        (written,) = glob.glob(prefix + "*")
        real = clean(PATH=os.environ["PATH"], HOME=self.folder, GOCACHE=os.path.join(self.folder, "go"))
        self.assertEqual(hz4("profile", written, env=real)[0], 0)
        with open(written + ".svg", encoding="utf-8") as file:
            svg = file.read()
        self.assertIn("<svg", svg)
        self.assertIn("inuse_space", svg)
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!#)|url\((?!#)|@import""", svg), [])

    def test_no_profile(self):
        for text in (b"", b"x", b"heap", b"{}"):
            status, out, err = self.profile(self.file(text))
            self.assertEqual((status, out, err.count("\n")), (1, "", 1))
            self.assertIn("no heap profile", err)
        self.assertEqual(self.profile(self.folder + "/none")[0], 1)

    def test_bad_usage(self):
        for words in ((), ("a", "b", "c"), ("-s", "none", "a"), ("-x", "a"), ("-o",)):
            status, out, err = self.profile(*words)
            self.assertEqual((status, out, err.count("\n")), (2, "", 1), (words, err))
        self.assertTrue(self.profile("-h")[1].startswith("usage: hz4 profile"))


if __name__ == "__main__":
    unittest.main()
