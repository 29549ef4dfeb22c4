"""What hz4 does to shared cache lines, counted, and what that would cost with more cores than there are here: a model.

usage: scaling --hz4 PATH [--lanes guard,main] [--threads 2,16,64,256] [--shards 1,2,8] [--iters N] [--near NS] [--far NS]

  bazel build --config=stats //hz4:libhz4.so && cp -L bazel-bin/hz4/libhz4.so /tmp/libhz4_stats.so
  bazel run //bench:scaling -- --hz4 /tmp/libhz4_stats.so

The counts come from mt_remote at 90% remote frees (matched, rings of 1,024 slots) under a libhz4.so that was built with
--config=stats. The model is stated in docs/scaling.md. --near and --far are the ping-pong times of two cores that
share a cache and of two that do not, in ns; mt_remote prints the time between the two CPUs at hand.
"""

import argparse
import json
import os
import subprocess
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, _HERE)
import compare_stats as stats  # noqa: E402
from allocators import Parser, die, library  # noqa: E402

SIZES = {"guard": (16, 2048), "main": (16, 32768), "cross128": (16, 131072)}
CORES = (1, 2, 4, 8, 16, 32, 64)
POINTERS_IN_A_LINE = 8
# Lines that a lock's holder writes whatever it moves: the lock with the class's counts; and, of the spans, one each.
LINES_OF_A_LOCK = 2
# Of a batch of pointers the first line costs a line. The others are asked for at once: each costs a part of one at most
# (docs/scaling.md).
LINE_OF_A_BATCH = 1 / 8
# ns of an operation that shares nothing: a malloc or a free, 17 or 18 instructions (fast_path_test).
FAST_PATH_NS = 1.5


def parse(argv):
    parser = Parser("scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    usage=argparse.SUPPRESS, allow_abbrev=False)
    add = parser.add_argument
    add("--hz4", required=True, metavar="PATH", help="a libhz4.so built with --config=stats")
    add("--lanes", default="guard,main,cross128", metavar="A,B")
    add("--threads", default="2,16,64,256", metavar="N,N")
    add("--shards", default="1,2,8", metavar="N,N", help="HZ4_SHARDS: of two CPUs two at most are used")
    add("--iters", type=int, default=4000000, metavar="N", help="operations of all threads together (default 4000000)")
    add("--near", type=float, default=50, metavar="NS")
    add("--far", type=float, default=400, metavar="NS")
    options = parser.parse_args(argv)
    options.lanes, options.threads = options.lanes.split(","), options.threads.split(",")
    options.shards = options.shards.split(",")
    for lane in options.lanes:
        if lane not in SIZES:
            parser.error("--lanes: '%s' is none of %s" % (lane, ", ".join(SIZES)))
    for name in ("threads", "shards"):
        for number in getattr(options, name):
            if not number.isdigit() or int(number) == 0:
                parser.error("--%s: '%s' is not a number above 0" % (name, number))
    return options


def count(options, lane, threads, shards):
    """hz4's counters after a run."""
    iterations = max(options.iters // threads, 1)
    low, high = SIZES[lane]
    command = [os.path.join(_HERE, "mt_remote_system"), *map(str, (threads, iterations, 400, low, high, 90, 1024)),
               "matched"]
    environment = dict(os.environ, HZ4_STATS="2", HZ4_SHARDS=str(shards), LD_PRELOAD=library("--hz4", options.hz4))
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        die(1, "mt_remote: " + (done.stderr.strip().splitlines() or ["exit %d" % done.returncode])[-1])
    counters = json.loads(done.stderr)
    if not counters["fast_path_counters"]:
        die(2, "--hz4: this library was not built with --config=stats")
    return counters


def per_thousand(counters, shards=1):
    """Events in 1,000 calls of malloc or free. Lines: what costs as much as so many that come from another cache."""
    def both(name):
        return counters["small_" + name] + counters["mid_" + name]

    def lines_of(objects, batches):
        return batches + max(objects / POINTERS_IN_A_LINE - batches, 0) * LINE_OF_A_BATCH

    calls = both("malloc_calls") + both("free_calls")
    visits, away = both("refill_lock") + both("flush_lock"), both("shard_lock")
    moved = both("refill_objects") + both("flush_objects") - both("inbox_push_objects")
    inbox = both("inbox_push") + both("inbox_refused") + both("inbox_batches")
    spans = both("span_opened") + both("span_closed")
    locks = visits + away + spans
    # Two CPUs are two shards, where half of what goes home goes to the other; of more shards more of it.
    spread = 2 * (1 - 1 / shards)
    # A lock is taken by one atomic operation and given up by another; so is the segments' lock for each span.
    events = {
        "locks": locks,
        "rmw": 2 * locks + inbox,
        "lines": (LINES_OF_A_LOCK * locks + inbox + lines_of(moved, visits + away) +
                  lines_of(both("inbox_push_objects"), 0)),
        "cross": spread * (LINES_OF_A_LOCK * away + lines_of(both("shard_objects"), away)),
        "objects": both("refill_objects") + both("flush_objects"),
        "away": spread * both("shard_objects"),
    }
    return {name: 1000 * n / calls for name, n in events.items()}


def classes_in_use(low, high):
    """How many classes of equal weight would share the locks as these do: 1 / sum of squared shares."""
    shares, bottom = [], low - 1
    size = 16
    while bottom < high:
        top = min(max(size, bottom), high)
        shares.append((top - bottom) / (high - low + 1))
        bottom = top
        size += 16 if size < 256 else 1 << (size.bit_length() - 4)
    return 1 / sum(share * share for share in shares)


def throughput(events, classes, cores, shards, near_ns, far_ns):
    """Operations per ns of that many cores, of which far_ns / near_ns is what a line between two shards costs; a fixed point,
    for waiting slows down who else would be waited for."""
    own_ns = (events["lines"] - events["cross"]) * near_ns
    lines_ns = (own_ns + events["cross"] * far_ns) / 1000
    holding = own_ns / events["locks"] if events["locks"] else 0
    others = max(cores / shards - 1, 0)
    wait, per_op = 0.0, FAST_PATH_NS
    for _ in range(200):
        per_op = FAST_PATH_NS + lines_ns + events["locks"] / 1000 * wait
        busy = min(others / per_op * events["locks"] / 1000 / classes * holding, 0.99)
        wait = (wait + holding * busy / (2 * (1 - busy))) / 2  # M/D/1; halfway, so that it settles
    return cores / per_op


def distances(machine, shards, near, far):
    """What a line costs within a shard, and between two. On two sockets a single shard is on both."""
    if machine == "one socket":
        return near, near
    if shards == 1:
        return (near + far) / 2, far
    other_socket = shards / 2 / (shards - 1)
    return near, other_socket * far + (1 - other_socket) * near


def main(argv):
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    options = parse(argv)
    counted, body = {}, []
    for lane in options.lanes:
        for threads in map(int, options.threads):
            for shards in map(int, options.shards):
                events = per_thousand(count(options, lane, threads, shards), shards)
                counted[lane, threads, shards] = events
                body.append([lane, "T%d" % threads, str(shards)] +
                            ["%.2f" % events[k] for k in ("locks", "rmw", "lines", "cross", "objects", "away")])
    print("In 1,000 calls of malloc or free, at 90% remote frees:\n")
    print(stats.table(["lane", "threads", "shards", "locks taken", "atomic read-modify-writes", "shared lines",
                       "between shards", "objects moved", "between shards"], body, True, left=(0, 1)))
    near, far = options.near / 2, options.far / 2
    body = []
    for (lane, threads, shards), events in counted.items():
        if threads != int(options.threads[-2 if len(options.threads) > 1 else -1]):
            continue
        classes = classes_in_use(*SIZES[lane])
        alone = 1 / FAST_PATH_NS
        for machine in ("one socket", "two sockets"):
            own, other = distances(machine, shards, near, far)
            body.append([lane, machine, str(shards)] +
                        ["%.1f" % ((throughput(events, classes, n, shards, own, other) if n > 1 else
                                    throughput(events, classes, 1, 1, 0, 0)) / alone) for n in CORES])
    print("\nModelled speed, in cores that share nothing, of so many cores (near %.0f ns, far %.0f ns a round trip):\n"
          % (options.near, options.far))
    print(stats.table(["lane", "machine", "shards"] + [str(n) for n in CORES], body, True, left=(0, 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
