"""Whether new and malloc of a program that was linked from new_only.cc are hz4's."""

import json
import os
import re
import subprocess

LARGE_BYTES = 20 << 20  # of the block that the program has at its end


def run(command, **environment):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, **environment))
    if done.returncode != 0:
        output = done.stdout + done.stderr
        raise AssertionError("%s: exit status %d\n%s" % (" ".join(command), done.returncode, output))
    return done


def check_new(test, program, library_path):
    """By hz4's own statistics, at the program's exit."""
    done = run([program], LD_LIBRARY_PATH=library_path, HZ4_STATS="2")
    test.assertEqual(json.loads(done.stderr or "{}").get("large_live_mapped_bytes"), LARGE_BYTES)


def check_bindings(test, program, library_path, expected):
    """By the dynamic linker's word: which file answers to the program, and to the C++ library's own calls."""
    done = run([program], LD_LIBRARY_PATH=library_path, LD_DEBUG="bindings", LD_BIND_NOW="1")
    for symbol in ["_Znwm", "_ZdlPvm", "malloc", "free"]:
        bound = re.findall(r"binding file \S+ \[0\] to (\S+) \[0\]: normal symbol `%s'" % symbol, done.stderr)
        test.assertGreaterEqual(len(bound), 1, symbol)
        test.assertEqual({os.path.basename(path) for path in bound}, {expected}, symbol)


def check_static(test, program):
    """By the program's symbols: of malloc there is one."""
    names = {line.split()[-1] for line in run(["nm", program]).stdout.splitlines()}
    test.assertIn("hz4_alloc_malloc_slow", names)
    test.assertNotIn("_int_malloc", names, "glibc's malloc is in it as well")
