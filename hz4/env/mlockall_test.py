"""mlockall(MCL_CURRENT | MCL_FUTURE) with hz4 preloaded: it locks hardly more than glibc, and calloc stays zero."""

import os
import subprocess
import sys
import unittest

LIBRARY, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:3])

# hz4's own tables: half a MiB for the root of the page map, as much for a region of it, a segment and metadata. libstdc++,
# if the library asks for it, is 2.3 MiB.
AFTER_MLOCKALL_KIB = 6 << 10
# And at the end, after all was freed, of what was allocated: the kernel does not purge what is locked, so hz4 has it for the
# next time. Page map besides.
MORE_AT_END_KIB = 4 << 10


def run(preload):
    env = {"LD_PRELOAD": LIBRARY} if preload else {}
    return subprocess.run(
        [PROGRAM], env=env, check=True, stdout=subprocess.PIPE, universal_newlines=True
    ).stdout.split()


class MlockallTest(unittest.TestCase):
    def test_locked_memory(self):
        glibc = run(False)
        if glibc == ["refused"]:
            print("SKIPPED: mlockall is refused here, with glibc's malloc too")
            return
        hz4 = run(True)
        self.assertNotEqual(hz4, ["refused"])
        print("KiB locked after mlockall, allocated at most, locked at the end: glibc %s, hz4 %s" % (glibc, hz4))
        first, most, end = map(int, hz4)
        self.assertLessEqual(first, int(glibc[0]) + AFTER_MLOCKALL_KIB)
        self.assertLessEqual(end, first + most + MORE_AT_END_KIB)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
