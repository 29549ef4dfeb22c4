"""USDT probes: readers of notes find them, and who attaches gets what hz4 says they mean.

probes_test.py <libhz4.so> <program>: the program allocates as many KiB as its argument says, and frees them all.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:3])
PROBES = {("hz4", "map"): 2, ("hz4", "purge"): 2, ("otel_memory", "alloc"): 3, ("otel_memory", "free"): 1}
KIB = 64 << 10

GDB = """
set startup-with-shell off
set environment LD_PRELOAD {library}
break main
run {kib}
break -probe-stap otel_memory:alloc
commands
silent
printf "alloc %lu %lu %lu\\n", $_probe_arg0, $_probe_arg1, $_probe_arg2
continue
end
break -probe-stap otel_memory:free
commands
silent
printf "free %lu\\n", $_probe_arg0
continue
end
break -probe-stap hz4:map
commands
silent
printf "map %lu %lu\\n", $_probe_arg0, $_probe_arg1
continue
end
break -probe-stap hz4:purge
commands
silent
printf "purge %lu %lu\\n", $_probe_arg0, $_probe_arg1
continue
end
continue
"""


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False,
                          **options).stdout


def have(tool):
    if shutil.which(tool) is None:
        print("SKIPPED: no %s" % tool)
        return False
    return True


class ListTest(unittest.TestCase):
    def test_readelf(self):
        if not have("readelf"):
            return
        notes = re.findall(r"Provider: (\S+)\s+Name: (\S+)\s+Location: (\S+), Base: (\S+), Semaphore: (\S+)\s+Arguments: (.*)",
                           run("readelf", "-nW", LIBRARY))
        self.assertEqual({note[:2] for note in notes}, set(PROBES))
        for provider, name, location, base, semaphore, arguments in notes:
            self.assertEqual(len(re.findall(r"8@\S+", arguments)), PROBES[provider, name])
            self.assertNotIn(0, (int(location, 16), int(base, 16)))
            self.assertEqual(int(semaphore, 16) != 0, provider == "otel_memory")

    def test_gdb(self):
        if have("gdb"):
            listed = set(re.findall(r"^stap +(\S+) +(\S+) ", run("gdb", "-nx", "-batch", "-ex", "info probes stap", LIBRARY), re.M))
            self.assertEqual(listed, set(PROBES))

    def test_bpftrace(self):
        if not have("bpftrace"):
            return
        output = run("bpftrace", "-l", "usdt:%s:*" % LIBRARY)
        if "usdt:" not in output:
            print("SKIPPED: bpftrace: " + output.strip())
            return
        self.assertEqual({tuple(line.split(":")[-2:]) for line in output.splitlines() if line.startswith("usdt:")}, set(PROBES))


class AttachTest(unittest.TestCase):
    def test_gdb(self):
        """The debugger adds to the semaphores, as the kernel does for a tracer: so there are samples."""
        if not have("gdb"):
            return
        with tempfile.NamedTemporaryFile("w") as commands:
            commands.write(GDB.format(library=LIBRARY, kib=KIB))
            commands.flush()
            output = run("gdb", "-nx", "-batch", "-x", commands.name, PROGRAM)
        if "exited normally" not in output:
            print("SKIPPED: gdb cannot run a program here: " + output[-300:])
            return
        live, weight, freed = {}, 0, 0
        for kind, *numbers in re.findall(r"^(alloc|free) (\d+)(?: (\d+) (\d+))?$", output, re.M):
            if kind == "alloc":
                block, size, stands_for = map(int, numbers)
                self.assertNotIn(block, live)
                self.assertGreaterEqual(stands_for, size)
                self.assertGreater(size, 0)
                live[block] = size
                weight += stands_for
            else:
                live.pop(int(numbers[0]))  # what was no sample is never told of
                freed += 1
        self.assertEqual(live, {}, "all was freed")
        self.assertGreater(freed, 10)
        # A sample for each 512 KiB in the mean: within five sigma of what the program says that it allocated.
        self.assertLess(abs(weight - KIB * 1024), 5 * (KIB * 1024 * 524288) ** 0.5 + 524288)
        mapped = sum(int(size) for size in re.findall(r"^map \d+ (\d+)$", output, re.M))
        self.assertGreaterEqual(mapped, KIB * 1024 // 2)
        self.assertTrue(re.findall(r"^purge \d+ \d+$", output, re.M))

    def test_bpftrace(self):
        """By the kernel."""
        if not have("bpftrace"):
            return
        script = "usdt:%s:otel_memory:alloc { @n = count(); @w = sum(arg2); } usdt:%s:hz4:map { @m = count(); }" % (LIBRARY, LIBRARY)
        output = run("bpftrace", "-e", script, "-c", "/usr/bin/env LD_PRELOAD=%s %s %d" % (LIBRARY, PROGRAM, KIB))
        if "@m: " not in output:
            print("SKIPPED: no tracing here: " + " ".join(output.split())[-300:])
            return
        self.assertRegex(output, r"@n: [1-9]")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
