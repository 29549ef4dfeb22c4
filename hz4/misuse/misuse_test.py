"""Each program here does one wrong thing: it must die of SIGABRT, and say in one line of what, and where.

Unless it is one that hz4 lets pass: then it must end as if nothing had happened.
"""

import os
import re
import signal
import subprocess
import sys
import unittest

PROGRAMS = {os.path.basename(path): os.path.abspath(path) for path in sys.argv[1:]}

NOT_ALLOCATED = "free of a pointer that is not allocated"
INTERIOR = "free of a pointer into the middle of an object"
DOUBLE = "double free"
SIZED = "sized free with a wrong size or alignment"
REALLOC = "realloc of a pointer that is not allocated"
USABLE_SIZE = "malloc_usable_size of a pointer that is not allocated"

# Found in every mode.
ALWAYS = {
    "cfree_static": NOT_ALLOCATED,
    "double_free_found_late": DOUBLE,  # at once with HZ4_HARDEN=1, else when the object leaves the thread's cache
    "double_free_huge": NOT_ALLOCATED,
    "double_free_mapped": NOT_ALLOCATED,
    "double_free_run": NOT_ALLOCATED,
    "free_aligned_sized_mapped_alignment": SIZED,
    "free_first_static": NOT_ALLOCATED,
    "free_foreign_mapping": NOT_ALLOCATED,
    "free_interior_mapped": NOT_ALLOCATED,
    "free_interior_mapped_far": NOT_ALLOCATED,
    "free_interior_run": NOT_ALLOCATED,
    "free_kernel_address": NOT_ALLOCATED,
    "free_libc": NOT_ALLOCATED,
    "free_sized_mapped_too_large": SIZED,
    "free_sized_mapped_too_small": SIZED,
    "free_sized_run_too_large": SIZED,
    "free_sized_run_too_small": SIZED,
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
    "usable_size_freed_mapped": USABLE_SIZE,
    "usable_size_interior": USABLE_SIZE,
    "usable_size_static": USABLE_SIZE,
}

# Found with HZ4_HARDEN=1. Otherwise these programs end before anything is found, for their objects stay in the cache.
HARDENED = {
    "double_free_mid": DOUBLE,
    "double_free_small": DOUBLE,
    "free_aligned_sized_alignment": SIZED,
    "free_aligned_sized_too_large": SIZED,
    "free_aligned_sized_too_small": SIZED,
    "free_interior_small": INTERIOR,
    "free_sized_double": DOUBLE,
    "free_sized_interior_small": INTERIOR,
    "free_sized_of_aligned": SIZED,
    "free_sized_too_large": SIZED,
    "free_sized_too_small": SIZED,
    "free_unaligned_small": INTERIOR,
    "realloc_freed_mid": REALLOC,
    "realloc_freed_small": REALLOC,
    "usable_size_freed_small": USABLE_SIZE,
}

# Found in no mode.
NEVER = [
    "double_free_reused",
    "free_sized_near",
    "write_after_free",
    "write_past_end",
]


class MisuseTest(unittest.TestCase):
    def check(self, name, harden, message):
        """message None: the program survives."""
        # Once under libc's names, and once under hz4's.
        for program in sorted({name, "hz4_" + name} & set(PROGRAMS)):
            result = subprocess.run(
                [PROGRAMS[program]],
                env={"HZ4_HARDEN": harden},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
            )
            said = result.stdout.split()
            stderr = re.sub("qemu: .*\n", "", result.stderr)  # qemu-user's last word
            with self.subTest(program=program, harden=harden):
                self.assertEqual(said[-1] == "survived", message is None)
                self.assertEqual(stderr, "hz4: %s: %s\n" % (message, said[-1]) if message else "")
                self.assertEqual(result.returncode, -signal.SIGABRT if message else 0)

    def test_every_program_is_in_a_table(self):
        named = {*ALWAYS, *HARDENED, *NEVER}
        self.assertEqual(len(named), len(ALWAYS) + len(HARDENED) + len(NEVER))
        self.assertEqual(set(PROGRAMS), named | {"hz4_" + name for name in named - {"free_first_static"}})

    def test_what_is_found_always(self):
        for harden in "01":
            for name, message in ALWAYS.items():
                self.check(name, harden, message)

    def test_what_is_found_when_hardened(self):
        for name, message in HARDENED.items():
            self.check(name, "1", message)
            self.check(name, "0", None)

    def test_what_is_found_never(self):
        for harden in "01":
            for name in NEVER:
                self.check(name, harden, None)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
