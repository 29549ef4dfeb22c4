"""Work of many kinds, for a python3 that is refused memory now and then. Prints the same whenever it comes to its end.

What it needs to tell of a failure is imported before. Then it calls sched_yield(), from which on calls may fail.
argv[1]: how many turns there are, at the end, of calls to the system and little else: at least one of each kind.
"""

import ctypes
import hashlib
import json
import os
import random
import sys

LIBC = ctypes.CDLL(None)
KIB = 1 << 10
MIB = 1 << 20
TRIES = 60  # a MemoryError is an answer; work that fails as often as that is given up


def retried(work, *arguments):
    for _ in range(TRIES - 1):
        try:
            return work(*arguments)
        except MemoryError:
            continue
    return work(*arguments)


def containers(seed):
    numbers = random.Random(seed)
    table = {str(numbers.random()): [numbers.random()] * (i % 50) for i in range(4000)}
    return sum(map(len, table.values())), hashlib.sha1("".join(sorted(table)).encode()).hexdigest()


def text():
    rows = [{"number": i, "words": ["word %d" % j for j in range(i % 9)]} for i in range(1000)]
    return hashlib.sha1(json.dumps(json.loads(json.dumps(rows))).encode()).hexdigest()


def growing():
    data = bytearray()
    for i in range(200):
        data += bytes([i % 251]) * 30000
    while len(data) > MIB:
        del data[len(data) * 3 // 4 :]
    return len(data), hashlib.sha1(data).hexdigest()


def zeros(size):
    block = bytes(size)  # calloc's
    return block.count(0) == size


def in_a_child():
    child = os.fork()
    if child == 0:
        try:
            code = containers(9)[0] % 100
        except MemoryError:
            code = 100
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 100:
        raise MemoryError
    return code


def take_and_give_back(buffer):
    bytes(100 * MIB)  # mmap and munmap: more than is ever kept for reuse
    ctypes.resize(buffer, 6 * MIB)  # mremap
    ctypes.resize(buffer, 2 * MIB)
    bytes(300 * KIB)
    LIBC.malloc_trim(0)  # madvise


os.sched_yield()
for turn in range(2):
    print(retried(containers, turn), retried(text), retried(growing), retried(zeros, 3 * MIB), retried(in_a_child))
grown = retried(ctypes.create_string_buffer, 2 * MIB)
for _ in range(int(sys.argv[1])):
    retried(take_and_give_back, grown)
print("done")
