"""`ulimit -v` and `ulimit -d`: how low a program still starts, and that below it fails cleanly."""

import os
import resource
import shutil
import subprocess
import sys
import unittest

LIBRARY, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:3])

STEP = 256 << 10
FLOOR_MAX = 512 << 20
ALLOWED_ABOVE_GLIBC = 8 << 20

# python3 at some limits below its floor never ends, with glibc's malloc too. That is not to start.
SECONDS_MAX = 20


def environment(preload):
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
    if preload:
        env["LD_PRELOAD"] = LIBRARY
    return env


def run(command, preload, limit, limit_bytes):
    return subprocess.run(
        command,
        env=environment(preload),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=SECONDS_MAX,
        preexec_fn=lambda: resource.setrlimit(limit, (limit_bytes, limit_bytes)),
    )


def starts(command, preload, limit, limit_bytes):
    try:
        return run(command, preload, limit, limit_bytes).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def floor(command, preload, limit):
    """The least limit, in steps, that the command succeeds with. It is monotonous up to a step or two."""
    low, high = 0, FLOOR_MAX // STEP
    while high - low > 1:
        middle = (low + high) // 2
        if starts(command, preload, limit, middle * STEP):
            high = middle
        else:
            low = middle
    return high * STEP


class UlimitTest(unittest.TestCase):
    def check_floor(self, name, command, limit):
        glibc, hz4 = floor(command, False, limit), floor(command, True, limit)
        print("%s: glibc %.2f MiB, hz4 %.2f MiB" % (name, glibc / 2**20, hz4 / 2**20))
        self.assertLess(glibc, FLOOR_MAX)
        self.assertLessEqual(hz4, glibc + ALLOWED_ABOVE_GLIBC)
        return hz4

    def check_below(self, command, limit, floor_bytes):
        """Below its floor the program fails, by an exit code and not by a signal."""
        for sixteenth in range(1, 16):
            result = run(command, True, limit, floor_bytes * sixteenth // 16)
            # The kernel kills by SIGSEGV or SIGKILL a program whose stack or image does not fit: no program runs then,
            # and neither does it with glibc.
            if result.returncode < 0:
                plain = run(command, False, limit, floor_bytes * sixteenth // 16)
                self.assertEqual(result.returncode, plain.returncode, (sixteenth, result.stderr))
            self.assertNotIn(b"hz4: ", result.stderr)

    def check_program(self, name, limit):
        command = [PROGRAM, "64"]
        self.check_below(command, limit, self.check_floor(name, command, limit))

    def test_c_program_address_space(self):
        self.check_program("C program, ulimit -v", resource.RLIMIT_AS)

    def test_c_program_data(self):
        self.check_program("C program, ulimit -d", resource.RLIMIT_DATA)

    def test_python_address_space(self):
        self.check_python("python3, ulimit -v", resource.RLIMIT_AS)

    def test_python_data(self):
        self.check_python("python3, ulimit -d", resource.RLIMIT_DATA)

    # Only the floor: below it python3 itself answers a NULL by abort(), by SIGSEGV or not at all.
    def check_python(self, name, limit):
        python = shutil.which("python3", path="/usr/bin:/bin")
        if python is None:
            self.skipTest("SKIPPED: no python3 in /usr/bin")
        self.check_floor(name, [python, "-c", "pass"], limit)

    def test_running_out_in_the_middle(self):
        """Started, and then out of memory: NULL with ENOMEM, which the program survives."""
        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            for mib in (16, 32, 64, 128):
                result = run([PROGRAM, "1000000"], True, limit, mib << 20)
                self.assertEqual((result.returncode, result.stderr), (3, b"out of memory\n"), (limit, mib))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
