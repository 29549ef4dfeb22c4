"""json, threads, fork and subprocess; prints what does not vary from run to run."""

import gc
import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import zlib


def check_preload():
    """The library that LD_PRELOAD names must be in this very process."""
    library = os.environ.get("LD_PRELOAD")
    if library:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            if library not in maps.read():
                sys.exit("LD_PRELOAD had no effect")


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tree(depth, seed):
    if depth == 0:
        return ["x" * (seed % 200), seed * 1.5, seed, None]
    return {f"key{seed * 7 + i}": tree(depth - 1, seed * 5 + i) for i in range(5)}


def run_json():
    text = json.dumps(tree(6, 1), indent=1, sort_keys=True)
    print("json", len(text), digest(text))
    for _ in range(3):
        assert json.dumps(json.loads(text), indent=1, sort_keys=True) == text
    buffer = bytearray()
    for i in range(200000):
        buffer += b"%d," % i
    print("bytearray", len(buffer), zlib.crc32(buffer))


def run_threads():
    """Objects are made in one thread, changed in a second, and dropped in a third."""
    count, workers = 2000, 4
    first, second, sums = queue.Queue(100), queue.Queue(100), queue.Queue()

    def make(number):
        for i in range(count):
            first.put((i, ["word%d" % (i * number)] * (i % 50), bytes(i % 3000)))

    def change():
        while (item := first.get()) is not None:
            i, words, data = item
            second.put((i, sorted(words + [str(i)]), zlib.compress(data)))

    def drop():
        total = 0
        while (item := second.get()) is not None:
            total += item[0] + len(item[1]) + len(zlib.decompress(item[2]))
        sums.put(total)

    makers = [threading.Thread(target=make, args=(n,)) for n in range(workers)]
    changers = [threading.Thread(target=change) for _ in range(workers)]
    droppers = [threading.Thread(target=drop) for _ in range(workers)]
    for stage, inlet in ((makers, None), (changers, first), (droppers, second)):
        for thread in stage:
            thread.start()
    for stage, inlet in ((makers, None), (changers, first), (droppers, second)):
        if inlet:
            for _ in stage:
                inlet.put(None)
        for thread in stage:
            thread.join()
    print("threads", sum(sums.get() for _ in droppers))


def run_fork():
    """Children of a process whose other threads allocate outside the interpreter's lock."""
    stop = threading.Event()

    def churn():
        data = os.urandom(300000)
        while not stop.is_set():
            zlib.decompress(zlib.compress(data, 1))

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    statuses = []
    for _ in range(12):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                items = [str(k) * (k % 100) for k in range(20000)]
                status = 0 if len(json.loads(json.dumps(items))) == 20000 else 2
            finally:
                os._exit(status)
        statuses.append(os.waitpid(pid, 0)[1])
    stop.set()
    for thread in threads:
        thread.join()
    print("fork", statuses)


def run_subprocess():
    program = "import sys; print(sum(len(str(i)) for i in range(100000)), sys.stdin.read()[-5:])"
    children = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for i, child in enumerate(children):
        out, _ = child.communicate(b"a" * 500000 + b"%05d" % i)
        print("subprocess", child.returncode, out)
    print("shell", subprocess.run("echo $((6 * 7)); exit 3", shell=True, capture_output=True, check=False))


def run_cycles():
    for _ in range(5):
        nodes = [{"id": i} for i in range(50000)]
        for i, node in enumerate(nodes):
            node["next"] = nodes[(i * 7 + 1) % len(nodes)]
        del nodes, node
        print("cycles", gc.collect() > 0)


check_preload()
run_json()
run_threads()
run_fork()
run_subprocess()
run_cycles()
