"""Runs a benchmark under several allocators in turn and compares them.

usage: compare [options] [[--] BENCH [its arguments]]

  bazel run //bench:compare
  bazel run //bench:compare -- --rounds 10 -- mt_remote 2 2000000 400 16 32768 90 65536 --touch first
  bazel run //bench:compare -- --only hz4 --peer hardened=bazel-bin/hz4/libhz4.so:HZ4_HARDEN=1 -- malloc_args

BENCH is one of bench/, as mt_remote, server or micro, or the path of a program that takes --json FILE as they do.
Without one it is the lanes guard and main of mt_remote, as many rounds as begin within 25 s each, and a shorter table.
Every allocator is preloaded into the same binary; that the preload took effect is checked. The allocators run
interleaved, in an order that is shuffled every round. The figures are medians over the runs that count: a run with more
than 0.10% ring fallback, a remote share more than 0.5 points off its target, or less than 0.85 of its CPUs delivered is
invalid, and is repeated up to --retries times. An allocator with fewer valid rounds than half is shown as INVALID and
never ranked. "vs best" is the ratio of medians to the best allocator but hz4; "paired" the median of the same ratio
within each round; "ns over ceiling" wall time per operation above the same harness over an allocator that does nothing.
"RSS MB" is the peak, "rss ... MB" what else a benchmark measured of the resident set, "... ns" how long its calls took
(its --help).

The table goes to stdout, progress to stderr, all samples to a JSON file (without BENCH: nowhere). Exit: 0, 1 when a run
failed, 2 for bad arguments.
"""

import argparse
import datetime
import glob
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, _HERE)
import compare_stats  # noqa: E402
from allocators import Parser, add_arguments, check_preload, choose, die, environment_of, library, say  # noqa: E402

BENCHES = ("mt_remote", "malloc_args", "prodcons", "churn", "asleep", "footprint", "server", "replace", "scratch",
           "pool", "large", "latency", "micro")
LANE_SECONDS = 25
# Settings of allocators that a reader of the results should know about.
ENV_PREFIXES = ("HZ4_", "GLIBC_TUNABLES", "MALLOC_", "MIMALLOC_", "TCMALLOC_", "JE_MALLOC", "_RJEM")


def lanes(cpus):
    """{title: command} of the two lanes that hz4 is for, as mt_remote runs them without arguments: where there are more
    threads than CPUs matched, with small rings. In an eighth of the time there, for the slowest take long."""
    threads = 16
    iterations, ring = ("250000", "1024 matched") if threads > cpus else ("2000000", "65536")
    return {"%s: %d threads on %d CPUs, objects of 16 to %d bytes, of which another thread frees 9 in 10" %
            (name, threads, cpus, top): "mt_remote %d %s 400 16 %d 90 %s" % (threads, iterations, top, ring)
            for name, top in (("guard", 2048), ("main", 32768))}


def positive(text):
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError("'%s' is not a number above 0" % text)
    return value


def count(text):
    if not text.isdigit():
        raise argparse.ArgumentTypeError("'%s' is not a number" % text)
    return int(text)


def parse(argv):
    parser = Parser("compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    usage=argparse.SUPPRESS, allow_abbrev=False)
    add = parser.add_argument
    add("--rounds", type=positive, default=10, metavar="N", help="runs of each allocator (default 10)")
    add("--for", type=positive, dest="seconds", metavar="S", help="begin no further round after so many seconds")
    add_arguments(parser)
    add("--ceiling", action=argparse.BooleanOptionalAction, help="the ceiling row (default: for mt_remote)")
    add("--retries", type=count, metavar="N", help="repetitions of an invalid run (default 3; without BENCH 1)")
    add("--timeout", type=positive, default=600, metavar="S", help="seconds for one run (default 600)")
    add("--json", metavar="FILE", help="the samples (default: ./compare-BENCH-TIME.json)")
    add("--markdown", action="store_true", help="a Markdown table")
    add("--bin-dir", default=_HERE, metavar="DIR", help="where the benchmarks are (default: beside this program)")
    add("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    options.brief = not options.command
    if options.retries is None:
        options.retries = 1 if options.brief else 3
    if options.brief:
        if options.json:
            parser.error("--json: of which benchmark?")
        options.bench = "mt_remote"
        options.ceiling = bool(options.ceiling)
        options.seconds = options.seconds or LANE_SECONDS
        return options
    bench = options.command[0]
    if "/" not in bench and bench not in BENCHES:
        parser.error("unknown benchmark '%s'; known: %s" % (bench, ", ".join(BENCHES)))
    if not os.access(program(options, bench), os.X_OK):
        parser.error("%s: no such program" % program(options, bench))
    options.bench = os.path.basename(bench)
    if options.ceiling is None:
        options.ceiling = options.bench == "mt_remote"
    elif options.ceiling and options.bench == "micro":
        parser.error("--ceiling: micro has no --touch none")
    return options


def program(options, bench):
    """The path of a benchmark; of ours, the one that has no allocator linked in."""
    return os.path.abspath(bench if "/" in bench else os.path.join(options.bin_dir, bench + "_system"))


def choose_allocators(options):
    """{name: path of its library, None for glibc's own malloc}, as --only, --peer and --ceiling have it."""
    chosen = choose(options, os.path.join(options.bin_dir, "..", "hz4", "libhz4.so"))
    if options.ceiling:
        chosen[compare_stats.CEILING] = library("ceiling", os.path.join(options.bin_dir, "libbump.so"))
    return chosen


def from_google_benchmark(data):
    """micro's JSON in the shape of the others'."""
    to_ns = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
    runs = [b for b in data["benchmarks"] if b["run_type"] == "iteration" and "error_occurred" not in b]
    single = [b for b in runs if b["threads"] == 1]
    real = sum(b["real_time"] * to_ns[b["time_unit"]] * b["iterations"] for b in single)
    cpu = sum(b["cpu_time"] * to_ns[b["time_unit"]] * b["iterations"] for b in single)
    delivered = cpu / real if real else 1.0
    return {
        "threads": 1,
        "cpus_delivered": delivered,
        "invalid": compare_stats.too_few_cpus(delivered),
        "cases": {b["name"]: b["real_time"] * to_ns[b["time_unit"]] for b in runs},
        "malloc": data["context"].get("malloc", "?"),
    }


def failed(why):
    return {"error": why, "invalid": why}


def run_once(options, name, path):
    """One sample; {"error": ...} when the run failed. Bad arguments end the program as they ended the benchmark."""
    command = [program(options, options.command[0])] + options.command[1:]
    environment = environment_of(options, name, path)
    if name == compare_stats.CEILING:
        # It never frees: objects that are written to would fill the memory.
        command = [word for word in command if word != "--verify"] + ["--touch", "none"]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "sample.json")
        if options.bench == "micro":
            command += ["--benchmark_out=" + out, "--benchmark_out_format=json"]
        else:
            command += ["--json", out]
        try:
            done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, errors="replace", timeout=options.timeout)
        except subprocess.TimeoutExpired:
            return failed("no end after %d s" % options.timeout)
        last = (done.stderr.strip().splitlines() or [""])[-1]
        if done.returncode == 2:
            die(2, last)
        if done.returncode != 0:
            ended = "signal %d" % -done.returncode if done.returncode < 0 else "exit %d" % done.returncode
            return failed("%s %s" % (ended, last[:100]))
        try:
            with open(out, encoding="utf-8") as file:
                data = json.load(file)
            sample = from_google_benchmark(data) if options.bench == "micro" else data
            check_preload(name, path, sample["malloc"])
            sample["invalid"]  # a program that does not judge its run is none of ours
        except (OSError, ValueError, KeyError) as error:
            die(1, "%s: no result in --json: %s" % (name, error))
    return sample


def run_all(options, allocators):
    """(the sample that stands for each round, by allocator; every sample, repetitions included). The rounds that were
    not begun in time are taken off options.rounds."""
    shuffle = random.Random(1).shuffle
    kept, every = {name: [] for name in allocators}, []
    total, start = options.rounds * len(allocators), time.monotonic()
    deadline = start + (options.seconds or float("inf"))
    for number in range(1, options.rounds + 1):
        if number > 1 and time.monotonic() > deadline:
            options.rounds = number - 1
            break
        order = list(allocators)
        shuffle(order)
        for name in order:
            for attempt in range(options.retries + 1):
                sample = run_once(options, name, allocators[name])
                sample.update(allocator=name, round=number, attempt=attempt)
                every.append(sample)
                if sample["invalid"] is None or time.monotonic() > deadline:
                    break
            kept[name].append(sample)
            done = sum(map(len, kept.values()))
            now = time.monotonic()
            left = min((now - start) / done * (total - done), max(deadline - now, 0))
            figure = "%8s M ops/s" % compare_stats.mops(sample["ops_per_s"]) if "ops_per_s" in sample else "done"
            note = "" if sample["invalid"] is None else "  INVALID: " + sample["invalid"]
            note += "  (run %d times)" % (attempt + 1) if attempt else ""
            say("round %d/%d  %-10s %s  %d s left%s" % (number, options.rounds, name, figure, left, note))
    return kept, every


def cpu_ticks():
    """CPU time of every process so far: {pid: (ticks, name)}."""
    ticks = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        pid, name, rest = int(path.split("/")[2]), text[text.find("(") + 1:text.rfind(")")], text[text.rfind(")") + 2:]
        ticks[pid] = (sum(map(int, rest.split()[11:13])), name)
    return ticks


def warn_of_others(seconds=0.5):
    """Names whatever else uses more than a tenth of a CPU."""
    before = cpu_ticks()
    time.sleep(seconds)
    after = cpu_ticks()
    hertz = os.sysconf("SC_CLK_TCK")
    others = []
    for pid, (ticks, name) in after.items():
        share = (ticks - before.get(pid, (ticks, name))[0]) / hertz / seconds
        if pid != os.getpid() and share > 0.1:
            others.append("%s (pid %d) %d%%" % (name, pid, 100 * share))
    if others:
        say("WARNING: other processes are busy, and will be in the figures: " + ", ".join(others))
    return others


def describe_machine(cpus, others):
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cpus": cpus,
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "load": os.getloadavg(),
        "busy_processes": others,
        "settings": {k: v for k, v in os.environ.items() if k.startswith(ENV_PREFIXES)},
    }


def describe_library(path, settings):
    if path is None:
        return {"path": None}
    real = os.path.realpath(path)
    return {"path": path, "real_path": real, "bytes": os.path.getsize(real), "settings": settings}


def whereabouts(allocators):
    """What was compared, by the files' own names, a line for each."""
    return "\n".join("%-10s %s" % (name, " ".join(platform.libc_ver()) if path is None else os.path.realpath(path))
                     for name, path in allocators.items())


def compare_lanes(options, allocators, cpus):
    """For who gives no benchmark. Whether no run failed."""
    warn_of_others()
    print("""Each allocator is preloaded into the same program, by turns. "M ops/s": millions of operations a second,
the median of its runs; "vs best": that speed over the speed of the best besides hz4; "RSS MB": peak memory.
INVALID runs are not ranked.""", flush=True)
    good = True
    rounds = options.rounds
    for title, command in lanes(cpus).items():
        options.command, options.rounds = command.split(), rounds
        say(title)
        kept, every = run_all(options, allocators)
        rows = compare_stats.summarise(kept, options.rounds)
        print("\n%s\n(%s; rounds: %d)\n" % (title, command, options.rounds))
        print(compare_stats.render(rows, options.markdown, brief=True))
        print("\n" + compare_stats.verdict(rows), flush=True)
        good = good and not any("error" in sample for sample in every)
    print("\n" + whereabouts(allocators))
    return good


def main(argv):
    # bazel run starts programs elsewhere: relative paths are the caller's.
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    options = parse(argv)
    allocators = choose_allocators(options)
    cpus = len(os.sched_getaffinity(0))
    if options.brief:
        return 0 if compare_lanes(options, allocators, cpus) else 1
    now = datetime.datetime.now().astimezone()
    json_path = options.json or "compare-%s-%s.json" % (options.bench, now.strftime("%Y%m%d-%H%M%S"))
    try:
        json_file = open(json_path, "w", encoding="utf-8")  # now, not after an hour of runs
    except OSError as error:
        die(2, "--json %s: %s" % (json_path, error.strerror))

    machine = describe_machine(cpus, warn_of_others())
    kept, every = run_all(options, allocators)
    what = " ".join([options.bench] + options.command[1:])
    with json_file:
        json.dump({
            "bench": options.bench,
            "command": what,
            "rounds": options.rounds,
            "date": now.isoformat(timespec="seconds"),
            "machine": machine,
            "allocators": {name: describe_library(path, options.peer_settings.get(name, {}))
                           for name, path in allocators.items()},
            "rows": [] if options.bench == "micro" else compare_stats.summarise(kept, options.rounds),
            "samples": every,
        }, json_file, indent=1)
        json_file.write("\n")

    print("%s  (%d rounds, %s, %d CPUs, Linux %s)" % (what, options.rounds, machine["cpu"], cpus, machine["kernel"]))
    if options.markdown:
        print()
    if options.bench == "micro":
        print(compare_stats.render_cases(kept, options.rounds, options.markdown))
    else:
        print(compare_stats.render(compare_stats.summarise(kept, options.rounds), options.markdown))
    print(("\n" if options.markdown else "") + "samples: " + json_path)
    return 1 if any("error" in sample for sample in every) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        die(130, "interrupted")
