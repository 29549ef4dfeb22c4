"""Which allocators there are to compare, where their libraries are, and whether a preload took effect.

What the programs of this folder share: their messages are one line, and bad arguments end with exit 2.
"""

import argparse
import os
import platform
import sys

import compare_stats

PROGRAM = os.path.splitext(os.path.basename(sys.argv[0]))[0]
COMPARATORS = {  # Debian's packages: libtcmalloc-minimal4, libjemalloc2, libmimalloc2.0 or libmimalloc3
    "glibc": None,
    "tcmalloc": ["libtcmalloc_minimal.so.4"],
    "jemalloc": ["libjemalloc.so.2"],
    "mimalloc": ["libmimalloc.so.2.0", "libmimalloc.so.2", "libmimalloc.so.3"],
}


def die(status, message):
    print(PROGRAM + ": " + message, file=sys.stderr)
    sys.exit(status)


def say(message):
    print(PROGRAM + ": " + message, file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        die(2, message)


def add_arguments(parser):
    add = parser.add_argument
    add("--peer", action="append", default=[], metavar="NAME=PATH[:VAR=VALUE]...",
        help="one more allocator, run with these environment variables; may be repeated")
    add("--only", metavar="A,B", help="only these of hz4, glibc, tcmalloc, jemalloc, mimalloc; peers always run")
    add("--hz4", metavar="PATH", help="the library to run as hz4 (default: //hz4:libhz4.so)")


def library(label, path):
    """The absolute path of a library that can be preloaded."""
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        die(2, "%s: no such file: %s" % (label, path))
    if " " in path or ":" in path:
        die(2, "%s: LD_PRELOAD cannot hold a path with a space or a colon: %s" % (label, path))
    return path


def make_folder(path):
    """For results, if it is not there."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        die(2, "%s: %s" % (path, error.strerror))


def find_comparator(files):
    machine = platform.machine()
    folders = ["/usr/lib/%s-linux-gnu" % machine, "/usr/lib64", "/usr/lib", "/usr/local/lib"]
    return next((os.path.join(d, f) for f in files for d in folders if os.path.exists(os.path.join(d, f))), None)


def choose(options, default_hz4):
    """{name: path of its library, None for glibc's own malloc}, as the options of add_arguments have it.

    options.peer_settings becomes {name of a peer: its environment variables}.
    """
    peers, options.peer_settings = {}, {}
    for text in options.peer:
        name, equals, rest = text.partition("=")
        path, *settings = rest.split(":")
        if not name or not equals or not path or not all("=" in setting[1:] for setting in settings):
            die(2, "--peer '%s' is not NAME=PATH[:VAR=VALUE]..." % text)
        if name in peers or name in COMPARATORS or name in (compare_stats.SUBJECT, compare_stats.CEILING):
            die(2, "--peer %s: the name is taken" % name)
        peers[name] = library("--peer " + name, path)
        options.peer_settings[name] = dict(setting.split("=", 1) for setting in settings)
    known = [compare_stats.SUBJECT, *COMPARATORS, *peers]
    wanted = options.only.split(",") if options.only else known
    for name in wanted:
        if name not in known:
            die(2, "--only: unknown allocator '%s'; known: %s" % (name, ", ".join(known)))

    chosen = {}
    for name in [n for n in known if n in wanted or n in peers]:
        if name == compare_stats.SUBJECT:
            chosen[name] = library("hz4", options.hz4 or default_hz4)
        elif name in peers:
            chosen[name] = peers[name]
        elif COMPARATORS[name] is None:
            chosen[name] = None
        else:
            path = find_comparator(COMPARATORS[name])
            if path is None and options.only:
                die(2, "%s is not installed" % name)
            if path is None:
                say("%s is not installed, and is left out" % name)
            else:
                chosen[name] = path
    return chosen


def environment_of(options, name, path):
    """What a program runs in under this allocator."""
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment.update(options.peer_settings.get(name, {}))
    if path is not None:
        environment["LD_PRELOAD"] = path
    return environment


def check_preload(name, path, used):
    if path is None:
        as_wished = os.path.basename(used).startswith(("libc.so", "libc-", "ld-musl"))
    else:
        as_wished = os.path.realpath(used) == os.path.realpath(path)
    if not as_wished:
        die(1, "%s: the preload of %s had no effect: malloc is %s's" % (name, path or "nothing", used))
