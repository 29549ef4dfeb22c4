"""matrix's plots, by matplotlib: medians with spread, speed against memory, scaling over threads."""

import os
import re

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

COLOURS = {"hz4": "black", "ceiling": "lightgrey"}
matplotlib.rcParams.update({"svg.hashsalt": "hz4", "font.size": 8, "axes.grid": True, "grid.alpha": 0.3})


def save(figure, out, name):
    figure.tight_layout()
    figure.savefig(os.path.join(out, name + ".svg"), metadata={"Date": None})
    pyplot.close(figure)


def shown(line):
    return [row for row in line["rows"] if row["valid"] and "ops_per_s" in row]


def medians(out, name, lines):
    """Bars with whiskers from the slowest to the fastest run, a panel for each cell."""
    columns = 3
    figure, panels = pyplot.subplots(-(-len(lines) // columns), columns, squeeze=False,
                                     figsize=(10, 1.9 * -(-len(lines) // columns)))
    for panel in panels.flat[len(lines):]:
        panel.axis("off")
    for panel, line in zip(panels.flat, lines):
        rows = sorted(shown(line), key=lambda row: row["ops_per_s"])
        speeds = [row["ops_per_s"] / 1e6 for row in rows]
        spread = [[(row["ops_per_s"] - row["low"]) / 1e6 for row in rows],
                  [(row["high"] - row["ops_per_s"]) / 1e6 for row in rows]]
        panel.barh([row["name"] for row in rows], speeds, xerr=spread, error_kw={"linewidth": 0.7},
                   color=[COLOURS.get(row["name"], "steelblue") for row in rows])
        panel.set_title(line["cell"] + ", M ops/s")
    save(figure, out, name)


def speed_against_memory(out, name, lines):
    figure, axes = pyplot.subplots(figsize=(7, 5))
    names = sorted({row["name"] for line in lines for row in shown(line)} - {"ceiling"})
    for allocator in names:
        points = [(row["peak_rss_kb"] / 1024, row["ops_per_s"] / 1e6) for line in lines for row in shown(line)
                  if row["name"] == allocator]
        axes.scatter(*zip(*points), s=14, label=allocator, color=COLOURS.get(allocator))
    axes.set(xscale="log", yscale="log", xlabel="peak RSS, MB", ylabel="M ops/s")
    axes.legend()
    save(figure, out, name)


def scaling(out, name, lines):
    """Throughput over threads, for each lane at 90% remote frees."""
    lanes = {}
    for line in lines:
        match = re.match(r"(\w+)_t(\d+)_r90$", line["cell"])
        for row in shown(line) if match else ():
            lanes.setdefault(match[1], {}).setdefault(row["name"], []).append((int(match[2]), row["ops_per_s"] / 1e6))
    if not lanes:
        return
    figure, panels = pyplot.subplots(1, len(lanes), squeeze=False, figsize=(3.5 * len(lanes), 3))
    for panel, (lane, allocators) in zip(panels.flat, lanes.items()):
        for allocator, points in allocators.items():
            panel.plot(*zip(*sorted(points)), marker="o", markersize=3, label=allocator, color=COLOURS.get(allocator))
        panel.set(title=lane + ", 90% remote", xlabel="threads", ylabel="M ops/s", xscale="log")
        panel.set_xticks([2, 4, 16], ["2", "4", "16"])
    panels.flat[0].legend()
    save(figure, out, name)


def draw(out, lines):
    mt_remote = [line for line in lines if re.search(r"_t\d+_r\d+$", line["cell"])]
    for lane in sorted({line["cell"].split("_")[0] for line in lines}):
        medians(out, "medians_" + lane, [line for line in lines if line["cell"].split("_")[0] == lane])
    if mt_remote:
        speed_against_memory(out, "speed_against_memory", mt_remote)
        scaling(out, "scaling", mt_remote)
