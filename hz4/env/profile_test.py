"""Heap profiles of a program whose memory is known, as pprof, google-pprof and pprof-format read them.

profile_test.py <libhz4.so> <program that is linked with hz4> <the same without an allocator> [<forks>]
"""

import glob
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

LIBRARY, LINKED, PLAIN = (os.path.abspath(path) for path in sys.argv[1:4])
FORKS = int(sys.argv[4]) if len(sys.argv) > 4 else 200
# Below what is slowed down where samples come fast.
MEAN = 32768
PATH = "/usr/local/bin:/usr/bin:/bin"
VALUES = ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
NODE = """
const {Profile} = require("pprof-format");
const profile = Profile.decode(require("fs").readFileSync(process.argv[1]));
const strings = profile.stringTable.strings;
console.log(profile.sampleType.map(type => strings[Number(type.type)]).join(" "));
console.log([0, 1, 2, 3].map(i => profile.sample.reduce((sum, sample) => sum + BigInt(sample.value[i]), 0n)).join(" "));
"""


def which(tool):
    return shutil.which(tool, path=PATH)


def skipped(what):
    print("SKIPPED: %s is not installed" % what)


def expected(rows, value):
    """For each function: the estimate's mean, and its standard deviation."""
    found = {}
    for name, size, blocks, kept in rows:
        count = kept if value.startswith("inuse") else blocks
        unit = size if value.endswith("space") else 1
        chance = -math.expm1(-size / MEAN)
        found[name] = (count * unit, unit * math.sqrt(count * (1 - chance) / chance))
    return found


class Profile(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.prefix = os.path.join(self.directory.name, "heap")

    def run_program(self, *arguments, program=LINKED, status=0, **options):
        env = {"PATH": PATH, "HZ4_PROFILE": self.prefix, "HZ4_PROFILE_BYTES": str(MEAN)}
        if program != LINKED:
            env["LD_PRELOAD"] = LIBRARY
        env.update({key: value for key, value in options.items() if value is not None})
        env = {key: value for key, value in env.items() if value != ""}
        done = subprocess.run(
            [program, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def files(self, ending):
        return sorted(glob.glob(self.prefix + "*" + ending))

    def only(self, ending):
        files = self.files(ending)
        self.assertEqual(len(files), 1, files)
        return files[0]

    def known(self, **options):
        output = self.run_program("known", **options).stdout
        rows = [line.split() for line in output.splitlines()]
        return [(name, int(size), int(blocks), int(kept)) for name, size, blocks, kept in rows]

    def pprof(self, path, value):
        """What each function allocated, itself or by what it called."""
        command = ["go", "tool", "pprof", "-top", "-nodecount=0", "-nodefraction=0", "-edgefraction=0", "-unit=B"]
        env = {"PATH": PATH, "HOME": self.directory.name}
        command += ["-symbolize=local", "-sample_index=" + value, path]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = re.findall(r"^ *\d+B? +\S+% +\S+% +(\d+)B? +\S+% +(\S+)", done.stdout, re.MULTILINE)
        return {name: int(amount) for amount, name in lines}

    def assert_near(self, found, rows, value):
        for name, (mean, sigma) in expected(rows, value).items():
            self.assertLessEqual(abs(found.get(name, 0) - mean), 3 * sigma + 1, "%s of %s: %s" % (value, name, found))

    def test_pprof_finds_what_is_known(self):
        rows = self.known()
        path = self.only(".exit.pb")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        if which("go") is None:
            skipped("go")
            return
        for value in VALUES:
            self.assert_near(self.pprof(path, value), rows, value)
        self.assertNotIn("by_realloc", {name for name, size in self.pprof(path, "inuse_space").items() if size != 0})
        self.assertIn("by_realloc", self.pprof(path, "alloc_space"))

    def test_google_pprof_reads_text(self):
        rows = self.known(HZ4_PROFILE_TEXT="1")
        path = self.only(".exit.heap")
        with open(path) as text:
            self.assertRegex(text.readline(), r"^heap profile: \d+: \d+ \[\d+: \d+\] @ heap_v2/%d\n$" % MEAN)
        if which("go") is not None:
            self.assert_near(self.pprof(path, "alloc_space"), rows, "alloc_space")
        if which("google-pprof") is None:
            skipped("google-pprof")
            return
        for value, option in (("inuse_space", "--inuse_space"), ("alloc_space", "--alloc_space")):
            command = ["google-pprof", "--text", "--show_bytes", "--nodefraction=0", option, LINKED, path]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = re.findall(r"^ *\d+ +\S+% +\S+% +(\d+) +\S+% (\S+)", done.stdout, re.MULTILINE)
            self.assert_near({name: int(amount) for amount, name in lines}, rows, value)

    def test_javascript_reads_it(self):
        rows = self.known()
        if which("node") is None:
            skipped("node")
            return
        found = subprocess.run(["node", "-e", NODE, self.only(".exit.pb")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if b"Cannot find module" in found.stderr:
            skipped("npm's pprof-format")
            return
        self.assertEqual(found.returncode, 0, found.stderr)
        types, sums = found.stdout.decode().splitlines()
        self.assertEqual(types.split()[:4], VALUES)
        for value, total in zip(VALUES, sums.split()):
            self.assertGreaterEqual(int(total), sum(mean - 3 * sigma for mean, sigma in expected(rows, value).values()))

    def test_the_preloaded_library_does_the_same(self):
        rows = self.known(program=PLAIN)
        if which("go") is None:
            skipped("go")
            return
        found = self.pprof(self.only(".exit.pb"), "alloc_space")
        # By chance that has no seed: more than 6 sigma off is a fault.
        for name, (mean, sigma) in expected(rows, "alloc_space").items():
            self.assertLessEqual(abs(found.get(name, 0) - mean), 6 * sigma, "%s: %s" % (name, found))

    def test_who_keeps_spans_alive_is_known(self):
        self.run_program("thinned")
        if which("go") is None:
            skipped("go")
            return
        found = self.pprof(self.only(".exit.pb"), "held_space")
        # 75 MB lie free around what is kept, less what went back to the system; around the other nothing does.
        self.assertGreater(found["by_malloc"], 20e6)
        self.assertLess(found["by_malloc"], 80e6)
        self.assertLess(found.get("by_calloc", 0), found["by_malloc"] / 20)

    def test_hardened_blocks_of_the_largest_class_have_one_beside_them_too(self):
        for harden in "012":
            self.run_program("largest", HZ4_PROFILE_BYTES="8M", HZ4_HARDEN=harden)

    def test_a_profile_is_written_when_it_is_due(self):
        self.known(HZ4_PROFILE_EVERY_BYTES="100M", HZ4_PROFILE_PEAK="1")
        self.assertEqual(len(self.files(".peak.pb")), 1)
        # 48 x 400,000 + 3,000 x 40,000 + 1,024 x 50,000 + 20,000 x 4,000 + 500,000 x 800 bytes: 670 MB.
        self.assertIn(len(self.files("0001.pb") + self.files("000[2-9].pb")), (5, 6, 7))
        self.assertEqual(self.files(".part"), [])

    def test_a_signal_asks_for_one(self):
        self.run_program("signal", HZ4_PROFILE_SIGNAL="USR2")
        self.assertEqual(len(self.files(".0001.pb")), 1)

    def test_a_child_has_its_own_file_and_counts(self):
        self.run_program("forks", str(FORKS), HZ4_PROFILE_BYTES="4096")
        files = self.files(".exit.pb")
        self.assertEqual(len(files), 2, "of the parent, and of the child that ended by exit")
        if which("go") is None:
            skipped("go")
            return
        in_child = [path for path in files if self.pprof(path, "alloc_space").get("by_posix", 0) != 0]
        self.assertEqual(len(in_child), 1)
        for path in files:
            self.assertEqual(self.pprof(path, "inuse_space").get("by_calloc", 0), 0, "each has freed it")

    def test_a_child_of_vfork_leaves_it_to_its_parent(self):
        self.run_program("vforks", HZ4_PROFILE_BYTES="1", HZ4_PROFILE_EVERY_BYTES="100K")
        processes = {path[len(self.prefix) :].split(".")[1] for path in self.files(".pb")}
        self.assertEqual(len(processes), 1, self.files(".pb"))

    def test_a_program_calls_for_it_itself(self):
        self.run_program("calls", self.prefix, HZ4_PROFILE="")
        if which("go") is None:
            skipped("go")
            return
        for ending in (".pb", ".heap"):
            found = self.pprof(self.prefix + ending, "alloc_objects")
            self.assertEqual(found.get("by_malloc"), 2, found)
            self.assertNotIn("by_calloc", found, "it was stopped")

    def test_leaks_are_named_and_change_the_exit_code(self):
        done = self.run_program("known", HZ4_PROFILE="", HZ4_PROFILE_LEAKS_EXIT="23", status=23)
        self.assertRegex(done.stderr, r"(?m)^hz4: still allocated: about [\d,]+ bytes in [\d,]+ objects, from 4 call sites$")
        self.assertEqual(len(re.findall(r"(?m)^    #0 0x[0-9a-f]+ .*\(.*profile_linked\+0x[0-9a-f]+\)$", done.stderr)), 4)
        self.assertEqual(self.files(""), [])
        done = self.run_program("known", HZ4_PROFILE="", HZ4_PROFILE_LEAKS="1")
        self.assertIn("hz4: still allocated: ", done.stderr)
        # Not by chance: every block is a sample, and nothing is left.
        done = self.run_program("signal", HZ4_PROFILE="", HZ4_PROFILE_LEAKS="1", HZ4_PROFILE_LEAKS_EXIT="23",
                                HZ4_PROFILE_BYTES="1", status=-signal.SIGUSR2)
        self.assertEqual(done.stderr, "")

    def test_what_cannot_be_written_is_said_once(self):
        self.prefix = os.path.join(self.directory.name, "none", "heap")
        done = self.run_program("known", HZ4_PROFILE_EVERY_BYTES="50M")
        self.assertEqual(done.stderr, "hz4: heap profiles cannot be written, errno 2: %s\n" % self.prefix)

    def test_an_option_that_needs_another_says_so(self):
        for name, value in (("PEAK", "1"), ("SIGNAL", "USR2"), ("EVERY_BYTES", "50M")):
            done = self.run_program("known", HZ4_PROFILE="", **{"HZ4_PROFILE_" + name: value})
            self.assertEqual(done.stderr, "hz4: no heap profile: HZ4_PROFILE, which says where to, is not set\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
