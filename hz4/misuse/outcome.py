"""What becomes of one case of the misuse programs under one allocator."""

import os
import re
import resource
import signal
import subprocess
import sys

# What a report says, by the word that the table of cases (expected.txt) has for it.
MESSAGES = {
    "free": "free of a pointer that is not allocated",
    "interior": "free of a pointer into the middle of an object",
    "double": "double free",
    "sized": "sized free with a wrong size or alignment",
    "realloc": "realloc of a pointer that is not allocated",
    "usable": "malloc_usable_size of a pointer that is not allocated",
    "past": "write past the end of a block",
    "after": "write after free",
    "given": "double free, found by malloc",
}
SECONDS = 10  # and what is at work still is in an endless loop


def _no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def cases(program):
    return subprocess.run([program], stdout=subprocess.PIPE, check=True, text=True).stdout.split()


def takes_malloc_from(program, library, environment):
    """Whether the program's malloc is this library's: the dynamic linker says so. (One that cannot be preloaded is no error.)"""
    done = subprocess.run([program], env=dict(environment, LD_BIND_NOW="1", LD_DEBUG="bindings"), errors="replace",
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    return "to %s [0]: normal symbol `malloc'" % library in done.stderr


def _cause(status, pointer, stderr):
    """How it died, and by whose word: that of MESSAGES where hz4 said it, with the pointer."""
    if status in (-signal.SIGSEGV, -signal.SIGBUS) and stderr == "":
        return "fault"
    if status == -signal.SIGABRT:
        for word, message in MESSAGES.items():
            if re.fullmatch(r"hz4: %s: %s(, size class \d+)?\n(hz4:   .*\n)*" % (message, pointer), stderr):
                return word
    return "died"


def outcome(program, case, environment):
    """One word: "-": it survived. "harmless": what was wrong had no effect. "said": it
    survived, and there was a message. "skipped": there is no such call. "hung". Or of what
    it died: a word of MESSAGES, "fault" for the system's signal alone, or "died"; and "late:" before it where the wrong
    thing was done by then."""
    try:
        done = subprocess.run([program, case], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, errors="replace", text=True, timeout=SECONDS, preexec_fn=_no_core)
    except subprocess.TimeoutExpired:
        return "hung"
    said = done.stdout.split("\n")[:-1]
    stderr = re.sub("qemu: .*\n", "", done.stderr)  # qemu-user's last word
    if done.returncode == 0 and said[-1:] in (["survived"], ["harmless"], ["skipped"]):
        if stderr != "":
            return "said"
        return "-" if said[-1] == "survived" else said[-1]
    pointer = [word for word in said if word.startswith("0x")][-1:]
    return ("late:" if "went on" in said else "") + _cause(done.returncode, "".join(pointer), stderr)


def is_caught(word):
    return word not in ("-", "skipped", "hung")
