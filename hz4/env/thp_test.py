"""Transparent huge pages wherever they can be: RSS is at most 1.3 times that of the same program without them."""

import os
import subprocess
import sys
import unittest

LIBRARY, PROGRAM, ADVISE = (os.path.abspath(path) for path in sys.argv[1:4])
SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"
ALLOWED = 1.3


def run(mode, *libraries):
    """RSS at the end, and huge pages at their most, in KiB."""
    output = subprocess.run(
        [PROGRAM, mode],
        env={"LD_PRELOAD": " ".join([LIBRARY, *libraries])},
        check=True,
        stdout=subprocess.PIPE,
        universal_newlines=True,
    ).stdout
    return [int(word) for word in output.split()]


class ThpTest(unittest.TestCase):
    def test_rss(self):
        try:
            with open(SETTING) as setting:
                before = setting.read().split("[")[1].split("]")[0]
        except (OSError, IndexError):
            print("SKIPPED: this kernel has no transparent huge pages")
            return
        if before == "never":
            print("SKIPPED: transparent huge pages are set to never; run as root: echo madvise >%s" % SETTING)
            return
        # The setting is the whole machine's, and not a test's to change: a library advises instead.
        (off, off_huge), (on, on_huge) = run("off"), run("on", *([] if before == "always" else [ADVISE]))
        print("RSS: THP off %d KiB (at most %d huge), on %d KiB (at most %d huge)" % (off, off_huge, on, on_huge))
        if on_huge == 0:
            print("SKIPPED: the kernel gave no huge page")
            return
        self.assertEqual(off_huge, 0)
        self.assertLessEqual(on, off * ALLOWED)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
