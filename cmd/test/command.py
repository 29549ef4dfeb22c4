"""Runs the hz4 command, for its tests."""

import os
import subprocess

HERE = os.path.abspath("cmd/test")
HZ4 = os.path.join(HERE, "..", "hz4")
LIBRARY = os.path.realpath(os.path.join(HERE, "..", "..", "hz4", "libhz4.so"))


OTHER = os.path.join(HERE, "libother.so")


def subject(kind=""):
    return os.path.join(HERE, "subject" + kind)


def clean(**variables):
    """An environment without what concerns hz4, and with these."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HZ4_", "LD_", "GLIBC_TUNABLES"))}
    return dict(kept, **variables)


def hz4(*arguments, env=None):
    """(exit status, stdout, stderr)"""
    done = subprocess.run([HZ4, *arguments], env=env or clean(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, encoding="utf-8", errors="replace", check=False)
    return done.returncode, done.stdout, done.stderr


class Running:
    """A program that waits until it is left, and has said its first line."""

    def __init__(self, *command, env=None):
        self.process = subprocess.Popen(command, env=env or clean(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, encoding="utf-8")
        self.line = self.process.stdout.readline().strip()
        self.pid = str(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def patched(source, target, old, new):
    """A copy of a program with other bytes in it."""
    with open(source, "rb") as file:
        text = file.read()
    assert old in text and len(old) == len(new)
    with open(target, "wb") as file:
        file.write(text.replace(old, new, 1))
    os.chmod(target, 0o755)
