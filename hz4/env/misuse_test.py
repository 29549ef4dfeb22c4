"""Each program of misuse/ does one wrong thing: it must die of SIGABRT, and say in one line of what, and where."""

import os
import signal
import subprocess
import sys
import unittest

PROGRAMS = {os.path.basename(path): os.path.abspath(path) for path in sys.argv[1:]}

NOT_ALLOCATED = "free of a pointer that is not allocated"
REALLOC = "realloc of a pointer that is not allocated"
USABLE_SIZE = "malloc_usable_size of a pointer that is not allocated"

# Found at once in every mode.
ALWAYS = {
    "cfree_static": NOT_ALLOCATED,
    "double_free_huge": NOT_ALLOCATED,
    "double_free_mapped": NOT_ALLOCATED,
    "double_free_run": NOT_ALLOCATED,
    "free_first_static": NOT_ALLOCATED,
    "free_foreign_mapping": NOT_ALLOCATED,
    "free_interior_mapped": NOT_ALLOCATED,
    "free_interior_mapped_far": NOT_ALLOCATED,
    "free_interior_run": NOT_ALLOCATED,
    "free_kernel_address": NOT_ALLOCATED,
    "free_libc": NOT_ALLOCATED,
    "free_sized_stack": NOT_ALLOCATED,
    "free_small_number": NOT_ALLOCATED,
    "free_stack": NOT_ALLOCATED,
    "free_stack_later": NOT_ALLOCATED,
    "free_static": NOT_ALLOCATED,
    "free_text": NOT_ALLOCATED,
    "free_unmapped_region": NOT_ALLOCATED,
    "realloc_freed_mapped": REALLOC,
    "realloc_freed_run": REALLOC,
    "realloc_interior_small": REALLOC,
    "realloc_stack": REALLOC,
    "realloc_unaligned_small": REALLOC,
    "usable_size_interior": USABLE_SIZE,
    "usable_size_static": USABLE_SIZE,
}

# Found at once with HZ4_HARDEN=1. Otherwise when the object leaves the thread's cache, if it ever does.
HARDENED = {
    "double_free_mid": "double free",
    "double_free_small": "double free",
    "free_interior_small": "free of a pointer into the middle of an object",
    "free_unaligned_small": "free of a pointer into the middle of an object",
}


class MisuseTest(unittest.TestCase):
    def check(self, name, message, harden):
        result = subprocess.run(
            [PROGRAMS[name]],
            env={"HZ4_HARDEN": harden},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        pointers = result.stdout.split()
        with self.subTest(program=name, harden=harden):
            self.assertNotIn("survived", pointers)
            self.assertEqual(result.stderr, "hz4: %s: %s\n" % (message, pointers[-1]))
            self.assertEqual(result.returncode, -signal.SIGABRT)

    def test_every_program_has_its_message(self):
        self.assertEqual(sorted(PROGRAMS), sorted([*ALWAYS, *HARDENED]))

    def test_what_is_found_always(self):
        for harden in "01":
            for name, message in ALWAYS.items():
                self.check(name, message, harden)

    def test_what_is_found_when_hardened(self):
        for name, message in HARDENED.items():
            self.check(name, message, "1")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
