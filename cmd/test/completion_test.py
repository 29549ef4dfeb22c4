"""What bash offers for the command's words; it cuts them at = and : itself."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from command import HERE, HZ4, clean

ASK = """
. "$1"
shift
_command_offset() { COMPREPLY=("the words from $1 on"); }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_hz4 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


class CompletionTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)
        os.symlink(os.path.abspath(HZ4), os.path.join(self.folder, "hz4"))
        with open(os.path.join(self.folder, "hz4-options"), "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho 'HZ4_DIRTY_KIB (0..9, default 1): some'\n")
        os.chmod(file.name, 0o755)

    def offered(self, *words):
        script = os.path.join(HERE, "..", "completion", "hz4.bash")
        path = "%s:%s" % (self.folder, os.environ["PATH"])
        done = subprocess.run(["bash", "-c", ASK, "bash", script, "hz4", *words], env=clean(PATH=path), cwd=self.folder,
                              stdout=subprocess.PIPE, universal_newlines=True, check=True)
        return done.stdout.split("\n")[:-1]

    def test_commands_and_options(self):
        self.assertEqual(self.offered("st"), ["stats"])
        self.assertEqual(self.offered("run", "--"), ["--option", "--stats", "--library", "--dry-run", "--help"])
        self.assertEqual(self.offered("profile", "-s", "held"), ["held_space"])
        self.assertEqual(self.offered("profile", "--sample", "=", "held"), ["held_space"])
        self.assertIn(str(os.getpid()), self.offered("stats", ""))

    def test_values(self):
        for words in (("-o", "dir"), ("--option", "dir"), ("--option", "=", "dir")):
            self.assertEqual(self.offered("run", *words), ["dirty_kib="])
        self.assertEqual(self.offered("run", "-o", "stats_file", "=", "hz4-"), ["hz4-options"])
        self.assertEqual(self.offered("run", "-l", "hz4-"), ["hz4-options"])

    def test_a_program_and_its_words(self):
        for count, before in ((2, []), (3, ["-s"]), (6, ["-o", "dirty_kib", "=", "1"]), (3, ["--"]),
                              (7, ["--option", "=", "dirty_kib", "=", "1"]), (8, ["-o", "limit", "=", "1G", ":", "2G"]),
                              (4, ["-l", "x"])):
            self.assertEqual(self.offered("run", *before, "ls", "-"), ["the words from %d on" % count])
            self.assertIn("ls", self.offered("run", *before, "l"))


if __name__ == "__main__":
    if shutil.which("bash") is None:
        print("SKIPPED: no bash")
        sys.exit(0)
    unittest.main()
