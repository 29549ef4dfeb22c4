"""Real programs under several allocators in turn: their time and peak RSS.

usage: programs [options] [DIR]

  bazel run //bench:programs -- --rounds 10 --peer mimalloc3=/path/libmimalloc.so results
  bazel run //bench:programs -- --programs gcc,git --only hz4,glibc results
  bazel run //bench:programs -- --report results            # the tables again, without a run

A program has its load (program_loads.py) prepared in a scratch directory, is run once plain, which says what it must
print, and once with each allocator, watched by the dynamic linker's LD_DEBUG: every process of it that takes
malloc must take it from that allocator. Then come the rounds, all allocators in turn, in an order shuffled every round.
"glibc" is libc preloaded, for a program that is linked to another allocator.

Time is wall time from start to end; for a server, of the load upon it. Peak RSS is that of the largest process, as GNU
time has it. A run that fails or prints something else is an error; one during which others had more than 10% of the
CPUs is INVALID and repeated, up to --retries times. Samples go to DIR/PROGRAM.json after every round; rounds that are
there, of the same load and allocators, are not run again. At the end DIR gets programs.md and programs.csv. Exit: 0, 1
when a run failed, 2 for bad arguments.
"""

import argparse
import csv
import dataclasses
import datetime
import glob
import hashlib
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, _HERE)
import compare_stats as stats  # noqa: E402
from allocators import Parser, add_arguments, choose, die, make_folder, say  # noqa: E402
from compare import count, describe_library, describe_machine, positive, warn_of_others  # noqa: E402
from matrix import geometric_mean, judge, load as read_json  # noqa: E402
from program_loads import LOADS  # noqa: E402

SOURCES = os.path.join(_HERE, "..", "hz4")
# The system's programs before a user's own, which may be scripts around the program that is meant. So are /usr/bin's
# pgbench and psql; postgres' own come first.
PATH = ":".join(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1:] + ["/usr/bin", "/bin", "/usr/sbin", "/sbin"])
MAX_TAKEN = 0.10  # of the CPUs by others, or by the hypervisor
NEAR = 0.99  # as fast as the best, within 1%
BINDING = re.compile(rb"binding file \S+ \[0\] to (\S+) \[0\]: normal symbol `malloc'")


class Failed(Exception):
    """A run that is an error; its text says why."""


def parse(argv):
    parser = Parser("programs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    usage=argparse.SUPPRESS, allow_abbrev=False)
    add = parser.add_argument
    add("--rounds", type=positive, default=40, metavar="N", help="runs of each allocator (default 40)")
    add("--programs", metavar="A,B", help="only these")
    add("--for", type=positive, dest="seconds", metavar="S", help="begin no round after so many seconds")
    add("--list", action="store_true", help="print the programs and their commands")
    add("--report", action="store_true", help="run nothing")
    add("--retries", type=count, default=1, metavar="N", help="repetitions of an invalid run (default 1)")
    add("--timeout", type=positive, default=120, metavar="S", help="seconds for one run (default 120)")
    add_arguments(parser)
    add("out", nargs="?", default="programs", metavar="DIR", help="where the results go (default ./programs)")
    options = parser.parse_args(argv)
    names = options.programs.split(",") if options.programs else list(LOADS)
    for name in names:
        if name not in LOADS:
            parser.error("--programs: unknown program '%s'; known: %s" % (name, ", ".join(LOADS)))
    options.chosen = {name: LOADS[name] for name in names}
    return options


def libc():
    """The path of the libc that is in use."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if "/libc.so" in line or "/libc-" in line)


# ---- one run ----


class Bench:
    """A load's scratch directory, and running it there."""

    def __init__(self, load, folder, timeout):
        self.load, self.folder, self.timeout = load, folder, timeout
        self.environment = {
            "PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "HOME": folder, "TMPDIR": folder, "LOADS": _HERE + "/loads",
            "SOURCES": SOURCES, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PERL_HASH_SEED": "0",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        self.shell(load.setup)

    def words(self, command):
        return [re.sub(r"\$(LOADS|SOURCES)", lambda match: self.environment[match[1]], word)
                for word in shlex.split(command)]

    def shell(self, script, check=True):
        done = subprocess.run(["sh", "-c", script], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=self.timeout)
        if check and done.returncode:
            raise Failed("exit %d of: %s" % (done.returncode, script.splitlines()[0]))
        return done

    def start(self, words, **more):
        with open(os.path.join(self.folder, "err"), "ab") as err:
            return subprocess.Popen(words, cwd=self.folder, env=self.environment, stderr=err, start_new_session=True,
                                    **more)

    def end_of(self, process):
        """Its resource usage, and that of what it waited for."""
        timer = threading.Timer(self.timeout, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            with open(os.path.join(self.folder, "err"), encoding="utf-8", errors="replace") as err:
                last = (err.read().strip().splitlines() or [""])[-1]
            raise Failed("exit %d %s" % (process.returncode, last[:100]))
        return usage

    def timed(self, words):
        """(its seconds, its resource usage); its stdout goes to the file out."""
        stdin = os.path.join(self.folder, *self.words(self.load.stdin))
        with open(stdin, "rb") as stdin, open(os.path.join(self.folder, "out"), "wb") as out:
            start = time.perf_counter()
            usage = self.end_of(self.start(words, stdin=stdin, stdout=out))
            return time.perf_counter() - start, usage

    def served(self, words):
        server = self.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + self.timeout
            while self.shell(self.load.ready, check=False).returncode:
                if time.monotonic() > deadline or os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    raise Failed("the server is not ready")
                time.sleep(0.02)
            seconds, _ = self.timed(self.words(self.load.load))
            output = self.shell(self.load.after).stdout
            return seconds, self.end_of(server), output
        finally:
            if server.returncode is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()

    def run(self, settings):
        """One sample. settings: environment variables of the program, not of what starts it."""
        self.shell(self.load.before)
        open(os.path.join(self.folder, "err"), "wb").close()
        # From a process of its own, for a child's peak RSS is never below that of the process it was forked from.
        words = ["time", "-q", "-o", "peak", "-f", "%M", "env"] + ["%s=%s" % item for item in settings.items()]
        words += self.words(self.load.command)
        busy, mine, start = busy_ticks(), children_s(), time.monotonic()
        if self.load.ready:
            seconds, usage, output = self.served(words)
        else:
            seconds, usage = self.timed(words)
            output = None
        others = (busy_ticks() - busy) / os.sysconf("SC_CLK_TCK") - (children_s() - mine)
        taken = max(0, others) / (time.monotonic() - start) / len(os.sched_getaffinity(0))
        output = self.shell(self.load.after).stdout if output is None else output
        if not output:
            raise Failed("it printed nothing")
        with open(os.path.join(self.folder, "peak"), encoding="utf-8") as file:
            peak = int(file.read())
        cpu = usage.ru_utime + usage.ru_stime
        return {"seconds": seconds, "ops_per_s": 1 / seconds, "cpu_s": cpu, "system_s": usage.ru_stime,
                "cpus_delivered": cpu / seconds, "peak_rss_kb": peak, "cpus_taken": taken,
                "output": hashlib.sha256(output).hexdigest()[:16]}


def busy_ticks():
    """What all CPUs did so far but idle, with what the hypervisor took from them."""
    with open("/proc/stat", encoding="utf-8") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return user + nice + system + irq + softirq + steal


def children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def check_bindings(files, path):
    """How many processes took malloc from the library at path, as all must that use it."""
    processes = 0
    for name in files:
        with open(name, "rb") as file:
            used = {os.fsdecode(match[1]) for match in map(BINDING.search, file) if match}
        # A program that takes malloc's address is said to have it itself, in its procedure linkage table.
        used = {library for library in used if "/" in library}
        processes += bool(used)
        for wrong in used - {path}:
            raise Failed("the preload of %s had no effect: malloc is %s's" % (path, wrong))
    if not processes:
        raise Failed("no process took malloc from %s" % path)
    return processes


# ---- all runs of a program ----


def settings_of(options, name, path):
    settings = dict(options.peer_settings.get(name, {}))
    settings["LD_PRELOAD"] = os.path.realpath(path or libc())
    return settings


def check(options, bench, allocators):
    """What the program prints, and how many of its processes take malloc from each allocator."""
    expected, processes = bench.run({})["output"], {}
    for name, path in allocators.items():
        settings = settings_of(options, name, path)
        watched = dict(settings, LD_DEBUG="bindings", LD_DEBUG_OUTPUT=os.path.join(bench.folder, "bindings"))
        try:
            if bench.run(watched)["output"] != expected:
                raise Failed("it prints something else than without a preload")
            files = glob.glob(os.path.join(bench.folder, "bindings.*"))
            processes[name] = check_bindings(files, settings["LD_PRELOAD"])
        except Failed as error:
            raise Failed("%s: %s" % (name, error)) from error
        for file in files:
            os.remove(file)
    return expected, processes


def sample_of(bench, settings, expected):
    try:
        sample = bench.run(settings)
    except Failed as error:
        return {"error": str(error), "invalid": str(error)}
    sample["invalid"] = None
    if sample["output"] != expected:
        sample["error"] = sample["invalid"] = "it printed something else"
    elif sample["cpus_taken"] > MAX_TAKEN:
        sample["invalid"] = "others had %.0f%% of the CPUs" % (100 * sample["cpus_taken"])
    return sample


def ping_pong_ns():
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run([os.path.join(_HERE, "mt_remote_system"), "1", "1000", "--json", file.name],
                       stdout=subprocess.DEVNULL, check=True)
        return json.load(file)["ping_pong_ns"]


def run_round(options, bench, allocators, expected, number):
    names, ping_pong, samples = list(allocators), ping_pong_ns(), []
    random.Random(number).shuffle(names)
    for name in names:
        for attempt in range(options.retries + 1):
            sample = sample_of(bench, settings_of(options, name, allocators[name]), expected)
            sample.update(allocator=name, round=number, attempt=attempt, ping_pong_ns=ping_pong)
            samples.append(sample)
            if sample["invalid"] is None:
                break
            say("%s, %s: INVALID: %s" % (bench.load.name, name, sample["invalid"]))
    return samples


def save(path, data, allocators, rounds):
    last = {(s["allocator"], s["round"]): s for s in data["samples"]}  # a repetition stands for the run before it
    kept = {name: [s for (allocator, _), s in last.items() if allocator == name] for name in allocators}
    data["rows"] = stats.summarise(kept, rounds)
    for row in data["rows"]:
        shown = [s for s in kept[row["name"]] if "error" not in s and (s["invalid"] is None or not row["valid"])]
        for key in ("cpu_s", "system_s"):
            row[key] = statistics.median(s[key] for s in shown) if shown else None
    with open(path + ".partial", "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
    os.replace(path + ".partial", path)  # whole, or not there


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


def run_program(options, load, allocators, deadline):
    """Whether all of its rounds were run without an error; False at the deadline, too."""
    path = os.path.join(options.out, load.name + ".json")
    asked = {"load": list(dataclasses.astuple(load)[1:]),
             "allocators": {name: [digest(path or libc()), options.peer_settings.get(name, {})]
                            for name, path in allocators.items()}}
    asked = json.loads(json.dumps(asked))  # as it is read again
    data = read_json(path)
    if data is None or data.get("asked") != asked:
        data = {"bench": "programs", "command": load.command, "asked": asked, "samples": [],
                "allocators": {name: describe_library(path, options.peer_settings.get(name, {}))
                               for name, path in allocators.items()}}
    done = max((s["round"] for s in data["samples"]), default=0)
    if done >= options.rounds:
        say("%s: there already" % load.name)
        return True
    with tempfile.TemporaryDirectory(prefix="programs.") as folder:
        bench = Bench(load, folder, options.timeout)
        if not done:
            data.update(machine=describe_machine(len(os.sched_getaffinity(0)), warn_of_others()),
                        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
            data["output"], data["processes"] = check(options, bench, allocators)
        for number in range(done + 1, options.rounds + 1):
            if time.monotonic() > deadline:
                say("%s: stopped before round %d; the next run goes on there" % (load.name, number))
                break
            data["samples"] += run_round(options, bench, allocators, data["output"], number)
            data["rounds"] = number
            save(path, data, allocators, number)
            hz4 = next((row for row in data["rows"] if row["name"] == stats.SUBJECT and "ops_per_s" in row), None)
            say("%s: round %d/%d%s" % (load.name, number, options.rounds,
                                       "  hz4 %.2f s" % (1 / hz4["ops_per_s"]) if hz4 else ""))
    return not any("error" in sample for sample in data["samples"])


def run(options):
    allocators = choose(options, os.path.join(SOURCES, "libhz4.so"))
    if shutil.which("time", path=PATH) is None:
        die(1, "GNU time is not installed (Debian's time)")
    make_folder(options.out)
    status = 0
    deadline = time.monotonic() + (options.seconds or float("inf"))
    for load in options.chosen.values():
        missing = [program for program in load.needs if shutil.which(program, path=PATH) is None]
        if missing:
            say("SKIPPED: %s: %s is not installed" % (load.name, missing[0]))
            continue
        if time.monotonic() > deadline:
            say("%s: no time left; the next run goes on here" % load.name)
            break
        try:
            good = run_program(options, load, allocators, deadline)
        except (Failed, subprocess.TimeoutExpired) as error:
            say("%s: FAILED: %s" % (load.name, error))
            good = False
        status = status if good else 1
    return status


# ---- what it comes to ----


def judge_paired(name, data):
    """matrix's line of the table, with each other allocator's time over hz4's in the same round, the median, for the
    machine drifts more between rounds than allocators differ. The best other is the one for which that is least: of
    many that are equally fast, the luckiest; so the ratio is also taken with the choice held out."""
    line = judge(name, data)
    runs = {row["name"]: [s for s in data["samples"] if s["allocator"] == row["name"]] for row in line["rows"]}
    line["paired"] = {}
    if line["hz4"] and line["hz4"]["valid"]:
        for row in line["rows"]:
            if row["valid"] and row is not line["hz4"]:
                line["paired"][row["name"]] = stats.paired_ratio(runs[stats.SUBJECT], runs[row["name"]])
    line["best"] = min((row for row in line["rows"] if row["name"] in line["paired"]),
                       key=lambda row: line["paired"][row["name"]], default=None)
    line["held_out"] = stats.held_out_ratio(runs.get(stats.SUBJECT), {name: runs[name] for name in line["paired"]})
    return line


def main_table(lines):
    body = []
    for line in lines:
        hz4, best, frugal = line["hz4"], line["best"], line["frugal"]
        shown = hz4 if hz4 and "ops_per_s" in hz4 else None
        body.append([
            line["cell"],
            "%.3f" % (1 / shown["ops_per_s"]) if shown else "-",
            "%.1f%%" % shown["mad_pct"] if shown else "-",
            "%.3f" % shown["cpu_s"] if shown else "-",
            "%s %.3f" % (best["name"], 1 / best["ops_per_s"]) if best else "-",
            "%.3f" % line["paired"][best["name"]] if best else "-",
            "%.3f" % line["held_out"] if line["held_out"] else "-",
            "%.1f" % (shown["peak_rss_kb"] / 1024) if shown else "-",
            "%s %.1f" % (frugal["name"], frugal["peak_rss_kb"] / 1024) if frugal else "-",
            "%.2f" % line["rss_ratio"] if "rss_ratio" in line else "-",
            " ".join(row["name"] for row in line["rows"] if not row["valid"]),
        ])
    head = ["program", "hz4 s", "MAD", "CPU s", "best other", "ratio", "held out", "hz4 RSS MB", "most frugal other",
            "ratio", "INVALID"]
    return stats.table(head, body, True, left=(0, 4, 8, 10))


def over_hz4(lines, measure):
    """{program: {other allocator: its measure over hz4's}}"""
    result = {}
    for line in lines:
        rows = {row["name"]: measure(row) for row in line["rows"] if row["valid"]}
        hz4 = rows.pop(stats.SUBJECT, None)
        result[line["cell"]] = {name: value / hz4 for name, value in rows.items()} if hz4 else {}
    return result


def ratio_table(title, ratios):
    """{program: {other allocator: ratio}}: above 1 hz4 is ahead."""
    names = sorted({name for row in ratios.values() for name in row})
    body = [[program] + ["%.3f" % row[name] if name in row else "-" for name in names]
            for program, row in ratios.items()]
    columns = ([row[name] for row in ratios.values() if name in row] for name in names)
    body.append(["geometric mean"] + ["%.3f" % geometric_mean(column) for column in columns])
    return stats.table([title] + names, body, True, left=(0,))


def report(options):
    found = {name: read_json(os.path.join(options.out, name + ".json")) for name in options.chosen}
    lines = [judge_paired(name, data) for name, data in found.items() if data is not None]
    if not lines:
        die(1, "no results in " + options.out)
    text = [main_table(lines), ""]
    speeds = [min(line["paired"].values()) for line in lines if line["paired"]]
    if speeds:
        text += ["Time: hz4 is the fastest in %d of %d programs, within 1%% of the best other in %d; the best other's "
                 "time over hz4's has the geometric mean %.3f." %
                 (sum(r >= 1 for r in speeds), len(speeds), sum(r >= NEAR for r in speeds), geometric_mean(speeds)), ""]
    held_out = [line["held_out"] for line in lines if line["held_out"]]
    if held_out:
        text += ["Held out (the best other by one half of the rounds, its time by the other half): hz4 is ahead in %d "
                 "of %d, within 1%% in %d; the geometric mean is %.3f." %
                 (sum(r >= 1 for r in held_out), len(held_out), sum(r >= NEAR for r in held_out),
                  geometric_mean(held_out)), ""]
    text += [ratio_table("time over hz4's", {line["cell"]: line["paired"] for line in lines}), "",
             ratio_table("CPU time over hz4's", over_hz4(lines, lambda row: row["cpu_s"])), "",
             ratio_table("peak RSS over hz4's", over_hz4(lines, lambda row: row["peak_rss_kb"])), ""]
    text = "\n".join(text)
    print(text)
    with open(os.path.join(options.out, "programs.md"), "w", encoding="utf-8") as file:
        file.write(text)
    keys = ["name", "valid", "runs", "counted", "ops_per_s", "low", "high", "mad_pct", "cpu_s", "system_s",
            "peak_rss_kb"]
    with open(os.path.join(options.out, "programs.csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["program"] + keys)
        for line in lines:
            writer.writerows([line["cell"]] + [row.get(key, "") for key in keys] for row in line["rows"])


def main(argv):
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    options = parse(argv)
    if options.list:
        for name, load in options.chosen.items():
            print("%-16s %s" % (name, load.load or load.command))
        return 0
    status = 0 if options.report else run(options)
    report(options)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        die(130, "interrupted")
