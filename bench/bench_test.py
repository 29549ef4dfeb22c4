"""The benchmarks as programs: arguments, counts, JSON. Nothing here depends on timing."""

import json
import os
import re
import subprocess
import tempfile
import unittest

BIN = os.environ.get("BENCH_BIN_DIR") or os.path.dirname(os.path.abspath(__file__))


def run(bench, *args):
    return subprocess.run([os.path.join(BIN, bench + "_system"), *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def measure(bench, *args):
    """(stdout, the JSON object) of a run that must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out.json")
        done = run(bench, *args, "--json", path)
        assert done.returncode == 0 and done.stderr == "", (args, done)
        with open(path, encoding="utf-8") as file:
            return done.stdout, json.load(file)


class ArgumentsTest(unittest.TestCase):
    BAD = [
        ("mt_remote", "0", "threads"),
        ("mt_remote", "-1", "threads"),
        ("mt_remote", "2x", "not a number"),
        ("mt_remote", "", "not a number"),
        ("mt_remote", "1e3", "not a number"),
        ("mt_remote", " 2", "not a number"),
        ("mt_remote", "99999999999999999999", "threads"),
        ("mt_remote", "2 0", "iters"),
        ("mt_remote", "2 10 0", "ws"),
        ("mt_remote", "2 10 10 0", "min"),
        ("mt_remote", "2 10 10 32 16", "greater than max"),
        ("mt_remote", "2 10 10 16 32 101", "remote_pct"),
        ("mt_remote", "2 10 10 16 32 90 0", "ring_slots"),
        ("mt_remote", "2 10 10 16 32 90 matched", "ring_slots"),
        ("mt_remote", "2 10 10 16 32 90 64 mached", "mached"),
        ("mt_remote", "2 10 10 16 32 90 64 matched 1", "unexpected"),
        ("mt_remote", "2 10 10 8 32 90 64 --verify", "--verify"),
        ("mt_remote", "2 10 --touch some", "--touch"),
        ("mt_remote", "2 10 --touch", "needs a value"),
        ("mt_remote", "2 10 --lane fast", "--lane"),
        ("mt_remote", "2 10 --seed x", "--seed"),
        ("mt_remote", "2 10 --pin=1", "--pin"),
        ("mt_remote", "2 10 --json /nonexistent/x", "--json"),
        ("mt_remote", "--pinned", "--pinned"),
        ("mt_remote", "-x", "threads"),
        ("malloc_args", "0", "iters"),
        ("malloc_args", "10 10 32 16", "greater than max"),
        ("malloc_args", "10 10 16 32 1 2", "unexpected"),
        ("malloc_args", "10 10 16 32 x", "seed"),
        ("prodcons", "0 1", "producers"),
        ("prodcons", "1 0", "consumers"),
        ("prodcons", "1 1 10 16 32 0", "ring_slots"),
        ("prodcons", "1 1 10 16 32 8 matched", "unexpected"),
        ("asleep", "1 0", "sleepers"),
        ("server", "0", "workers"),
        ("server", "1 0", "requests"),
        ("server", "1 10 0", "kept"),
        ("server", "1 10 10 16 2097152", "max"),
        ("server", "1 10 10 32 16", "greater than max"),
        ("server", "1 10 10 16 32 1", "unexpected"),
        ("replace", "0", "threads"),
        ("replace", "1 0", "iterations"),
        ("replace", "1 10 0", "objects"),
        ("replace", "1 10 10 --verify", "--verify needs min"),
        ("scratch", "0", "threads"),
        ("scratch", "1 0", "rounds"),
        ("scratch", "1 1 0", "writes"),
        ("scratch", "1 1 1 0", "size"),
        ("scratch", "1 1 1 8 --verify", "--verify needs size"),
        ("scratch", "1 1 1 8 --lane main", "--lane"),
        ("large", "0", "threads"),
        ("large", "1 0", "iterations"),
        ("large", "1 1 0", "blocks"),
        ("large", "1 1 1 32 16", "greater than max"),
        ("latency", "0", "threads"),
        ("latency", "1 0", "waves"),
        ("latency", "1 1 9", "objects"),
        ("latency", "1 1 10 16 16 101", "handed_pct"),
        ("pool", "0", "threads"),
        ("pool", "1 0", "blocks"),
        ("pool", "1 1 32 16", "greater than max"),
        ("pool", "1 1 16 32 1001", "generations"),
        ("micro", "--what", "--what"),
    ]

    def test_bad_ones_get_one_line_and_exit_2(self):
        for bench, text, named in self.BAD:
            with self.subTest(bench=bench, args=text):
                done = run(bench, *(text.split() if text.strip() == text and text else [text]))
                self.assertEqual(done.returncode, 2)
                self.assertEqual(done.stdout, "")
                self.assertRegex(done.stderr, r"\A%s(_system)?: [^\n]+\n\Z" % bench)
                self.assertIn(named, done.stderr)

    def test_help(self):
        for bench in ("mt_remote", "malloc_args", "prodcons", "server", "replace", "scratch", "pool", "large",
                      "latency"):
            done = run(bench, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.startswith("usage: " + bench))

    def test_defaults_and_options(self):
        self.assertRegex(run("mt_remote", "--help").stdout, r"(?s)16\).*2000000\).*400\).*16\).*32768\).*90\).*65536\)")
        out, _ = measure("mt_remote", "2", "1000", "--lane", "guard", "--touch=all", "--seed", "7", "--pin")
        self.assertIn("[BENCH_ARGS] threads=2 iters=1000 ws=400 min=16 max=2048 remote_pct=90 ring_slots=65536 "
                      "matched=0 touch=all seed=7 pin=1 verify=0\n", out)
        out, _ = measure("malloc_args", "1000", "--seed", "9", "--lane=cross128", "--touch", "none")
        self.assertIn("[BENCH_ARGS] iters=1000 ws=400 min=16 max=131072 seed=9 touch=none", out)


class CountsTest(unittest.TestCase):
    def check(self, out, data):
        stats = data["stats"]
        self.assertEqual(stats["allocated"], stats["local_freed"] + stats["remote_received"])
        self.assertEqual(stats["remote_sent"], stats["remote_received"])
        self.assertGreater(data["peak_rss_kb"], 0)
        self.assertTrue(data["malloc"])
        self.assertRegex(out, r"(?m)^ops/s=\d+ seconds=[\d.]+ ops=%d threads=%d$" % (data["ops"], data["threads"]))
        self.assertRegex(out, r"(?m)^\[ENV\] ping_pong_ns=[\d.]+ cpus_delivered=[\d.]+ peak_rss_kb=\d+ malloc=")
        outcome = "valid" if data["invalid"] is None else "INVALID, for " + data["invalid"]
        self.assertRegex(out, r"\n%s: \S+'s malloc, [\d.,]+( million)? operations a second, peak memory \d+ MB\n\Z" %
                         re.escape(outcome))
        line = re.search(r"(?m)^\[STATS\] (.*)$", out).group(1)
        for name, value in stats.items():
            self.assertRegex(line, r"\b%s=%s\b" % (name, format(value, ",")))

    def mt_remote(self, text):
        out, data = measure("mt_remote", *text.split(), "--verify")
        self.check(out, data)
        self.assertEqual(data["ops"], data["args"]["threads"] * data["args"]["iters"])
        self.assertRegex(out, r"(?m)^\[EFFECTIVE_REMOTE\] target=[\d.]+% actual=[\d.]+% fallback_rate=[\d.]+%$")
        return data

    def test_mt_remote(self):
        for text in ("1 20000", "2 20000", "3 20000 100 16 300 50", "16 2000 10 16 64 100 4"):
            with self.subTest(args=text):
                self.mt_remote(text)

    def test_remote_share(self):
        self.assertEqual(self.mt_remote("2 20000 400 16 64 0")["stats"]["remote_sent"], 0)
        self.assertEqual(self.mt_remote("2 20000 400 16 64 100 65536")["remote_actual_pct"], 100)
        self.assertAlmostEqual(self.mt_remote("2 200000 400 16 64 50 200000")["remote_actual_pct"], 50, delta=1)

    def test_the_ring_to_itself_never_fills(self):
        data = self.mt_remote("1 20000 400 16 64 90 1")
        self.assertEqual(data["stats"]["ring_full_fallback"], 0)
        self.assertGreater(data["stats"]["remote_sent"], 8000)

    def test_small_rings_fall_back(self):
        data = self.mt_remote("16 20000 400 16 64 90 1")
        self.assertGreater(data["stats"]["ring_full_fallback"], 0)
        self.assertGreater(data["stats"]["local_freed"], data["stats"]["ring_full_fallback"])
        self.assertGreater(data["fallback_pct"], 0)
        self.assertIn("full ring", data["invalid"])

    def test_matched_never_falls_back(self):
        frees = set()
        for slots in (1, 3, 64):
            data = self.mt_remote("5 500 40 16 64 90 %d matched" % slots)
            self.assertEqual(data["args"]["matched"], 1)
            self.assertEqual(data["stats"]["ring_full_fallback"], 0)
            self.assertEqual(data["fallback_pct"], 0)
            frees.add((data["stats"]["local_freed"], data["stats"]["remote_sent"]))
        self.assertEqual(len(frees), 1, "the same seed makes the same frees, whatever the rings' size")

    def test_seeds_differ(self):
        counts = [self.mt_remote("2 20000 400 16 64 90 65536 --seed %d" % s)["stats"]["allocated"] for s in (1, 2, 1)]
        self.assertEqual(counts[0], counts[2])
        self.assertNotEqual(counts[0], counts[1])

    def test_malloc_args(self):
        out, data = measure("malloc_args", "20000", "100", "16", "300", "3", "--verify")
        self.check(out, data)
        self.assertEqual((data["ops"], data["threads"]), (20000, 1))
        self.assertNotIn("remote_target_pct", data)

    def test_prodcons(self):
        for text in ("1 1 20000", "2 2 500 16 300 5", "1 3 500 16 300 1", "3 1 2001"):
            with self.subTest(args=text):
                out, data = measure("prodcons", *text.split(), "--verify")
                self.check(out, data)
                self.assertEqual(data["ops"], data["stats"]["remote_received"])
                self.assertEqual(data["threads"], data["args"]["producers"] + data["args"]["consumers"])

    def test_asleep(self):
        out, data = measure("asleep", "2", "5", "300", "16", "3000", "--verify")
        self.check(out, data)
        self.assertEqual((data["ops"], data["threads"]), (2 * 2 * 5 * 300, 2))
        self.assertEqual(data["remote_actual_pct"], 50)

    def test_server(self):
        allocated = set()
        for text in ("1 400 50", "2 400 1", "16 400 1000", "70 400 50", "3 1 1", "16 400 50 16 4096"):
            with self.subTest(args=text):
                out, data = measure("server", *text.split(), "--verify")
                self.check(out, data)
                args, stats, extra = data["args"], data["stats"], data["extra"]
                self.assertEqual(data["ops"], stats["allocated"])
                self.assertEqual(data["threads"], min(4, args["workers"]))
                self.assertEqual("remote_target_pct" in data, args["workers"] >= 8)
                self.assertEqual(list(extra), ["kept_kb", "rss_end_kb", "rss_dropped_kb", "rss_ended_kb"])
                self.assertRegex(out, r"(?m)^\[EXTRA\] kept_kb=%(kept_kb)d rss_end_kb=%(rss_end_kb)d " % extra)
                self.assertGreaterEqual(stats["left_in_rings"], 8)  # one request at least is in the cache
                # Who frees what an acceptor allocated is never the acceptor, and that is two thirds of all.
                self.assertGreaterEqual(3 * stats["remote_sent"], 2 * stats["allocated"])
                if args["requests"] == 400:
                    allocated.add(stats["allocated"])
        self.assertEqual(len(allocated), 1, "the same seed makes as many blocks, whoever gets them")

    def test_server_remote_share(self):
        _, data = measure("server", "64", "4000", "500")
        self.assertAlmostEqual(data["remote_actual_pct"], 75, delta=1)
        self.assertGreater(data["extra"]["kept_kb"], 1000)

    def test_replace(self):
        for text, received in (("1 20000 100", 9), ("2 20007 10", 2 * 9), ("3 7 10", 1), ("2 20000 100 16 300", 2 * 9)):
            with self.subTest(args=text):
                verify = ["--verify"] if " 16 " in text else []
                out, data = measure("replace", *text.split(), *verify)
                self.check(out, data)
                args, stats = data["args"], data["stats"]
                self.assertEqual(data["ops"], args["threads"] * args["iterations"])
                self.assertEqual(stats["left_in_slots"], args["threads"] * args["objects"])
                self.assertEqual(stats["allocated"], data["ops"] + stats["left_in_slots"])
                # What each thread hands on, and the first ones.
                self.assertGreaterEqual(stats["remote_received"], received * args["objects"] // 10)
                self.assertLessEqual(stats["remote_received"], args["threads"] * args["objects"] * 10)

    def test_scratch(self):
        for text in ("1 100 10", "2 100 10", "5 100 1 16 --verify", "2 100 10 32 --verify"):
            with self.subTest(args=text):
                out, data = measure("scratch", *text.split())
                self.check(out, data)
                args, stats = data["args"], data["stats"]
                self.assertEqual(data["ops"], args["threads"] * args["rounds"] * args["writes"])
                self.assertEqual(stats["remote_received"], args["threads"])
                self.assertEqual(stats["allocated"], args["threads"] * (args["rounds"] + 1))

    def test_pool(self):
        for text in ("1 1", "5 7 16 100000 --verify", "3 4 16384 65536 1", "3 4 16 65536 5 --verify"):
            with self.subTest(args=text):
                out, data = measure("pool", *text.split())
                self.check(out, data)
                args = data["args"]
                self.assertEqual((data["ops"], data["threads"]), (args["threads"] * args["blocks"], args["threads"]))
                chain = ["rss_chain_kb"] if args["generations"] else []
                self.assertEqual(list(data["extra"]), ["rss_asleep_kb", "rss_trimmed_kb"] + chain)
                self.assertNotIn(0, data["extra"].values())

    def test_large(self):
        for text in ("1 2000", "3 300 4", "2 1000 8 16 16", "2 1000 8 1000 3000 --touch all"):
            with self.subTest(args=text):
                out, data = measure("large", *text.split(), "--verify")
                self.check(out, data)
                self.assertEqual(data["ops"], data["stats"]["allocated"])
                self.assertGreater(data["stats"]["left_in_slots"], 0)

    def test_latency(self):
        for text in ("1 3 400", "2 3 400 16 300", "3 2 100", "16 1 10 16 4096", "2 2 100 16 300 0",
                     "2 2 100 16 300 100 --touch none"):
            with self.subTest(args=text):
                out, data = measure("latency", *text.split(), "--verify")
                self.check(out, data)
                args, stats, extra = data["args"], data["stats"], data["extra"]
                self.assertEqual(data["ops"], 2 * stats["allocated"] - stats["left_in_slots"])
                crest = args["threads"] * args["objects"]
                self.assertEqual(stats["left_in_slots"], crest)
                # Each wave is four fifths of the crest, and the operations against it.
                self.assertGreaterEqual(stats["allocated"], crest + args["waves"] * crest * 4 // 5)
                self.assertEqual(stats["remote_sent"] == 0, args["threads"] == 1 or args["handed_pct"] == 0)
                timed = ["malloc", "free"] + ["touch"] * (args["touch"] != "none")
                parts = ["p50", "p99", "p999", "p9999", "max"]
                self.assertEqual(list(extra), ["clock_ns"] + ["%s_%s_ns" % (t, p) for t in timed for p in parts])
                for name in timed:
                    figures = [extra["%s_%s_ns" % (name, part)] for part in parts]
                    self.assertEqual(figures, sorted(figures))

    def test_micro(self):
        done = run("micro", "--benchmark_min_time=0.0001", "--benchmark_format=json")
        self.assertEqual(done.returncode, 0)
        data = json.loads(done.stdout)
        self.assertTrue(data["context"]["malloc"])
        names = {b["name"].split("/")[0] for b in data["benchmarks"]}
        self.assertEqual(len(names), 10)


if __name__ == "__main__":
    unittest.main()
