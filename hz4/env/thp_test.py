"""Transparent huge pages: asked for where they pay, and RSS is at most 1.15 times that of the same program without them."""

import os
import re
import subprocess
import sys
import unittest

LIBRARY, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:3])
SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"
ALLOWED = 1.15


def run(mode, option):
    """RSS at the end, and huge pages at their most, in KiB; bytes that were asked for."""
    done = subprocess.run(
        [PROGRAM, mode],
        env={"LD_PRELOAD": LIBRARY, "HZ4_HUGE_PAGES": option, "HZ4_STATS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    asked = re.search(r"os_huge_bytes=([0-9,]+)", done.stderr)
    return [int(word) for word in done.stdout.split()] + [int(asked[1].replace(",", ""))]


class ThpTest(unittest.TestCase):
    def test_rss(self):
        try:
            with open(SETTING) as setting:
                before = setting.read().split("[")[1].split("]")[0]
        except (OSError, IndexError):
            print("SKIPPED: this kernel has no transparent huge pages")
            return
        off, off_huge, _ = run("off", "auto")
        on, on_huge, asked = run("on", "auto")
        print("RSS: off %d KiB (at most %d huge), on (%s) %d KiB (at most %d huge, %d asked for)" %
              (off, off_huge, before, on, on_huge, asked >> 10))
        self.assertEqual(off_huge, 0)
        self.assertLessEqual(on, off * ALLOWED)
        if os.sysconf("SC_PAGE_SIZE") == 4096:
            self.assertGreater(asked, 0)

    def test_never(self):
        self.assertEqual(run("off", "never")[2], 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
