"""The whole field in one table: every lane under every allocator, by compare, and what it comes to.

usage: matrix [options]

  bazel run //bench:matrix -- --out results --rounds 10 --peer mimalloc3=/path/libmimalloc.so
  bazel run //bench:matrix -- --out results --report        # the tables and plots again, without a run

Each cell is one interleaved run of compare, whose samples go to OUT/CELL.json. A cell whose file is there, with the
same command, rounds and allocators, is not run again: so an interrupted matrix goes on where it was. Then OUT gets
matrix.md, matrix.csv, matrix.json and, with matplotlib, plots as SVG. Exit as compare's.
"""

import argparse
import csv
import json
import math
import os
import re
import subprocess
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, _HERE)
import compare_stats as stats  # noqa: E402
from allocators import Parser, add_arguments, die, make_folder, say  # noqa: E402

SIZES = {"guard": (16, 2048), "main": (16, 32768), "cross128": (16, 131072)}
# A comparator counts as a rival in memory when it is not slower than hz4 by more than this.
RIVAL_SPEED = 1.5


def cells():
    """{name: command}. With more threads than CPUs: matched, and rings of 1,024 slots, so that the backlog in the
    rings, which grows with the allocator's speed, does not count as its memory."""
    table = {}
    for lane, (low, high) in SIZES.items():
        for threads, iterations, ring in ((1, 2000000, "65536"), (2, 2000000, "65536"), (4, 1000000, "1024 matched"),
                                          (16, 250000, "1024 matched")):
            for remote in (0, 50, 90):
                name = "%s_t%d_r%d" % (lane, threads, remote)
                table[name] = "mt_remote %d %d 400 %d %d %d %s" % (threads, iterations, low, high, remote, ring)
    table["malloc_args"] = "malloc_args"
    for producers, consumers in ((1, 1), (2, 2), (1, 3), (3, 1)):
        for lane, iterations in (("guard", 3000000), ("main", 4500000)):
            name = "prodcons_%s_%d_%d" % (lane, producers, consumers)
            table[name] = "prodcons %d %d %d %d %d 4096" % (producers, consumers, iterations // producers, *SIZES[lane])
    for threads, lives in ((4, 1000), (16, 250)):
        table["churn_t%d" % threads] = "churn %d %d 400 16 32768" % (threads, lives)
    table["asleep"] = "asleep 4 50 2000 16 32768"
    for workers in (16, 64, 256, 1000):
        table["server_w%d" % workers] = "server %d 60000 5000" % workers
    for threads, iterations in ((2, 5000000), (16, 625000)):
        table["replace_t%d" % threads] = "replace %d %d 5000 8 1000" % (threads, iterations)
    for size in (8, 16, 32):
        table["scratch_%d" % size] = "scratch 2 20000 10000 %d" % size
    table["pool"] = "pool 64 64 16384 262144"
    table["pool_forks"] = "pool 16 32 16384 262144 8"
    for lane, crest in (("guard", 65536), ("main", 8192)):
        for threads in (1, 2, 16):
            table["latency_%s_t%d" % (lane, threads)] = (
                "latency %d 20 %d %d %d" % (threads, crest // threads, *SIZES[lane]))
    table["footprint_small"] = "footprint 128 90 16 256 2048 200"
    table["footprint_mid"] = "footprint 256 90 16 4096 32768 200"
    return table


def parse(argv):
    parser = Parser("matrix", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    usage=argparse.SUPPRESS, allow_abbrev=False)
    add = parser.add_argument
    add("--out", default="matrix", metavar="DIR", help="where the results go (default ./matrix)")
    add("--rounds", default="10", metavar="N", help="runs of each allocator in each cell (default 10)")
    add("--cells", default="", metavar="REGEX", help="only cells whose names match")
    add("--list", action="store_true", help="print the cells and their commands")
    add("--report", action="store_true", help="run nothing")
    add_arguments(parser)
    options = parser.parse_args(argv)
    try:
        chosen = re.compile(options.cells)
    except re.error as error:
        parser.error("--cells: %s" % error)
    options.chosen = {name: command for name, command in cells().items() if chosen.search(name)}
    if not options.chosen:
        parser.error("--cells: no cell's name matches '%s'" % options.cells)
    return options


def passed_on(options):
    words = ["--rounds", options.rounds]
    for name in ("only", "hz4"):
        if getattr(options, name):
            words += ["--" + name, getattr(options, name)]
    for peer in options.peer:
        words += ["--peer", peer]
    return words


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def run(options):
    make_folder(options.out)
    status = 0
    for number, (name, command) in enumerate(options.chosen.items(), 1):
        path = os.path.join(options.out, name + ".json")
        asked = passed_on(options)
        old = load(path)
        if old is not None and old.get("asked") == asked and old["command"].split() == command.split():
            say("%d/%d %s: there already" % (number, len(options.chosen), name))
            continue
        say("%d/%d %s: %s" % (number, len(options.chosen), name, command))
        partial = path + ".partial"
        done = subprocess.run([sys.executable, os.path.join(_HERE, "compare.py"), *asked, "--retries", "1", "--json",
                               partial, "--", *command.split()], stdout=sys.stderr, check=False)
        data = load(partial)
        if done.returncode not in (0, 1) or data is None:
            sys.exit(done.returncode or 1)
        status = max(status, done.returncode)
        data["asked"] = asked
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
            file.write("\n")
        os.replace(partial, path)  # whole, or not there
    return status


# ---- what it comes to ----


def judge(name, data):
    """One line of the table."""
    rows = {row["name"]: row for row in data["rows"]}
    hz4 = rows.get(stats.SUBJECT)
    others = [r for r in data["rows"] if r["valid"] and r["name"] not in (stats.SUBJECT, stats.CEILING)]
    line = {"cell": name, "rows": data["rows"], "hz4": hz4, "best": None, "frugal": None}
    if others:
        line["best"] = max(others, key=lambda r: r["ops_per_s"])
    if hz4 is None or not hz4["valid"] or not others:
        return line
    line["speed_ratio"] = hz4["ops_per_s"] / line["best"]["ops_per_s"]
    ceiling = rows.get(stats.CEILING)
    if ceiling is not None and ceiling["valid"]:
        line["ceiling_ratio"] = ceiling["ops_per_s"] / line["best"]["ops_per_s"]
    rivals = [r for r in others if r["ops_per_s"] * RIVAL_SPEED >= hz4["ops_per_s"]]
    if rivals:
        line["frugal"] = min(rivals, key=lambda r: r["peak_rss_kb"])
        line["rss_ratio"] = hz4["peak_rss_kb"] / line["frugal"]["peak_rss_kb"]
    return line


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def speed_table(lines):
    body = []
    for line in lines:
        hz4, best, frugal = line["hz4"], line["best"], line["frugal"]
        invalid = [r["name"] for r in line["rows"] if not r["valid"]]
        body.append([
            line["cell"],
            stats.mops(hz4["ops_per_s"]) if hz4 and "ops_per_s" in hz4 else "-",
            "%.1f%%" % hz4["mad_pct"] if hz4 and "mad_pct" in hz4 else "-",
            "%s %s" % (best["name"], stats.mops(best["ops_per_s"])) if best else "-",
            "%.2f" % line["speed_ratio"] if "speed_ratio" in line else "-",
            "%.2f" % line["ceiling_ratio"] if "ceiling_ratio" in line else "-",
            "%.1f" % (hz4["peak_rss_kb"] / 1024) if hz4 and "peak_rss_kb" in hz4 else "-",
            "%s %.1f" % (frugal["name"], frugal["peak_rss_kb"] / 1024) if frugal else "-",
            "%.2f" % line["rss_ratio"] if "rss_ratio" in line else "-",
            "%.0f" % hz4["ping_pong_ns"] if hz4 and "ping_pong_ns" in hz4 else "-",
            " ".join(invalid),
        ])
    head = ["cell", "hz4 M ops/s", "MAD", "best other", "ratio", "ceiling", "hz4 RSS MB", "most frugal rival", "ratio",
            "ping-pong ns", "INVALID"]
    return stats.table(head, body, True, left=(0, 3, 7, 10))


def footprint_table(name, data):
    phases = ("filled", "thinned", "thinned_idle", "shifted", "empty", "empty_idle")
    body = []
    for row in data["rows"]:
        runs = [s["extra"] for s in data["samples"] if s["allocator"] == row["name"] and s.get("extra")]
        if not runs:
            continue
        middle = [sorted(r[phase + "_kb"] for r in runs)[len(runs) // 2] / 1024 for phase in phases]
        body.append([row["name"]] + ["%.1f" % mb for mb in middle])
    body.sort(key=lambda line: float(line[2]))
    return stats.table([name + ", RSS MB"] + list(phases), body, True, left=(0,))


def extra_table(name, data):
    """What a cell's benchmark measured besides speed and the peak; "" if that is nothing."""
    keys = stats.extra_keys(*data["rows"])
    if not keys:
        return ""
    rows = sorted((row for row in data["rows"] if keys[0] in row), key=lambda row: row[keys[0]])
    body = [[row["name"]] + [stats.extra_text(row, key) for key in keys] for row in rows]
    return stats.table([name] + [stats.extra_title(key) for key in keys], body, True, left=(0,))


def report(options):
    found = {name: load(os.path.join(options.out, name + ".json")) for name in options.chosen}
    found = {name: data for name, data in found.items() if data is not None}
    if not found:
        die(1, "no results in " + options.out)
    footprints = {name: data for name, data in found.items() if name.startswith("footprint")}
    lines = [judge(name, data) for name, data in found.items() if name not in footprints]
    text = [speed_table(lines), ""]
    for title, wanted in (("mt_remote", r"_t\d+_r\d+$"), ("all", "")):
        ratios = [line["speed_ratio"] for line in lines if "speed_ratio" in line and re.search(wanted, line["cell"])]
        if ratios:
            text += ["%s: geometric mean %.3f over %d cells, ahead in %d." %
                     (title, geometric_mean(ratios), len(ratios), sum(r >= 1 for r in ratios)), ""]
    tables = [footprint_table(name, data) if name in footprints else extra_table(name, data)
              for name, data in found.items()]
    for table in filter(None, tables):
        text += [table, ""]
    text = "\n".join(text)
    print(text)
    with open(os.path.join(options.out, "matrix.md"), "w", encoding="utf-8") as file:
        file.write(text)
    with open(os.path.join(options.out, "matrix.json"), "w", encoding="utf-8") as file:
        json.dump(lines, file, indent=1)
    keys = ["name", "valid", "ops_per_s", "low", "high", "mad_pct", "peak_rss_kb", "cpus_delivered", "ping_pong_ns"]
    keys += stats.extra_keys(*(row for data in found.values() for row in data["rows"]))
    with open(os.path.join(options.out, "matrix.csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cell"] + keys)
        for name, data in found.items():
            writer.writerows([name] + [row.get(key, "") for key in keys] for row in data["rows"])
    try:
        import matrix_plots  # needs matplotlib
    except ImportError:
        say("no plots: matplotlib is not installed (Debian's python3-matplotlib)")
    else:
        matrix_plots.draw(options.out, lines)


def main(argv):
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    options = parse(argv)
    if options.list:
        for name, command in options.chosen.items():
            print("%-20s %s" % (name, command))
        return 0
    status = 0 if options.report else run(options)
    report(options)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        die(130, "interrupted")
