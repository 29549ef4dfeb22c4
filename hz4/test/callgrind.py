"""What the tests that count instructions share: a run under callgrind, and the compiler that made what is counted."""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def available():
    return all(shutil.which(tool) is not None for tool in ("valgrind", "callgrind_annotate"))


def output(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True, **kwargs).stdout


def compiler(library):
    """What the library was compiled with, by its own word."""
    text = output("readelf", "-p", ".comment", library)
    return "; ".join(sorted(set(re.findall(r"\]\s+(.*)", text))))


def count(library, *command, preload=()):
    """Runs the command with these preloaded, and the library, if that is not the program itself. Returns what it printed,
    and the instructions of each function of the library."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        tool = ["valgrind", "--quiet", "--tool=callgrind", "--callgrind-out-file=" + out]
        preloads = [*preload, *([] if library == command[0] else [library])]
        printed = output(*tool, *command, env=dict(ENVIRONMENT, LD_PRELOAD=":".join(preloads)))
        listing = output("callgrind_annotate", "--threshold=100", out)
    pattern = r"^\s*([\d,]+) .*?:(\S+) \[.*/%s\]$" % re.escape(os.path.basename(library))
    counted = collections.Counter()
    for number, function in re.findall(pattern, listing, re.M):  # static functions may share a name
        counted[function] += int(number.replace(",", ""))
    return printed, counted


def main(golden, text):
    """Runs the calling program's tests; with --update, writes text() into this golden file of the source tree."""
    if "--update" not in sys.argv:
        unittest.main(argv=sys.argv[:1])  # and exits
    new = text()
    with open(os.path.join(os.environ["BUILD_WORKSPACE_DIRECTORY"], "testdata", golden), "w", encoding="utf-8") as file:
        file.write(new)
