"""`ulimit -v` and `ulimit -d`: how low a program still starts, and that below it fails cleanly."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import unittest

LIBRARY, CRASH_SITE, PROGRAM, ADDRESSES = (os.path.abspath(path) for path in sys.argv[1:5])

STEP = 256 << 10
SWEEP_END = 32 << 20
ALLOWED_ABOVE_GLIBC = 8 << 20

# python3 at some limits below its floor never ends, with glibc's malloc too. That is not to start.
SECONDS_MAX = 20


def run(command, limit, limit_bytes, *libraries):
    return subprocess.run(
        command,
        env={
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LD_PRELOAD": " ".join(libraries),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=SECONDS_MAX,
        preexec_fn=lambda: resource.setrlimit(limit, (limit_bytes, limit_bytes)),
    )


def sweep(command, limit, *libraries):
    """The result under each limit, None for one that did not end; the highest limit first."""
    results = {}
    for at in range(SWEEP_END, 0, -STEP):
        try:
            results[at] = run(command, limit, at, *libraries, CRASH_SITE)
        except subprocess.TimeoutExpired:
            results[at] = None
    return results


def floor(results):
    """The least limit from which on all succeed."""
    reached = SWEEP_END + STEP
    for at, result in results.items():
        if result is None or result.returncode != 0:
            break
        reached = at
    return reached


class UlimitTest(unittest.TestCase):
    def check_sweep(self, name, command, limit):
        """The ways to fail below hz4's floor that are the program's own: no message, but by a signal or never."""
        glibc, hz4 = sweep(command, limit), sweep(command, limit, LIBRARY)
        print("%s: glibc %.2f MiB, hz4 %.2f MiB" % (name, floor(glibc) / 2**20, floor(hz4) / 2**20))
        self.assertLessEqual(floor(glibc), SWEEP_END)
        self.assertLessEqual(floor(hz4), floor(glibc) + ALLOWED_ABOVE_GLIBC)
        own = {}
        for at, result in hz4.items():
            if result is None:
                own[at] = "does not end"
                continue
            self.assertNotIn(b"hz4: ", result.stderr, at)
            if result.returncode < 0 and b"crash_site: " in result.stderr:
                self.assertNotIn(LIBRARY.encode(), result.stderr, at)
                own[at] = result.stderr.decode().strip().splitlines()[-1]
            elif result.returncode == -signal.SIGABRT:
                own[at] = "abort: " + result.stderr.decode().splitlines()[0]
            elif result.returncode < 0:
                # The kernel kills a program whose image or stack does not fit, and no library was loaded yet.
                self.assertIsNotNone(glibc[at], at)
                self.assertEqual(result.returncode, glibc[at].returncode, (at, result.stderr))
        return own

    def check_program(self, name, limit):
        self.assertEqual(self.check_sweep(name, [PROGRAM, "64"], limit), {})

    def test_c_program_address_space(self):
        self.check_program("C program, ulimit -v", resource.RLIMIT_AS)

    def test_c_program_data(self):
        self.check_program("C program, ulimit -d", resource.RLIMIT_DATA)

    # Below its floor python3 itself answers a NULL by a message and an exit code, by abort(), by SIGSEGV, or not at all.
    def check_python(self, name, limit):
        python = shutil.which("python3", path="/usr/bin:/bin")
        if python is None:
            print("SKIPPED: no python3 in /usr/bin")
            return
        own = self.check_sweep(name, [python, "-c", "pass"], limit)
        for way in sorted(set(own.values())):
            limits = ["%.2f" % (at / 2**20) for at in own if own[at] == way]
            print("%s at %s MiB, python3's own: %s" % (name, ", ".join(limits), way))
            self.assertRegex(way, "^(does not end|abort: Fatal Python error|crash_site: .*/python3)")

    def test_python_address_space(self):
        self.check_python("python3, ulimit -v", resource.RLIMIT_AS)

    def test_python_data(self):
        self.check_python("python3, ulimit -d", resource.RLIMIT_DATA)

    def test_what_is_freed_does_not_withhold_the_addresses(self):
        for gib in (4, 6):
            result = run([ADDRESSES], resource.RLIMIT_AS, gib << 30, LIBRARY)
            print("%d GiB: %s" % (gib, result.stdout.decode().splitlines()))
            self.assertEqual((result.returncode, result.stderr), (0, b""))

    def test_running_out_in_the_middle(self):
        """Started, and then out of memory: NULL with ENOMEM, which the program survives."""
        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            for mib in (16, 32, 64, 128):
                result = run([PROGRAM, "1000000"], limit, mib << 20, LIBRARY)
                self.assertEqual((result.returncode, result.stderr), (3, b"out of memory\n"), (limit, mib))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
