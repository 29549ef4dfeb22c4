"""Which runs count, how they rank, and the tables: the part of compare that runs nothing.

A sample is what a benchmark's --json holds, "invalid" (None, or why it does not count) among it, with "round" added.
"""

import math
import re
import statistics

SUBJECT = "hz4"  # the ratios are to the best of the others
CEILING = "ceiling"  # the harness alone: shown, never ranked

MIN_CPU_SHARE = 0.85  # as in bench_report.c, which judges all runs but micro's


def too_few_cpus(delivered):
    """None if a run of one thread counts."""
    return None if delivered >= MIN_CPU_SHARE else "it ran on %.2f of 1 CPUs (%.2f needed)" % (delivered, MIN_CPU_SHARE)


def mad_pct(values):
    """The median absolute deviation, in percent of the median."""
    middle = statistics.median(values)
    return 100 * statistics.median(abs(v - middle) for v in values) / middle if middle else 0.0


def is_valid(samples, rounds):
    """Whether an allocator's runs carry a claim: at least half of the rounds have one that counts."""
    return 2 * sum(s["invalid"] is None for s in samples) >= max(rounds, 1)


def main_reason(samples):
    reasons = [s["invalid"] for s in samples if s["invalid"] is not None]
    return reasons[len(reasons) // 2]


def paired_ratio(samples, others):
    """The median of the ratios within a round: the machine's drift between rounds cancels out."""
    by_round = {s["round"]: s["ops_per_s"] for s in others if s["invalid"] is None}
    ratios = [
        s["ops_per_s"] / by_round[s["round"]]
        for s in samples
        if s["invalid"] is None and by_round.get(s["round"])
    ]
    return statistics.median(ratios) if ratios else None


def held_out_ratio(samples, others):
    """The least paired ratio over {allocator: its samples}, without the luck of the one that is chosen out of many: chosen
    by one half of the rounds, measured by the other, and the reverse; the geometric mean of both. None: too few rounds."""
    halves = [{name: paired_ratio(samples, [s for s in runs if s["round"] % 2 == half])
               for name, runs in others.items()} for half in (0, 1)]
    names = [name for name in others if halves[0][name] and halves[1][name]]
    if not names:
        return None
    return math.sqrt(math.prod(there[min(names, key=here.get)] for here, there in (halves, halves[::-1])))


def extra_keys(*rows):
    """What a benchmark measured besides: resident sets, and percentiles of time; in its order."""
    return list(dict.fromkeys(key for row in rows for key in row
                              if re.match(r"rss_\w+_kb$|(malloc|free|touch)_\w+_ns$", key)))


def extra_title(key):
    """rss_end_kb: "rss end MB"; malloc_p999_ns: "malloc p99.9 ns"."""
    words = re.sub(r"_p(\d\d)(\d+)_", r"_p\1.\2_", key).replace("_kb", "_MB")
    return words.replace("_", " ")


def extra_text(row, key):
    if row.get(key) is None:
        return "-"
    return "%.1f" % (row[key] / 1024) if key.endswith("_kb") else "%.0f" % row[key]


def summarise(samples, rounds):
    """Rows for {allocator: its samples, one a round}: ranked ones, then invalid ones, then the ceiling."""
    rows = []
    for name, runs in samples.items():
        valid = is_valid(runs, rounds)
        # An invalid row still shows its figures, over all runs that made one.
        shown = [s for s in runs if s["invalid"] is None] if valid else [s for s in runs if "error" not in s]
        row = {"name": name, "valid": valid, "runs": len(runs), "counted": sum(s["invalid"] is None for s in runs)}
        row["reason"] = None if valid else main_reason(runs) if runs else "no run"
        if shown:
            speeds = [s["ops_per_s"] for s in shown]
            row.update(ops_per_s=statistics.median(speeds), low=min(speeds), high=max(speeds), mad_pct=mad_pct(speeds))
            for key in ("peak_rss_kb", "cpus_delivered", "ping_pong_ns"):
                row[key] = statistics.median(s[key] for s in shown)
            for key in extra_keys(shown[0].get("extra", {})):
                row[key] = statistics.median(s["extra"][key] for s in shown)
        rows.append(row)

    ranked = [r for r in rows if r["valid"] and r["name"] != CEILING]
    ranked.sort(key=lambda r: -r["ops_per_s"])
    for rank, row in enumerate(ranked, 1):
        row["rank"] = rank
    best = next((r for r in ranked if r["name"] != SUBJECT), None)
    ceiling = next((r for r in rows if r["valid"] and r["name"] == CEILING), None)
    for row in ranked:
        if best:
            row["vs_best"] = row["ops_per_s"] / best["ops_per_s"]
            row["paired"] = paired_ratio(samples[row["name"]], samples[best["name"]])
        if ceiling:
            row["ns_over_ceiling"] = 1e9 / row["ops_per_s"] - 1e9 / ceiling["ops_per_s"]
    invalid = [r for r in rows if not r["valid"] and r["name"] != CEILING]
    return ranked + invalid + [r for r in rows if r["name"] == CEILING]


def _cell(row, key, form, scale=1):
    return form % (row[key] / scale) if row.get(key) is not None else "-"


def mops(ops_per_s):
    """In millions; what has large operations does few."""
    return ("%.2f" if ops_per_s >= 1e6 else "%.4f") % (ops_per_s / 1e6)


BRIEF = ("#", "allocator", "M ops/s", "min..max", "vs best", "RSS MB", "runs", "")


def render(rows, markdown=False, brief=False):
    extras = extra_keys(*rows)
    head = ["#", "allocator", "M ops/s", "min..max", "MAD", "vs best", "paired", "ns over ceiling", "RSS MB",
            *map(extra_title, extras), "CPUs", "ping-pong ns", "runs", ""]
    shown = [i for i, title in enumerate(head) if not brief or title in BRIEF]
    body = []
    for row in rows:
        body.append([
            str(row.get("rank", "-")), row["name"], mops(row["ops_per_s"]) if "ops_per_s" in row else "-",
            mops(row["low"]) + ".." + mops(row["high"]) if "low" in row else "-",
            _cell(row, "mad_pct", "%.1f%%"), _cell(row, "vs_best", "%.3f"), _cell(row, "paired", "%.3f"),
            _cell(row, "ns_over_ceiling", "%.2f"), _cell(row, "peak_rss_kb", "%.1f", 1024),
            *(extra_text(row, key) for key in extras),
            _cell(row, "cpus_delivered", "%.2f"), _cell(row, "ping_pong_ns", "%.0f"),
            "%d/%d" % (row["counted"], row["runs"]), "" if row["valid"] else "INVALID: " + row["reason"],
        ])
    head, *body = ([line[i] for i in shown] for line in [head] + body)
    return table(head, body, markdown, left=(1, len(head) - 1))


def verdict(rows):
    """What rows say of hz4, in a sentence."""
    subject = next((row for row in rows if row["name"] == SUBJECT), None)
    best = next((row for row in rows if row["valid"] and row["name"] not in (SUBJECT, CEILING)), None)
    if subject is None:
        return SUBJECT + " was not run."
    if not subject["valid"]:
        advice = " Stop what else runs here, and try again." if subject["reason"].startswith("it ran on") else ""
        return "%s is not ranked, for its runs do not count: %s.%s" % (SUBJECT, subject["reason"], advice)
    if best is None:
        return "%s is alone." % SUBJECT
    return "%s has %.2f times the speed of the best other, %s, with a peak of %.0f MB instead of %.0f." % (
        SUBJECT, subject["vs_best"], best["name"], subject["peak_rss_kb"] / 1024, best["peak_rss_kb"] / 1024)


def summarise_cases(samples, rounds):
    """For micro: ({case: {allocator: median ns}}, {allocator: valid})."""
    valid = {name: is_valid(runs, rounds) for name, runs in samples.items()}
    cases = {}
    for name, runs in samples.items():
        usable = [s for s in runs if "error" not in s and (s["invalid"] is None or not valid[name])]
        for case in usable[0]["cases"] if usable else ():
            cases.setdefault(case, {})[name] = statistics.median(s["cases"][case] for s in usable if case in s["cases"])
    return cases, valid


def render_cases(samples, rounds, markdown=False):
    cases, valid = summarise_cases(samples, rounds)
    names = list(samples)
    ratios, body = [], []
    for case, ns in cases.items():
        others = [ns[n] for n in names if n in ns and valid[n] and n != SUBJECT]
        ratio = min(others) / ns[SUBJECT] if others and valid.get(SUBJECT) and SUBJECT in ns else None
        ratios += [ratio] if ratio else []
        body.append([case] + ["%.4g" % ns[n] if n in ns else "-" for n in names] + ["%.3f" % ratio if ratio else "-"])
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        body.append(["geometric mean"] + [""] * len(names) + ["%.3f" % mean])
    head = ["ns per operation"] + [n if valid[n] else n + " (INVALID)" for n in names] + ["hz4 vs best"]
    return table(head, body, markdown, left=(0,))


def table(head, body, markdown, left):
    widths = [max(len(line[i]) for line in [head] + body) for i in range(len(head))]

    def text(line):
        cells = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        return "| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip()

    rule = ["-" * (w + 2) if i in left else "-" * (w + 1) + ":" for i, w in enumerate(widths)]
    lines = [text(head)] + (["|" + "|".join(rule) + "|"] if markdown else []) + [text(line) for line in body]
    return "\n".join(lines)
