"""HZ4_LIMIT in whole programs: in bytes, beside prlimit, by control groups that are made up, and by one that is not."""

import ctypes
import errno
import os
import re
import resource
import subprocess
import sys
import tempfile
import unittest

_, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:3])

MIB = 1 << 20
SIZES = (100, 5000, 100000, 1000000)
ROOT = "/sys/fs/cgroup"
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def start(arguments, limit=None, **kwargs):
    environment = {} if limit is None else {"HZ4_LIMIT": limit}
    return subprocess.Popen(
        [PROGRAM] + [str(argument) for argument in arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        **kwargs
    )


def numbers(text):
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", text)}


def groups():
    """The path of each hierarchy that may limit memory, "" for version 2."""
    found = {}
    with open("/proc/self/cgroup") as lines:
        for line in lines:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controllers == "" or "memory" in controllers.split(","):
                found["memory" if controllers else ""] = path.rstrip("/")
    return found


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(str(text))


def in_front_of_groups(fake):
    """To be called in a child: what lies in `fake` is where the system has its groups."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name, *arguments):
        if getattr(libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), name)

    def enter():
        call("unshare", CLONE_NEWNS)
        call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
        call("mount", fake.encode(), ROOT.encode(), None, ctypes.c_ulong(0x1000), None)  # MS_BIND

    return enter


class LimitTest(unittest.TestCase):
    def run_program(self, arguments, limit=None, **kwargs):
        process = start(arguments, limit, **kwargs)
        output, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, errors)
        return numbers(output), errors

    def test_bytes(self):
        for size in SIZES:
            got, errors = self.run_program(["fill", size], "48M:64M")
            self.assertEqual((got["soft"], got["hard"], errors), (48 * MIB, 64 * MIB, ""))
            self.assertEqual(got["errno"], errno.ENOMEM)
            self.assertGreater(got["filled"], 48 * MIB)
            self.assertLess(got["used"], 65 * MIB)  # metadata is counted, and not refused
            got, errors = self.run_program(["fill", size], "48M")
            self.assertEqual((got["hard"], got["errno"]), (0, 0))

    def test_what_it_cannot_be(self):
        for text in ("nonsense", "64M:32M", "120%"):
            got, errors = self.run_program(["say"], text)
            self.assertEqual((got["soft"], got["hard"]), (0, 0))
            self.assertEqual(errors, "hz4: neither SOFT[:HARD] nor cgroup[:SHARE], ignored: HZ4_LIMIT=%s\n" % text)

    def test_prlimit(self):
        """Whichever is the lower is in the way, and either cleanly."""
        for addresses in (96 * MIB, 600 * MIB):
            for size in SIZES:
                got, _ = self.run_program(
                    ["fill", size],
                    "0:256M",
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses)),
                )
                self.assertEqual(got["errno"], errno.ENOMEM)
                self.assertGreater(got["filled"], min(addresses, 256 * MIB) // 2)
                self.assertLess(got["filled"], min(addresses, 256 * MIB))

    def in_groups(self, version, own, above, limit, arguments=("say",), **files):
        """Runs with groups of this version, of which the process's own and the one above have these files."""
        paths = groups()
        if version not in paths:
            self.skipTest("no hierarchy of that version")
        with tempfile.TemporaryDirectory() as fake:
            at = os.path.join(fake, version) + paths[version]
            for name, number in above.items():
                write(os.path.join(fake, version, name), number)
            for name, number in own.items():
                write(os.path.join(at, name), number)
            try:
                process = start(arguments, limit, preexec_fn=in_front_of_groups(fake), **files)
            except (OSError, subprocess.SubprocessError) as error:
                self.skipTest("no namespace of mounts: %s" % error)
            if "refresh" in arguments:
                before = numbers(process.stdout.readline())
                for name, number in own.items():
                    write(os.path.join(at, name), int(number) // 2)
            output, errors = process.communicate(timeout=60)
            self.assertEqual((process.returncode, errors), (0, ""))
            return (before, numbers(output)) if "refresh" in arguments else numbers(output)

    def test_groups_of_version_1(self):
        got = self.in_groups("memory", {"memory.limit_in_bytes": 400 * MIB}, {}, "cgroup:50%")
        self.assertEqual((got["soft"], got["hard"]), (200 * MIB // 100 * 100, 200 * MIB // 100 * 100))

    def test_groups_of_version_2(self):
        got = self.in_groups("", {"memory.max": 4000, "memory.high": 3000}, {"memory.max": "max"}, "cgroup:50%")
        self.assertEqual((got["soft"], got["hard"]), (1500, 2000))

    def test_container(self):
        """Without HZ4_LIMIT the caches follow what is at the root, and nothing else does."""
        got = self.in_groups("memory", {}, {"memory.limit_in_bytes": 400 * MIB}, None, ("fill", 5000))
        self.assertEqual((got["soft"], got["hard"], got["container"], got["errno"]), (0, 0, 400 * MIB, 0))

    def test_refresh(self):
        before, after = self.in_groups("memory", {"memory.limit_in_bytes": 40000}, {}, "cgroup:10%", ("refresh",))
        self.assertEqual((before["hard"], after["hard"]), (4000, 2000))

    def test_a_real_group(self):
        """The group allows 128 MiB: who keeps to that is told that there is no more memory, and lives."""
        for version, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
            path = groups().get(version)
            if path is None:
                continue
            group = os.path.join(ROOT, version) + path + "/hz4_limit_test_%d" % os.getpid()
            try:
                os.mkdir(group)
            except OSError as error:
                print("no group: %s" % error)
                continue
            try:
                if not os.path.exists(os.path.join(group, name)):
                    continue
                write(os.path.join(group, name), 128 * MIB)
                for size in SIZES:
                    got, _ = self.run_program(
                        ["fill", size],
                        "cgroup",
                        preexec_fn=lambda: write(os.path.join(group, "cgroup.procs"), os.getpid()),
                    )
                    self.assertEqual(got["hard"], 128 * MIB // 100 * 90)
                    self.assertEqual(got["errno"], errno.ENOMEM)
                    self.assertGreater(got["filled"], 96 * MIB)
                return
            finally:
                os.rmdir(group)
        self.skipTest("no group of ours to be had that limits memory")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
